/// Colours for shares from 0 to 1, between control points in equal steps.
public struct ColourMap: Sendable {
    /// Red, green and blue, 0...255 each, from the lowest value to the highest.
    let points: [(red: Double, green: Double, blue: Double)]

    /// Viridis of Matplotlib (Smith and van der Walt 2015), from dark violet to yellow: equal steps in the data look
    /// like equal steps, also in grey and with any kind of colour vision. Nine of its colours are the control points.
    public static let viridis = ColourMap(
        [0x440154, 0x472d7b, 0x3b528b, 0x2c728e, 0x21908c, 0x27ad81, 0x5dc863, 0xaadc32, 0xfde725])

    /// Control points as 0xRRGGBB; black and white where there are fewer than two.
    public init(_ colours: [UInt32]) {
        points = (colours.count > 1 ? colours : [0x000000, 0xffffff]).map { colour in
            (Double(colour >> 16 & 255), Double(colour >> 8 & 255), Double(colour & 255))
        }
    }

    /// The SVG colour of a share, which is held to 0...1; that of 0 for a share that is not a number.
    public func colour(_ share: Double) -> String {
        let place = min(max(share.isNaN ? 0 : share, 0), 1) * Double(points.count - 1)
        let index = min(Int(place), points.count - 2)
        let (below, above, part) = (points[index], points[index + 1], place - Double(index))
        func hexadecimal(_ low: Double, _ high: Double) -> String {
            let value = Int((low + part * (high - low)).rounded())
            return (value < 16 ? "0" : "") + String(value, radix: 16)
        }
        return "#" + hexadecimal(below.red, above.red) + hexadecimal(below.green, above.green)
            + hexadecimal(below.blue, above.blue)
    }
}
