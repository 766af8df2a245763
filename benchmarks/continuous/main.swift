// What it costs that the rows of a batch have joined at different times: tokens a second of 8 rows that joined one after
// another, 8 steps apart, against 8 rows that began together and are as long as the longest of the others. Both batches
// live in this process and take their steps in turn, so that a change in the machine's speed meets both.
//
//   swift build -c release && swift run -c release continuous-benchmark MODEL

import SeamHost
import Support

let rows = 8
let prompt = 64
let apart = 8
let rounds = 11
let steps = 8

guard CommandLine.arguments.count == 2 else {
    print("usage: continuous-benchmark MODEL (a folder or a GGUF file)")
    throw SeamError(.invalidArgument, "one argument was expected: the model")
}
let runtime = Runtime()
guard let folder = Runtime.ownFolder else { throw SeamError(.internal, "the program does not know its folder") }
try runtime.loadPlugins(searchPath: folder)
let backbone = try Backbone(runtime: runtime, path: CommandLine.arguments[1])
let session = Session(backbone: backbone)
let capacity = prompt + rows * apart + (rounds + 1) * steps

/// Gives every row a token, which decides nothing about the cost.
func step(_ batch: ContinuousBatch, _ token: Int32) throws {
    try batch.step(Dictionary(uniqueKeysWithValues: batch.rows.map { ($0, token) }))
}

func text(_ length: Int) -> [Int32] { (0..<length).map { Int32(10 + $0 % 100) } }

let joined = try ContinuousBatch(session: session, capacity: capacity)
var joining: [Double] = []
for _ in 0..<rows {
    let start = monotonicSeconds()
    _ = try joined.add([text(prompt)])
    joining.append(monotonicSeconds() - start)
    for token in 0..<apart { try step(joined, Int32(10 + token)) }
}
let uniform = try ContinuousBatch(session: session, capacity: capacity)
_ = try uniform.add([[Int32]](repeating: text(prompt + rows * apart), count: rows))

/// Tokens a second.
func measure(_ batch: ContinuousBatch) throws -> Double {
    let start = monotonicSeconds()
    for token in 0..<steps { try step(batch, Int32(10 + token)) }
    return Double(rows * steps) / (monotonicSeconds() - start)
}

var speeds: [(joined: Double, uniform: Double)] = []
for round in 0...rounds {
    // The first round warms up, and who begins changes.
    var speed = (joined: 0.0, uniform: 0.0)
    if round % 2 == 0 { speed.joined = try measure(joined) }
    speed.uniform = try measure(uniform)
    if round % 2 == 1 { speed.joined = try measure(joined) }
    if round > 0 { speeds.append(speed) }
}
func summary(_ values: [Double], _ decimals: Int) -> String {
    let sorted = values.sorted()
    return
        "\(fixed(sorted[sorted.count / 2], decimals)) (\(fixed(sorted[0], decimals)) ... \(fixed(sorted.last!, decimals)))"
}
print(
    "\(rows) rows of \(prompt + apart) to \(prompt + rows * apart) tokens, median (least ... most) of \(rounds) rounds of \(steps) steps:"
)
print("  joined at different times, tokens a second   \(summary(speeds.map(\.joined), 1))")
print("  began together, tokens a second              \(summary(speeds.map(\.uniform), 1))")
print("  ratio                                        \(summary(speeds.map { $0.joined / $0.uniform }, 3))")
print("  a row of \(prompt) tokens joins in, ms               \(summary(joining.map { 1000 * $0 }, 1))")
