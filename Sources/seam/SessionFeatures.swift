import Audio
import SeamHost
import Support

extension Session {
    /// What makes the features of sound that the model reads, from its folder.
    /// - Throws: as `AudioFeatureExtractor.init`; `.unsupported` for a model that reads texts, `.incompatible` for features of
    ///   another width.
    func featureExtractor() throws -> AudioFeatureExtractor {
        let info = backbone.info
        guard info.readsFeatures, let model = backbone.model else {
            throw SeamError(.unsupported, "--audio is for models of speech, and \(backbone.name) reads texts")
        }
        let extractor = try AudioFeatureExtractor(model: model.files.path)
        guard extractor.settings.featureSize == info.featureWidth else {
            throw SeamError(
                .incompatible,
                "\(model.files.path): the model reads features of \(info.featureWidth) numbers, and its feature extractor"
                    + " makes \(extractor.settings.featureSize)")
        }
        return extractor
    }
}
