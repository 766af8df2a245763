import ArgumentParser
import Glibc
import Synchronization

/// Ctrl-C, SIGTERM and SIGHUP as a question that long work asks: the first one asks it to stop cleanly. A second Ctrl-C
/// kills; the others may come twice from one sender (`timeout`, a closing shell), and are heard once.
enum Interruption {
    private static let signals = [SIGINT, SIGTERM, SIGHUP]
    /// The first signal that came; 0: none.
    private static let received = Atomic<Int32>(0)

    static func watch() {
        for number in signals {
            let before = signal(number) { number in
                _ = Interruption.received.compareExchange(expected: 0, desired: number, ordering: .relaxed)
                if number == SIGINT { signal(SIGINT, SIG_DFL) }
            }
            // nohup has a program live on without its terminal.
            if number == SIGHUP, isIgnored(before) { signal(SIGHUP, SIG_IGN) }
        }
    }

    static var isRequested: Bool { received.load(ordering: .relaxed) != 0 }

    /// What a program ends with that a signal ended, as shells show it: 130 for Ctrl-C.
    static var exitCode: ExitCode { ExitCode(128 + received.load(ordering: .relaxed)) }

    private static func isIgnored(_ handler: (@convention(c) (Int32) -> Void)?) -> Bool {
        unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
