/// A text as part of one line that is shown to people: characters that would end the line, steer a terminal, reorder
/// what stands beside them or hide are written as `\u` and four hexadecimal digits, everything else stays.
///
/// Names of tensors, keys, tokens, file names, a plugin's texts and a server's answers reach sentences as they are, so
/// this is done once, where a sentence leaves. Escaped are the control characters (C0, DEL, C1), the line and paragraph
/// separators and the controls of writing direction (Unicode's Bidi_Control). A backslash stays one, so that escaping
/// twice changes nothing.
public func escapingControls(_ text: String) -> String {
    // All of them are ASCII controls or begin with one of these bytes, which most sentences do not hold.
    guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == 0xC2 || $0 == 0xD8 || $0 == 0xE2 }) else {
        return text
    }
    var escaped = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        guard isControl(scalar) else {
            escaped.append(scalar)
            continue
        }
        let digits = String(scalar.value, radix: 16, uppercase: true)
        escaped.append(contentsOf: "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".unicodeScalars)
    }
    return String(escaped)
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0...0x1F, 0x7F...0x9F, 0x61C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
}
