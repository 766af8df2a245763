import Engine
import Files
import SeamHost
import Support
import TestSupport
import Testing

/// The methods that the plugin offers by name.
@Suite struct MethodTests {
    @Test func shiftIsLambdaTimesTheTable() throws {
        let model = try OpenModel()
        for options: JSON in [["lambda": 0.25], ["lambda": 0.25, "seed": "positions", "max_positions": 5]] {
            let adapter = try model.attach("repcali", options)
            let table = adapter.parameters["embedding.weight"]!
            randomise(table, deviation: 1)
            guard case .tensor(let shift) = try adapter.call("shift") else {
                Issue.record("shift is no tensor")
                return
            }
            #expect(shift.shape == table.shape)
            #expect(bitEqual(shift.floats, table.floats.map { $0 * 0.25 }))
            // A copy: later training does not change it.
            let before = shift.floats
            randomise(table, deviation: 1, seed: 8)
            #expect(bitEqual(shift.floats, before))
        }
    }

    @Test func lambdaIsTheOption() throws {
        let model = try OpenModel()
        for value in [1.0, 0.1, -3.5, 0] {
            guard case .double(let lambda) = try model.attach("repcali", ["lambda": .double(value)]).call("lambda")
            else {
                Issue.record("lambda is no number")
                return
            }
            #expect(lambda == value)
        }
    }

    @Test func wrongCallsAreRefused() throws {
        let adapter = try OpenModel().attach()
        expectError(.notFound, "has no method \"shfit\"", "it has shift, lambda") { try adapter.call("shfit") }
        expectError(.invalidArgument, "\"shift\" takes 0 arguments", "found 1") { try adapter.call("shift", [.int(1)]) }
        expectError(.invalidArgument, "\"lambda\" takes 0 arguments", "found 2") {
            try adapter.call("lambda", [.double(1), .string("x")])
        }
    }

    @Test func methodsWorkWhileTheAdapterIsTrained() throws {
        let adapter = try OpenModel().attach()
        try adapter.unfreeze()
        guard case .tensor(let shift) = try adapter.call("shift") else {
            Issue.record("shift is no tensor")
            return
        }
        #expect(shift.floats == [Float](repeating: 0, count: 16))
    }
}
