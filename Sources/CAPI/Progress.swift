import CSeam

/// What is done in a call that takes long (`seam_activity`).
enum Activity {
    case query, generate, fit, classify, prepare, transcribe

    fileprivate var rawValue: seam_activity {
        switch self {
        case .query: seam_activity(SEAM_ACTIVITY_QUERY)
        case .generate: seam_activity(SEAM_ACTIVITY_GENERATE)
        case .fit: seam_activity(SEAM_ACTIVITY_FIT)
        case .classify: seam_activity(SEAM_ACTIVITY_CLASSIFY)
        case .prepare: seam_activity(SEAM_ACTIVITY_PREPARE)
        case .transcribe: seam_activity(SEAM_ACTIVITY_TRANSCRIBE)
        }
    }
}

/// A caller's callback, told how far its call has come; without one every call runs to its end.
struct Progress {
    let callback: seam_progress_callback?
    let user: UnsafeMutableRawPointer?

    init(_ callback: seam_progress_callback?, _ user: UnsafeMutableRawPointer?) {
        (self.callback, self.user) = (callback, user)
    }

    /// Tells the caller.
    /// - Parameters:
    ///   - loss: of the last epoch; nil where there is none.
    ///   - tokens: the newest of each row, -1 in one that has ended; nil where there are none.
    /// - Returns: whether the caller wants the call to go on.
    func report(_ activity: Activity, done: Int, total: Int, loss: Double? = nil, tokens: [Int32]? = nil) -> Bool {
        guard let callback else { return true }
        var progress = seam_progress.sized
        progress.activity = activity.rawValue
        progress.done = Int64(done)
        progress.total = Int64(total)
        progress.loss = loss ?? .nan
        guard let tokens else { return callback(user, &progress) != 0 }
        return tokens.withUnsafeBufferPointer { tokens in
            progress.tokens = tokens.baseAddress
            progress.token_count = tokens.count
            return callback(user, &progress) != 0
        }
    }
}
