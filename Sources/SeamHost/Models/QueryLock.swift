import Glibc
import Support

/// Lets one query of a text backbone run at a time: a plugin's `query` may keep one connection. Any thread may wait.
final class QueryLock {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() {
        var attributes = pthread_mutexattr_t()
        pthread_mutexattr_init(&attributes)
        // A thread that has it is told so, where it would wait for itself.
        pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_ERRORCHECK))
        pthread_mutex_init(mutex, &attributes)
        pthread_mutexattr_destroy(&attributes)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Takes the lock when no other thread has it.
    /// - Parameter goesOn: asked again and again while another thread has it; false stops the waiting.
    /// - Returns: false where it was stopped.
    /// - Throws: `.invalidArgument` where this thread has it.
    func take(goesOn: () -> Bool) throws -> Bool {
        while true {
            var until = timespec()
            clock_gettime(CLOCK_REALTIME, &until)
            until.tv_nsec += 50_000_000
            if until.tv_nsec >= 1_000_000_000 {
                until.tv_sec += 1
                until.tv_nsec -= 1_000_000_000
            }
            switch pthread_mutex_timedlock(mutex, &until) {
            case 0: return true
            case EDEADLK:
                throw SeamError(.invalidArgument, "a backbone that answers a query is asked again in its own progress")
            default: if !goesOn() { return false }
            }
        }
    }

    func giveBack() { pthread_mutex_unlock(mutex) }
}
