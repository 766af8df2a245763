import Support
import Sweeps
import TestSupport
import Testing

@Suite struct PlanTests {
    @Test func variants() throws {
        let variant = try SweepVariant(
            "hidden=residual-prefix:residual=hidden:mlp_hidden_size=8+gate:initial_weight=0.9")
        #expect(variant.name == "hidden")
        #expect(variant.adapters == ["residual-prefix", "gate"])
        #expect(
            variant.settings.map(\.text) == [
                "residual-prefix.residual=hidden", "residual-prefix.mlp_hidden_size=8", "gate.initial_weight=0.9",
            ])
        #expect(try SweepVariant("plain=prefix-tuning").settings.isEmpty)
    }

    @Test(arguments: [
        ("plain", "--variant must be NAME=ADAPTER"), ("=gate", "--variant must be NAME=ADAPTER"),
        ("plain=", "--variant must be NAME=ADAPTER"), ("plain=a+", "--variant must be NAME=ADAPTER"),
        ("a=x=1", "--variant must be NAME=ADAPTER"),
        ("a=gate:scope", "an option must be OPTION=VALUE, found \"scope\""),
        ("a=gate+gate", "adapter \"gate\" is named twice"), ("a/b=gate", "found \"a/b\""), ("..=gate", "found \"..\""),
    ])
    func brokenVariants(_ text: String, _ words: String) {
        expectError(.invalidArgument, "--variant", words) { try SweepVariant(text) }
    }

    @Test(arguments: [
        ("prefix_length", "--vary must be NAME=VALUE,VALUE"), ("a=1,,2", "found \"\""),
        ("a=1,2,1", "the value 1 is given twice"),
        ("a=../x", "found \"../x\""), ("a=", "found \"\""),
    ])
    func brokenAxes(_ text: String, _ words: String) {
        expectError(.invalidArgument, "--vary", words) { try SweepAxis(text) }
    }

    @Test func theGrid() throws {
        let plan = try SweepPlan(
            variants: [try SweepVariant("plain=a"), try SweepVariant("gate=a+b")],
            axes: [try SweepAxis("prefix_length=5,20"), try SweepAxis("learning_rate=0.1,1e-2")], seeds: [3, 7])
        #expect(
            plan.points.map(\.title) == [
                "prefix_length 5, learning_rate 0.1", "prefix_length 5, learning_rate 1e-2",
                "prefix_length 20, learning_rate 0.1", "prefix_length 20, learning_rate 1e-2",
            ])
        let runs = plan.runs
        #expect(runs.count == 16 && Set(runs).count == 16)
        #expect(runs.prefix(8).allSatisfy { $0.seed == 3 })
        #expect(runs[0].folder == "runs/plain/prefix_length-5/learning_rate-0.1/seed-3")
        #expect(runs[1].folder == "runs/gate/prefix_length-5/learning_rate-0.1/seed-3")
        #expect(runs[15].title == "gate, prefix_length 20, learning_rate 1e-2, seed 7")
        #expect(try SweepPlan(plan.json, in: "sweep.json") == plan)
    }

    @Test func brokenPlans() throws {
        let (variant, axis) = (try SweepVariant("plain=a:n=1"), try SweepAxis("m=1,2"))
        func plan(_ variants: [SweepVariant], _ axes: [SweepAxis], _ seeds: [UInt64]) throws -> SweepPlan {
            try SweepPlan(variants: variants, axes: axes, seeds: seeds)
        }
        expectError(.invalidArgument, "a sweep needs --variant") { try plan([], [axis], [0]) }
        expectError(.invalidArgument, "a sweep needs --vary") { try plan([variant], [], [0]) }
        expectError(.invalidArgument, "a sweep needs --seeds") { try plan([variant], [axis], []) }
        expectError(.invalidArgument, "--variant plain is given twice") { try plan([variant, variant], [axis], [0]) }
        expectError(.invalidArgument, "--vary m is given twice") { try plan([variant], [axis, axis], [0]) }
        expectError(.invalidArgument, "--seeds 1 is given twice") { try plan([variant], [axis], [1, 1]) }
        expectError(.invalidArgument, "sets n, which --vary n=1,2 varies") {
            try plan([variant], [try SweepAxis("n=1,2")], [0])
        }
    }
}
