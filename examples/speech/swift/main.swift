// Teaches a model of speech a voice: the features of sound files, RepCali on the frozen model, and what the model writes of
// a sentence that it has not learned, before and after. voice.py and voice.c do the same and print the same.
//
// Build and run, from the root of the repository, after `examples/speech/run` has made model and sentences:
//   swift build -c release
//   swift run -c release ExampleVoice MODEL train.tsv dev.tsv adapter 48
//
// MODEL is a Whisper folder in the Hugging Face layout; the data have a header line, then the path of a sound file, which
// begins at their own folder, a tab and what is said; `adapter` is the folder to write; 48 is the number of steps.

import Audio
import Datasets
import Glibc
import SeamHost
import Support
import Tokenizers
import Trainer

let batchSize = 16
let reportEvery = 4

/// Sounds as features, and the tokens that are to be written of them.
struct Sentences {
    private(set) var features: [AudioFeatures] = []
    private(set) var targets: [[Int32]] = []
    private let info: BackboneInfo

    init(_ path: String, _ extractor: AudioFeatureExtractor, _ tokenizer: Tokenizer, _ info: BackboneInfo) throws {
        self.info = info
        let spoken = try TextPairs(path, options: TextPairs.Options(format: .audio))
        for (audio, text) in zip(spoken.sources, spoken.targets) {
            features.append(try extractor.features(ofFile: audio))
            // With a space in front, as Whisper writes. The model is given the start token, and does not predict it.
            let target = try tokenizer.encode(" " + text)
            targets.append(target.first == info.decoderStartToken ? Array(target.dropFirst()) : target)
        }
    }

    func batch(_ rows: [Int]) throws -> Batch {
        let longest = rows.map { targets[$0].count }.max() ?? 0
        let labels = rows.flatMap { row in
            targets[row] + [Int32](repeating: Batch.ignoredLabel, count: longest - targets[row].count)
        }
        return try Batch(
            count: rows.count, sourceLength: features[rows[0]].frames,
            inputFeatures: rows.flatMap { features[$0].values }, targetLength: longest, labels: labels, info: info)
    }

    /// The first sound alone.
    func sound() throws -> Batch {
        try Batch(count: 1, sourceLength: features[0].frames, inputFeatures: features[0].values, info: info)
    }
}

/// Mean negative log-likelihood of a token of the targets.
func loss(of session: Session, on sentences: Sentences) throws -> Double {
    var (sum, count) = (0.0, 0)
    for first in stride(from: 0, to: sentences.targets.count, by: batchSize) {
        let rows = Array(first..<min(first + batchSize, sentences.targets.count))
        for score in try session.score(try sentences.batch(rows)) {
            sum -= score.logProbability
            count += score.tokenCount
        }
    }
    return sum / Double(count)
}

func report(_ name: String, _ session: Session, _ tokenizer: Tokenizer, _ sentences: Sentences) throws {
    let written = try session.generate(try sentences.sound(), options: try session.defaultGenerationOptions())
    let text = try tokenizer.decode(written[0][0].tokens)
    print("\(name) dev loss \(fixed(try loss(of: session, on: sentences), 5)), writes:\(text)")
}

func learn(_ model: String, _ trainPath: String, _ devPath: String, _ output: String, steps: Int) throws {
    let runtime = Runtime()
    try runtime.loadPlugins()
    let backbone = try Backbone(runtime: runtime, path: model)
    let (extractor, tokenizer) = (try AudioFeatureExtractor(model: model), try Tokenizer(folder: model))
    let train = try Sentences(trainPath, extractor, tokenizer, backbone.info)
    let dev = try Sentences(devPath, extractor, tokenizer, backbone.info)

    // A shift of what the encoder gives, one number for each of its features and one more for its size.
    let adapter = try Adapter(backbone: backbone, id: "repcali", options: ["norm": "none"], seed: 0)
    let session = Session(backbone: backbone)
    try session.attach(adapter)
    try report("before  ", session, tokenizer, dev)

    var training = TrainingOptions()
    training.learningRate = 3e-2
    training.optimizer.weightDecay = 0
    let optimisation = try Optimisation(session: session, options: training)
    // What the encoder gives is computed once for each sound.
    let cache = SeamCache(session: session)
    for step in 0..<steps {
        let rows = (0..<batchSize).map { (step * batchSize + $0) % train.targets.count }
        let batch = try train.batch(rows)
        let done = try optimisation.update(batch, kept: try cache.states(of: batch, examples: rows))
        if done.step % reportEvery == 0 {
            let number = "\(done.step)"
            print(
                "step \(String(repeating: " ", count: max(0, 3 - number.count)))\(number) loss \(fixed(done.loss, 5))")
        }
    }
    optimisation.end()
    try report("trained ", session, tokenizer, dev)
    try AdapterFolder.save(
        adapter, backbone: backbone, isBackboneTrained: false, notes: "- data: sentences of the example", to: output)

    // What was saved gives the same numbers.
    try session.detach(adapter)
    try session.attach(try AdapterFolder.load(output, backbone: backbone))
    try report("reloaded", session, tokenizer, dev)
}

func fail(_ sentence: String, status: Int32) -> Never {
    _ = (sentence + "\n").withCString { write(STDERR_FILENO, $0, strlen($0)) }
    exit(status)
}

let arguments = CommandLine.arguments
guard arguments.count == 6, let steps = Int(arguments[5]) else {
    fail("usage: ExampleVoice MODEL TRAIN.tsv DEV.tsv ADAPTER STEPS", status: 2)
}
do {
    try learn(arguments[1], arguments[2], arguments[3], arguments[4], steps: steps)
} catch {
    fail("error: \(error)", status: 1)
}
