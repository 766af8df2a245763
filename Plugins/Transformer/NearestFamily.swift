import SeamPlugin

extension Family {
    /// Which of `names` is most like a family that is none of them: that with the longest common beginning, of several
    /// the one that fewest changes turn into it; with no beginning in common one of the same kind. Nil: nothing is like it.
    static func nearest(to modelType: Text, among names: [StaticString], _ config: Options) -> StaticString? {
        let wanted = simplified(modelType.utf8)
        var best: (name: StaticString, common: Int, changes: Int)?
        for name in names {
            let found = simplified(Text(name).utf8)
            let common = zip(wanted, found).prefix { $0 == $1 }.count
            let changes = changes(wanted, found)
            if let best, common < best.common || common == best.common && changes >= best.changes { continue }
            best = (name, common, changes)
        }
        // "de" is the beginning of too many names to say anything.
        if let best, best.common >= 3 { return best.name }
        return ofTheSameKind(config)
    }

    /// A well-known family of the kind that config.json tells.
    private static func ofTheSameKind(_ config: Options) -> StaticString? {
        if (try? config.bool("is_encoder_decoder", default: false)) == true { return "bart" }
        guard let made = try? config.string("architectures.0") else { return nil }
        let bytes = made.utf8
        func ends(_ ending: StaticString) -> Bool {
            bytes.suffix(ending.utf8CodeUnitCount).elementsEqual(Text(ending).utf8)
        }
        if ends("ForConditionalGeneration") || ends("ForSeq2SeqLM") { return "bart" }
        if ends("ForCausalLM") || ends("LMHeadModel") { return "llama" }
        return ends("ForMaskedLM") ? "bert" : nil
    }

    /// Families are spelled with "-" or "_" by chance.
    private static func simplified(_ name: [UInt8]) -> [UInt8] {
        name.prefix(64).map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 }
    }

    /// The fewest insertions, deletions and exchanges that turn one name into the other (Levenshtein 1966).
    private static func changes(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (index, byte) in a.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in 1..<row.count {
                let exchanged = diagonal + (byte == b[column - 1] ? 0 : 1)
                diagonal = row[column]
                row[column] = min(exchanged, row[column] + 1, row[column - 1] + 1)
            }
        }
        return row[b.count]
    }
}
