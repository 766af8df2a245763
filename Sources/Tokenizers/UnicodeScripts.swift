/// Cuts between characters of two scripts, as SentencePiece does: Chinese and both Japanese scripts count as one, and a space
/// goes with whatever is before it. What stands before the first character of a script is dropped, as by `tokenizers`.
struct UnicodeScripts: PreTokenizer {
    /// Matches a character of a script with all that goes with it behind it.
    private let runs: OnigurumaRegex

    /// The scripts of Unicode 9, which the tables of `tokenizers` are of.
    private static let scripts = """
        Latin Adlam Ahom Anatolian_Hieroglyphs Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo \
        Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Coptic Cuneiform \
        Cypriot Cyrillic Deseret Duployan Egyptian_Hieroglyphs Elbasan Ethiopic Georgian Glagolitic Gothic Grantha Greek \
        Gujarati Gurmukhi Hangul Hanunoo Hatran Hebrew Imperial_Aramaic Inherited Inscriptional_Pahlavi \
        Inscriptional_Parthian Javanese Kaithi Kannada Kayah_Li Kharoshthi Khmer Khojki Khudawadi Lao Lepcha Limbu Linear_A \
        Linear_B Lisu Lycian Lydian Mahajani Malayalam Mandaic Manichaean Marchen Meetei_Mayek Mende_Kikakui \
        Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean New_Tai_Lue Newa Nko Ogham \
        Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_South_Arabian Old_Turkic Oriya Osage \
        Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra \
        Sharada Shavian Siddham SignWriting Sinhala Sora_Sompeng Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le \
        Tai_Tham Tai_Viet Takri Tamil Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Ugaritic Vai Warang_Citi Yi
        """

    init(_ part: TokenizerPart) throws {
        try part.allow("type")
        // U+30FC lengthens a vowel of either Japanese script. The script of four others has changed since Unicode 9.
        let classes =
            [
                #"\p{Common}\x{589}\x{61C}&&[^\x20\x{30FC}]"#, #"\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}"#,
                #"\p{Devanagari}\x{953}\x{954}"#, #"\p{Arabic}&&[^\x{61C}]"#,
            ]
            + Self.scripts.split(separator: " ").map { "\\p{\($0)}&&[^\\x{589}\\x{953}\\x{954}]" }
        let alternatives = classes.map { "[\($0)][[\($0)]\\x20]*" }
        runs = try OnigurumaRegex(alternatives.joined(separator: "|"), in: part.place)
    }

    func apply(to pieces: inout Pieces) throws {
        // A character without a script goes with what is before it, as a space does.
        var text = pieces.text
        forEachScalar(in: pieces.text, text.indices) { scalar, range in
            if scalar.value >= 0x80, !scalar.hasScript { text.replaceSubrange(range, with: range.map { _ in 0x20 }) }
        }
        var budget = SearchBudget(byteCount: text.count)
        try pieces.replaceEach { piece, result in try runs.forEachMatch(in: text, piece, &budget) { result.append($0) }
        }
    }
}

extension Unicode.Scalar {
    /// Whether it has a script in Unicode 9.
    fileprivate var hasScript: Bool {
        switch properties.generalCategory {
        case .privateUse, .unassigned: false
        default: isAssigned(in: (9, 0))
        }
    }
}
