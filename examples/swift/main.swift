// Trains a RepCali adapter on a pretrained sequence-to-sequence model: open the model, attach the adapter, train, score,
// save, read it back and score again. examples/c and examples/python do the same and print the same numbers.
//
// Build and run, from the root of the repository:
//   swift build -c release
//   swift run -c release ExampleTrain MODEL train.jsonl dev.jsonl adapter 100
//
// MODEL is a folder in the Hugging Face layout with a tokenizer.json; each line of the data is a JSON object with the
// strings "source" and "target"; `adapter` is the folder to write; 100 is the number of steps.

import Datasets
import Glibc
import SeamHost
import Support
import Tokenizers
import Trainer

let batchSize = 8
let reportEvery = 10

/// Mean negative log-likelihood of a token of the targets.
func loss(of session: Session, on pairs: PairDataset) throws -> Double {
    var (sum, count) = (0.0, 0)
    for first in stride(from: 0, to: pairs.count, by: batchSize) {
        let rows = first..<min(first + batchSize, pairs.count)
        let batch = try Batch(
            sources: Array(pairs.sources[rows]), targets: Array(pairs.targets[rows]), info: session.backbone.info)
        for score in try session.score(batch) {
            sum -= score.logProbability
            count += score.tokenCount
        }
    }
    return sum / Double(count)
}

func train(_ model: String, _ trainPath: String, _ devPath: String, _ output: String, steps: Int) throws {
    // The plugins are the libraries beside this program, or in the folders of SEAM_PLUGIN_PATH.
    let runtime = Runtime()
    try runtime.loadPlugins()
    let backbone = try Backbone(runtime: runtime, path: model)
    let tokenizer = try Tokenizer(folder: model)
    var options = PairDataset.Options()
    options.decoderStartToken = backbone.info.decoderStartToken
    let pairs = try PairDataset(trainPath, tokenizer: tokenizer, options: options)
    let dev = try PairDataset(devPath, tokenizer: tokenizer, options: options)

    // The adapter and a session that runs it on the backbone's seam.
    let adapter = try Adapter(backbone: backbone, id: "repcali", options: ["lambda": 1.0], seed: 1)
    let session = Session(backbone: backbone)
    try session.attach(adapter)
    print("before   dev loss \(fixed(try loss(of: session, on: dev), 6))")

    var training = TrainingOptions()
    training.learningRate = 0.003
    let optimisation = try Optimisation(session: session, options: training)
    for step in 0..<steps {
        let rows = (0..<batchSize).map { (step * batchSize + $0) % pairs.count }
        let batch = try Batch(
            sources: rows.map { pairs.sources[$0] }, targets: rows.map { pairs.targets[$0] }, info: backbone.info)
        let report = try optimisation.update(batch)
        if report.step % reportEvery == 0 { print("step \(padded(report.step)) loss \(fixed(report.loss, 6))") }
    }
    optimisation.end()
    print("trained  dev loss \(fixed(try loss(of: session, on: dev), 6))")
    try AdapterFolder.save(
        adapter, backbone: backbone, isBackboneTrained: false, notes: "- data: pairs of the example", to: output)

    // What was saved gives the same numbers.
    try session.detach(adapter)
    try session.attach(try AdapterFolder.load(output, backbone: backbone))
    print("reloaded dev loss \(fixed(try loss(of: session, on: dev), 6))")
}

/// A step number in three columns.
func padded(_ step: Int) -> String {
    let digits = "\(step)"
    return String(repeating: " ", count: max(0, 3 - digits.count)) + digits
}

let arguments = CommandLine.arguments
guard arguments.count == 6, let steps = Int(arguments[5]) else {
    fail("usage: ExampleTrain MODEL TRAIN.jsonl DEV.jsonl ADAPTER STEPS", status: 2)
}
do {
    try train(arguments[1], arguments[2], arguments[3], arguments[4], steps: steps)
} catch {
    fail("error: \(error)", status: 1)
}

func fail(_ sentence: String, status: Int32) -> Never {
    _ = (sentence + "\n").withCString { write(STDERR_FILENO, $0, strlen($0)) }
    exit(status)
}
