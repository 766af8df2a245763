import Support
import TestSupport
import Testing
import Trainer

@Suite struct ScheduleTests {
    /// Of steps 0, 1, 2, 3, 5, 7, 9 and 10 of 10, by the lambdas of transformers' optimization.py:
    ///
    ///     linear = lambda s, w, t: s/max(1,w) if s < w else max(0.0, (t-s)/max(1,t-w))
    ///     cosine = lambda s, w, t: s/max(1,w) if s < w else max(0.0, 0.5*(1+cos(pi*0.5*2.0*((s-w)/max(1,t-w)))))
    ///     [round(f(s, w, 10), 10) for s in (0, 1, 2, 3, 5, 7, 9, 10)]
    static let table: [(Schedule, warmup: Int, [Double])] = [
        (.linear, 0, [1.0, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1, 0.0]),
        (.cosine, 0, [1.0, 0.9755282581, 0.9045084972, 0.7938926261, 0.5, 0.2061073739, 0.0244717419, 0.0]),
        (.linear, 3, [0.0, 0.3333333333, 0.6666666667, 1.0, 0.7142857143, 0.4285714286, 0.1428571429, 0.0]),
        (.cosine, 3, [0.0, 0.3333333333, 0.6666666667, 1.0, 0.8117449009, 0.3887395330, 0.0495155660, 0.0]),
        (.constant, 0, [1, 1, 1, 1, 1, 1, 1, 1]),
        (.constant, 3, [0.0, 0.3333333333, 0.6666666667, 1, 1, 1, 1, 1]),
    ]

    @Test func factorsAreThoseOfTransformers() {
        for (schedule, warmup, expected) in Self.table {
            for (step, value) in zip([0, 1, 2, 3, 5, 7, 9, 10], expected) {
                #expect(
                    abs(schedule.factor(step: step, warmup: warmup, total: 10) - value) < 1e-9,
                    "\(schedule) \(warmup) \(step)")
            }
        }
    }

    @Test func beyondTheEndNothingIsLearned() {
        for schedule in [Schedule.linear, .cosine] {
            for step in [10, 11, 20, 1000] { #expect(schedule.factor(step: step, warmup: 2, total: 10) == 0) }
        }
        #expect(Schedule.constant.factor(step: 1000, warmup: 2, total: 10) == 1)
    }

    @Test func optionsOutOfRangeAreNamed() {
        func expectRefusal(_ words: String, _ change: (inout TrainingOptions) -> Void) {
            var options = TrainingOptions()
            change(&options)
            expectError(.invalidArgument, words) { try options.validate() }
        }
        expectRefusal("learning_rate must be 0 or more, found -1.0") { $0.learningRate = -1 }
        expectRefusal("learning_rate must be 0 or more, found nan") { $0.learningRate = .nan }
        expectRefusal("backbone_learning_rate must be 0 or more, found inf") { $0.backboneLearningRate = .infinity }
        expectRefusal("beta1 must be in [0, 1), found 1.0") { $0.optimizer.beta1 = 1 }
        expectRefusal("beta2 must be in [0, 1), found -0.5") { $0.optimizer.beta2 = -0.5 }
        expectRefusal("epsilon must be positive, found 0.0") { $0.optimizer.epsilon = 0 }
        expectRefusal("weight_decay must be 0 or more, found -0.1") { $0.optimizer.weightDecay = -0.1 }
        expectRefusal("max_grad_norm must be 0 or more, found -1.0") { $0.maxGradientNorm = -1 }
        expectRefusal("label_smoothing must be in [0, 1), found 1.0") { $0.labelSmoothing = 1 }
        expectRefusal("warmup_steps must be 0 or more, found -1") { $0.warmupSteps = -1 }
        expectRefusal("total_steps must be more than warmup_steps for a linear schedule, found 0") {
            $0.schedule = .linear
        }
        expectRefusal("total_steps must be more than warmup_steps for a cosine schedule, found 5") {
            ($0.schedule, $0.warmupSteps, $0.totalSteps) = (.cosine, 5, 5)
        }
    }
}
