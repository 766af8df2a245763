import Datasets
import Support

extension LabelledTexts {
    /// Throws `SeamError(.invalidArgument)` when these are pairs and the template has no place for the second text, and
    /// the other way round.
    public func check(fits template: Template) throws {
        let isPairs = inputs.contains { $0.textB != nil }
        guard isPairs == template.needsTextB else {
            throw SeamError(
                .invalidArgument,
                "\(name): the template \(template.source.debugDescription) has "
                    + (isPairs ? "no {text_b}, but there is a column" : "{text_b}, but there is no column")
                    + " of second texts")
        }
    }
}
