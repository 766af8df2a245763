import CSound
import Support

/// The Fourier transform of real values, by kissfft: its memory and room for one input and one output. For one thread.
final class RealTransform {
    typealias Allocate =
        @Sendable @convention(c) (
            Int32, Int32, UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>?
        ) -> OpaquePointer?
    typealias Transform =
        @Sendable @convention(c) (
            OpaquePointer, UnsafePointer<Float>, UnsafeMutablePointer<csound_complex>
        ) -> Void

    private let configuration: OpaquePointer
    private let memory: UnsafeMutableRawPointer
    private let transform: Transform
    private var output: [csound_complex]

    /// - Parameter size: the number of values, even.
    /// - Throws: `SeamError(.notFound)` without kissfft.
    init(size: Int) throws {
        let functions = try Functions.shared.get()
        transform = functions.transform
        // Asked without memory for how much it needs, then with it.
        var byteCount = 0
        _ = functions.allocate(Int32(size), 0, nil, &byteCount)
        memory = .allocate(byteCount: max(byteCount, 1), alignment: 16)
        guard byteCount > 0, let made = functions.allocate(Int32(size), 0, memory, &byteCount) else {
            memory.deallocate()
            throw SeamError(.internal, "kissfft makes no transform of \(size) values")
        }
        configuration = made
        output = Array(repeating: csound_complex(), count: size / 2 + 1)
    }

    deinit { memory.deallocate() }

    /// Writes the squared absolute values of the first half of the spectrum, size / 2 + 1 of them.
    func power(of input: [Float], into power: inout [Float]) {
        transform(configuration, input, &output)
        for index in output.indices {
            power[index] = output[index].r * output[index].r + output[index].i * output[index].i
        }
    }

    private struct Functions: Sendable {
        let allocate: Allocate
        let transform: Transform

        static let shared = Result<Functions, any Error> {
            let (allocate, transform) = try SoundLibrary.kissfft.functions(
                ("kiss_fftr_alloc", Allocate.self), ("kiss_fftr", Transform.self))
            return Functions(allocate: allocate, transform: transform)
        }
    }
}
