// The cost of the plugin border: one operation on a small tensor called through the C compute table, as a plugin does,
// against the same operation called inside the engine.
//
//   swift run -c release border-benchmark

import CSeam
import Engine
import SeamHost
import Support

let rounds = 9
let operations = 200_000

let pool = MemoryPool()
let values = try Context(pool: pool, recordsGradients: false).constant([Float](repeating: 0.5, count: 16), [4, 4])

/// Nanoseconds an operation, in passes of 100 operations as a real forward has.
func measure(_ body: (Context) throws -> Void) rethrows -> Double {
    let start = monotonicSeconds()
    let context = Context(pool: pool, recordsGradients: false)
    for _ in 0..<operations / 100 {
        for _ in 0..<100 { try body(context) }
        context.reset()
    }
    return (monotonicSeconds() - start) / Double(operations) * 1e9
}

let table = OpsTable.native.pointee
let addThroughTable = table.add!
let operand = OpaquePointer(Unmanaged.passUnretained(values).toOpaque())

var direct: [Double] = []
var border: [Double] = []
for _ in 0..<rounds {
    direct.append(try measure { context in _ = context.retain(try context.add(values, values)) })
    border.append(
        measure { context in
            _ = addThroughTable(OpaquePointer(Unmanaged.passUnretained(context).toOpaque()), operand, operand)
        })
}
direct.sort()
border.sort()
let (inside, through) = (direct[rounds / 2], border[rounds / 2])
print("add of two 4 x 4 tensors, median of \(rounds) rounds of \(operations):")
print("  inside the engine        \(fixed(inside, 1)) ns")
print("  through the C table      \(fixed(through, 1)) ns")
print("  the border, an operation \(fixed(through - inside, 1)) ns")
