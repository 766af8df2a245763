import Audio
import CSeam
import Files
import SeamHost
import Support

@c @implementation
public func seam_feature_extractor_open(
    _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        try required(out, "out").pointee = handOver(try AudioFeatureExtractor(model: try text(path, "path")))
    }
}

@c @implementation
public func seam_feature_extractor_release(_ extractor: OpaquePointer?) {
    release(extractor, AudioFeatureExtractor.self)
}

@c @implementation
public func seam_feature_extractor_describe(
    _ extractor: OpaquePointer?, _ json: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let settings = try object(extractor, "extractor", as: AudioFeatureExtractor.self).settings
        let out = try required(json, "json")
        func integer(_ value: Int) -> JSON { .int(Int64(value)) }
        let description: JSON = [
            "frames": integer(settings.frameCount), "feature_size": integer(settings.featureSize),
            "sampling_rate": integer(settings.samplingRate), "chunk_length": integer(settings.chunkLength),
            "hop_length": integer(settings.hopLength), "n_fft": integer(settings.fftLength),
        ]
        out.pointee = copyCString(try description.serialized())
    }
}

@c @implementation
public func seam_feature_extractor_read(
    _ extractor: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ truncation: Int32,
    _ features: UnsafeMutablePointer<Float>?, _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let extractor = try object(extractor, "extractor", as: AudioFeatureExtractor.self)
        let path = try text(path, "path")
        let truncation = try flag(truncation, "argument truncation")
        try fill(features, capacity, extractor) { try extractor.features(ofFile: path, truncation: truncation) }
    }
}

@c @implementation
public func seam_feature_extractor_extract(
    _ extractor: OpaquePointer?, _ samples: UnsafePointer<Float>?, _ count: Int, _ samplingRate: Int32,
    _ truncation: Int32, _ features: UnsafeMutablePointer<Float>?, _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let extractor = try object(extractor, "extractor", as: AudioFeatureExtractor.self)
        let length = try CAPI.count(count, "count", atMost: 1 << 40)
        let source = UnsafeBufferPointer(start: length > 0 ? try required(samples, "samples") : nil, count: length)
        let truncation = try flag(truncation, "argument truncation")
        try fill(features, capacity, extractor) {
            try extractor.features(
                of: Sound(samples: Array(source), samplingRate: Int(samplingRate)), truncation: truncation,
                place: "argument samples")
        }
    }
}

/// Writes features into the caller's array, whose room is checked before anything is computed.
private func fill(
    _ target: UnsafeMutablePointer<Float>?, _ capacity: Int, _ extractor: AudioFeatureExtractor,
    _ compute: () throws -> AudioFeatures
) throws {
    let target = try required(target, "features")
    let settings = extractor.settings
    try requireRoom(
        capacity, "capacity", for: settings.frameCount * settings.featureSize,
        "\(settings.frameCount) frames of \(settings.featureSize) features")
    let found = try compute().values
    target.update(from: found, count: found.count)
}
