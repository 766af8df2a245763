import Plotting
import Testing

/// Reads a picture and expects what holds for all: well-formed, no number that is none, and no text beyond the sides.
@discardableResult
func picture(_ svg: String, _ location: SourceLocation = #_sourceLocation) throws -> Element {
    let root = try Element(parsing: svg)
    #expect(root.name == "svg" && root["xmlns"] == "http://www.w3.org/2000/svg", sourceLocation: location)
    let width = try #require(Double(root["width"]))
    let height = try #require(Double(root["height"]))
    #expect(root["viewBox"] == "0 0 \(root["width"]) \(root["height"])", sourceLocation: location)
    for element in root.all {
        for (key, value) in element.attributes where key != "xmlns" && key != "font-family" {
            let lower = value.lowercased()
            #expect(!lower.contains("nan") && !lower.contains("inf"), "\(key)=\(value)", sourceLocation: location)
        }
        if element.name == "polygon" || element.name == "polyline" {
            #expect(element.corners.count > 1, sourceLocation: location)
        }
    }
    try expectTextsInside(root, right: 0, down: 0, width: width, height: height, location)
    return root
}

private func expectTextsInside(
    _ element: Element, right: Double, down: Double, width: Double, height: Double, _ location: SourceLocation
) throws {
    var (right, down) = (right, down)
    if element.name == "g" {
        let moves = element["transform"].split { "( )".contains($0) }.compactMap { Double($0) }
        try #require(moves.count == 2)
        (right, down) = (right + moves[0], down + moves[1])
    }
    if element.name == "text", let x = Double(element["x"]), let y = Double(element["y"]) {
        let size = Words.width(element.text, size: Double(element["font-size"]) ?? 13)
        let start = right + x - (["middle": size / 2, "end": size][element["text-anchor"]] ?? 0)
        #expect(start >= -1 && start + size <= width + 1, "\(element.text) is cut off", sourceLocation: location)
        #expect(down + y > 8 && down + y <= height, "\(element.text) is cut off", sourceLocation: location)
        #expect(!["nan", "inf", "-inf"].contains(element.text), sourceLocation: location)
    }
    for child in element.children {
        try expectTextsInside(child, right: right, down: down, width: width, height: height, location)
    }
}

extension Element {
    /// The corners of a polyline or polygon; a broken one is [infinity, infinity].
    var corners: [[Double]] {
        self["points"].split(separator: " ").map { corner in
            let numbers = corner.split(separator: ",").compactMap { Double($0) }
            return numbers.count == 2 ? numbers : [.infinity, .infinity]
        }
    }

    /// All words of the picture.
    var texts: [String] { all("text").map(\.text) }
}
