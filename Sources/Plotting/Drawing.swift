import Support

/// SVG elements with the size of the picture that they make, so that pictures can stand in others.
struct Drawing: Sendable {
    /// Pixels.
    let width, height: Double
    /// Elements with coordinates from (0, 0) to (`width`, `height`).
    let elements: [String]

    /// A whole file, with a background of its own, so that it reads on white and on dark pages.
    var svg: String {
        let (width, height) = (fixed(width, 0), fixed(height, 0))
        let opening =
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(width)\" height=\"\(height)\""
            + " viewBox=\"0 0 \(width) \(height)\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">"
        let background = "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
        return ([opening, background] + elements + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    /// The elements moved right and down.
    func moved(right: Double, down: Double) -> [String] {
        ["<g transform=\"translate(\(pixels(right)) \(pixels(down)))\">"] + elements + ["</g>"]
    }
}

/// A coordinate with one decimal. Far outside of any picture it stops, so that no number grows without bounds.
func pixels(_ value: Double) -> String { fixed(min(max(value, -1e5), 1e5), 1) }

/// A picture's side in pixels, held to what can be drawn.
func side(_ value: Double, atLeast least: Double) -> Double { value.isFinite ? min(max(value, least), 2e4) : least }

/// A straight stroke.
func stroke(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ attributes: String) -> String {
    "<line x1=\"\(pixels(x1))\" y1=\"\(pixels(y1))\" x2=\"\(pixels(x2))\" y2=\"\(pixels(y2))\" \(attributes)/>"
}
