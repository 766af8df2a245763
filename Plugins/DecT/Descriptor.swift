import CSeam
import SeamPlugin

extension DecT {
    static var descriptor: AdapterDescriptor {
        AdapterDescriptor(
            id: "dect",
            summary: "DecT: decoder tuning, a few-shot classifier over one query per example (Cui et al., ACL 2023).",
            seams: [Seam.decoderOutput],
            options: [
                .int("projection_width", default: "128", in: 1...65536, "Width of the space of the prototypes."),
                .double(
                    "lambda", default: "0", in: 0...1_000_000,
                    "Weight of the backbone's scores; 0: one over the examples per class, as in the paper."),
                .bool("model_scores", default: true, "Whether the backbone's scores count beside the prototypes."),
                .bool(
                    "calibration", default: true,
                    "Whether the backbone's scores are divided by those of an empty text, where those are known."),
                .bool("radii", default: true, "Whether each class has a learned radius."),
                .bool(
                    "train_prototypes", default: false,
                    "Whether the prototypes are trained; in the paper they stay as they were drawn."),
            ],
            methods: [
                .tensor("prototypes", "The prototype of each class: [classes, projection_width].") {
                    DecT.call($0, $1) { $0.prototypes(in: $1) }
                },
                .tensor("radii", "The radius of each class: [classes].") { DecT.call($0, $1) { $0.radii(in: $1) } },
                .map(
                    "project",
                    "Hidden states [n, d_model] as unit vectors of the space of the prototypes: [n, projection_width]."
                ) { DecT.call($0, $1, $2) { $0.project($1, in: $2) } },
            ],
            prepares: true)
    }
}

private let plugin = Plugin(
    id: "org.seamkit.dect", version: "1.0.0", license: "Apache-2.0",
    summary: "DecT, few-shot classification by decoder tuning.",
    adapters: [AdapterFactory(DecT.self) { DecT.create($0, $1, $2, $3, $4) }])

@c(seam_plugin_entry)
public func entry() -> UnsafePointer<seam_plugin>? { plugin.table }
