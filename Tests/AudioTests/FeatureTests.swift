import Audio
import Files
import Glibc
import Support
import TestSupport
import Testing

/// python/tests/test_sound.py compares with transformers; here are the formulas.
@Suite struct FeatureTests {
    /// Frames of six samples every four, in a chunk of a second at 1,000 Hz, by the sums that define them.
    @Test func featuresFollowTheirDefinition() throws {
        let settings: JSON = [
            "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 2, "sampling_rate": 1000,
            "hop_length": 4, "n_fft": 6, "chunk_length": 1,
        ]
        let folder = try ScratchFolder(["preprocessor_config.json": try settings.serialized()])
        let extractor = try AudioFeatureExtractor(model: folder.path)
        let samples = (0..<1000).map { Float(sin(Double($0 * $0))) }
        let found = try extractor.features(of: Sound(samples: samples, samplingRate: 1000))
        #expect(found.frames == 250 && found.featureSize == 2 && found.values.count == 500)

        let filters = MelFilters(count: 2, bins: 4, samplingRate: 1000, highest: 8000).filters
        var expected: [Double] = []
        for frame in 0..<250 {
            let values = (0..<6).map { offset -> Double in
                let place = abs(4 * frame + offset - 3)
                let window = 0.5 - 0.5 * cos(2 * Double.pi * Double(offset) / 6)
                return window * Double(samples[place < 1000 ? place : 1998 - place])
            }
            let power = (0..<4).map { bin -> Double in
                let angle = 2 * Double.pi * Double(bin) / 6
                let real = values.enumerated().reduce(0) { $0 + $1.element * cos(angle * Double($1.offset)) }
                let imaginary = values.enumerated().reduce(0) { $0 + $1.element * sin(angle * Double($1.offset)) }
                return real * real + imaginary * imaginary
            }
            for filter in filters {
                let sum = filter.weights.enumerated().reduce(0) {
                    $0 + Double($1.element) * power[filter.first + $1.offset]
                }
                expected.append(log10(max(sum, 1e-10)))
            }
        }
        let highest = expected.max()!
        for (found, value) in zip(found.values, expected) {
            #expect((Double(found) - (max(value, highest - 8) + 4) / 4).magnitude < 1e-5)
        }
    }

    /// A power beyond the numbers there are is no feature.
    @Test func aSoundIsNotTooLoud() throws {
        let folder = try ScratchFolder([
            "preprocessor_config.json": #"{"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 1}"#
        ])
        let extractor = try AudioFeatureExtractor(model: folder.path)
        let sound = Sound(samples: [Float](repeating: 1e25, count: 800), samplingRate: 16_000)
        let error = #expect(throws: SeamError.self) { try extractor.features(of: sound, place: "the sound") }
        #expect(error?.code == .numeric && error?.message.contains("the sound is too loud near sample 0") == true)
    }

    /// Slaney's scale has 15 mel at 1,000 Hz; of five filters up to there, each is a triangle of area 1.
    @Test func filtersAreTrianglesOfOneArea() {
        let filters = MelFilters(count: 5, bins: 6001, samplingRate: 12_000, highest: 1000).filters
        for (index, filter) in filters.enumerated() {
            #expect((filter.weights.reduce(0, +) - 1).magnitude < 1e-3)
            let peak = filter.first + filter.weights.firstIndex(of: filter.weights.max()!)!
            #expect((Double(peak) - 1000 * Double(index + 1) / 6).magnitude <= 1)
        }
    }

    @Test func theRateIsConvertedInPlace() throws {
        let sound = Sound(samples: (0..<8000).map { sin(Float($0) * 0.1) }, samplingRate: 8000)
        let found = try sound.resampled(to: 16_000, place: "the sound").samples
        #expect(found.count == 16_000)
        // Away from the ends, where it begins and ends at once.
        for index in 2000..<14_000 { #expect((found[index] - sin(Float(index) * 0.05)).magnitude < 1e-3) }
    }
}
