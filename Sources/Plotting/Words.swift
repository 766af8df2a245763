/// Text in a picture: how wide it is, where its lines break, and its elements.
package enum Words {
    /// Font sizes and the distance of lines, in pixels.
    static let size = 13.0, titleSize = 16.0, leading = 1.25

    /// The side of its place on which a text stands.
    enum Anchor: String {
        case start, middle, end
    }

    /// An upper estimate of a text's width in pixels. The fonts of the reader are not known; these are the widths of
    /// DejaVu Sans, which is wider than the other common ones.
    package static func width(_ text: String, size: Double = size) -> Double {
        size * text.unicodeScalars.reduce(0) { $0 + share($1) }
    }

    private static func share(_ scalar: Unicode.Scalar) -> Double {
        switch scalar {
        case "i", "j", "l", "I", "'", "|", " ": 0.32
        case ".", ",", ":", ";", "!", "(", ")", "[", "]", "-", "/", "f", "t", "r": 0.4
        case "c", "k", "s", "v", "x", "y", "z": 0.59
        case "m", "w", "M", "W", "@", "%": 0.98
        case "A"..."Z", "_": 0.72
        case "+", "=", "<", ">", "~", "#", "&": 0.84
        case "\u{1100}"...: 1
        default: 0.64
        }
    }

    /// The text in lines of at most `width` pixels, broken at spaces, and within words that are wider than that.
    /// One line at least.
    static func lines(_ text: String, width limit: Double, size: Double = size) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(whereSeparator: \.isWhitespace) {
            let longer = line.isEmpty ? String(word) : line + " " + word
            guard width(longer, size: size) > limit else {
                line = longer
                continue
            }
            if !line.isEmpty { lines.append(line) }
            line = ""
            for letter in word {
                if !line.isEmpty, width(line + String(letter), size: size) > limit {
                    lines.append(line)
                    line = ""
                }
                line.append(letter)
            }
        }
        return line.isEmpty && !lines.isEmpty ? lines : lines + [line]
    }

    /// One line of text on the baseline `y`.
    static func text(
        _ text: String, _ x: Double, _ y: Double, _ anchor: Anchor = .start, size: Double? = nil
    ) -> String {
        let size = size.map { " font-size=\"\(Int($0))\"" } ?? ""
        let side = anchor == .start ? "" : " text-anchor=\"\(anchor.rawValue)\""
        return "<text x=\"\(pixels(x))\" y=\"\(pixels(y))\"\(side)\(size)>\(escaped(text))</text>"
    }

    /// Lines of text one below the other, the first on the baseline `y`.
    static func block(
        _ lines: [String], _ x: Double, _ y: Double, _ anchor: Anchor = .start, size: Double = size
    ) -> [String] {
        lines.enumerated().filter { !$1.isEmpty }.map { number, line in
            text(line, x, y + Double(number) * size * leading, anchor, size: size == Self.size ? nil : size)
        }
    }

    /// Lines of text that read upwards, the last one with its baseline at `x`, around the height `y`.
    static func upwards(_ lines: [String], _ x: Double, _ y: Double) -> [String] {
        lines.enumerated().filter { !$1.isEmpty }.map { number, line in
            let place = x - Double(lines.count - 1 - number) * size * leading
            return "<text transform=\"translate(\(pixels(place)) \(pixels(y))) rotate(-90)\" text-anchor=\"middle\">"
                + "\(escaped(line))</text>"
        }
    }

    /// Text as XML 1.0 takes it: its signs escaped, and a replacement for characters that it has no place for.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "\u{0}"..."\u{8}", "\u{b}", "\u{c}", "\u{e}"..."\u{1f}", "\u{fffe}", "\u{ffff}": result += "\u{fffd}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
