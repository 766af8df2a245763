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
    _ extractor: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ longSound: seam_long_sound,
    _ features: UnsafeMutablePointer<Float>?, _ capacity: Int, _ frames: UnsafeMutablePointer<Int>?,
    _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let extractor = try object(extractor, "extractor", as: AudioFeatureExtractor.self)
        let path = try text(path, "path")
        let longSound = try wayOfLongSound(longSound)
        try fill(
            features, capacity, frames, size: extractor.settings.featureSize,
            count: { try extractor.frameCount(ofFile: path, longSound: longSound) },
            write: { target in try extractor.write(ofFile: path, longSound: longSound, to: &target) })
    }
}

@c @implementation
public func seam_feature_extractor_extract(
    _ extractor: OpaquePointer?, _ samples: UnsafePointer<Float>?, _ count: Int, _ samplingRate: Int32,
    _ longSound: seam_long_sound, _ features: UnsafeMutablePointer<Float>?, _ capacity: Int,
    _ frames: UnsafeMutablePointer<Int>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let extractor = try object(extractor, "extractor", as: AudioFeatureExtractor.self)
        let length = try CAPI.count(count, "count", atMost: 1 << 40)
        let source = UnsafeBufferPointer(start: length > 0 ? try required(samples, "samples") : nil, count: length)
        let (rate, longSound) = (Int(samplingRate), try wayOfLongSound(longSound))
        let place = "argument samples"
        try fill(
            features, capacity, frames, size: extractor.settings.featureSize,
            count: {
                try extractor.frameCount(ofSamples: length, samplingRate: rate, longSound: longSound, place: place)
            },
            write: { target in
                try extractor.write(
                    of: source.span, samplingRate: rate, longSound: longSound, place: place, to: &target)
            })
    }
}

private func wayOfLongSound(_ value: seam_long_sound) throws -> LongSound {
    switch Int(value) {
    case SEAM_LONG_SOUND_REFUSE: .refuse
    case SEAM_LONG_SOUND_TRUNCATE: .truncate
    case SEAM_LONG_SOUND_WHOLE: .whole
    default: throw SeamError(.invalidArgument, "argument long_sound must be 0, 1 or 2, found \(value)")
    }
}

/// Says how many frames there are and writes features into the caller's array, unless there is none; its room is checked
/// before anything is computed.
private func fill(
    _ target: UnsafeMutablePointer<Float>?, _ capacity: Int, _ frames: UnsafeMutablePointer<Int>?, size: Int,
    count: () throws -> Int, write: (inout MutableSpan<Float>) throws -> Void
) throws {
    let frames = try required(frames, "frames")
    let found = try count()
    frames.pointee = found
    guard target != nil || capacity != 0 else { return }
    let target = try required(target, "features")
    try requireRoom(capacity, "capacity", for: found * size, "\(found) frames of \(size) features")
    var room = UnsafeMutableBufferPointer(start: target, count: found * size).mutableSpan
    try write(&room)
}
