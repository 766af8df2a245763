extension ModelFiles {
    /// A number that tells this backbone's weights from others, for adapters to remember what they were
    /// trained on: equal for the same tensors however they are spread over shards, different for another
    /// architecture or another fine-tuning of the same one.
    ///
    /// Covers every tensor's name, type and shape and 4 KiB each at its start, middle and end. The whole
    /// weights would take seconds to read on every load; a fine-tuning moves all of a matrix, so that
    /// samples show it. A change that avoids every sample goes unseen.
    public func fingerprint() -> UInt64 {
        let window = 4096
        var hash = ContentHash()
        for name in tensorNames {
            guard let tensor = tensor(name) else { continue }
            hash.update(name)
            hash.update(tensor.encoding.name)
            hash.update(tensor.shape.count)
            for extent in tensor.shape { hash.update(extent) }
            withExtendedLifetime(tensor.file) {
                let bytes = tensor.bytes
                guard bytes.count > 3 * window else { return hash.update(bytes) }
                for start in [0, (bytes.count - window) / 2, bytes.count - window] {
                    hash.update(UnsafeRawBufferPointer(rebasing: bytes[start..<start + window]))
                }
            }
        }
        return hash.value
    }
}
