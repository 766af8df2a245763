import CSeam
import Generation
import SeamHost
import Support

/// A generation whose rows come and go, with what its last step lent.
final class GenerationHandle {
    let owner: SessionHandle
    let generation: ContinuousGeneration
    /// The sentences of the last step.
    private var messages: [UnsafeMutablePointer<CChar>] = []

    init(_ owner: SessionHandle, capacity: Int) throws {
        self.owner = owner
        generation = try ContinuousGeneration(session: owner.session, capacity: capacity)
    }

    deinit { dropMessages() }

    func dropMessages() {
        for message in messages { message.deallocate() }
        messages = []
    }

    /// What a row got, as C has it; its sentence lives until `dropMessages`.
    func step(_ step: ContinuousGeneration.Step) -> seam_row_step {
        var entry = seam_row_step()
        entry.row = Int64(step.row.number)
        entry.score = step.sequence.map { Double($0.score) } ?? .nan
        entry.log_probability = step.logProbability.map(Double.init) ?? .nan
        entry.token = step.token ?? -1
        entry.token_count = Int32(clamping: step.count)
        entry.status = seam_status(SEAM_OK)
        switch step.finishReason {
        case .stop: entry.finish_reason = seam_finish_reason(SEAM_FINISH_STOP)
        case .length: entry.finish_reason = seam_finish_reason(SEAM_FINISH_LENGTH)
        case nil: entry.finish_reason = seam_finish_reason(SEAM_FINISH_NONE)
        }
        guard let failure = step.failure else { return entry }
        let message = copyCString(failure.message)
        messages.append(message)
        entry.message = UnsafePointer(message)
        entry.finish_reason = seam_finish_reason(SEAM_FINISH_ERROR)
        entry.status = failure.code.rawValue
        return entry
    }

    /// Throws `.invalidArgument` while the session trains: its adapters change then.
    func refuseWhileTraining(_ action: String) throws {
        guard owner.training == nil else {
            throw SeamError(.invalidArgument, "rows cannot be \(action) during training: end the training first")
        }
    }
}

@c @implementation
public func seam_generation_create(
    _ session: OpaquePointer?, _ capacity: Int64, _ out: UnsafeMutablePointer<OpaquePointer?>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(session, "session", as: SessionHandle.self)
        let out = try required(out, "out")
        out.pointee = handOver(try GenerationHandle(handle, capacity: Int(capacity)))
    }
}

@c @implementation
public func seam_generation_release(_ generation: OpaquePointer?) { release(generation, GenerationHandle.self) }

@c @implementation
public func seam_generation_add(
    _ generation: OpaquePointer?, _ batch: UnsafePointer<seam_batch>?, _ options: UnsafePointer<seam_generate_options>?,
    _ rows: UnsafeMutablePointer<Int64>?, _ capacity: Int, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(generation, "generation", as: GenerationHandle.self)
        let (sources, rows) = (try handle.owner.batch(batch), try required(rows, "rows"))
        try requireRoom(capacity, "capacity", for: sources.count, "the numbers of \(sources.count) rows")
        try handle.refuseWhileTraining("added")
        let settings = try generationOptions(options, for: handle.owner.session)
        for (place, row) in try handle.generation.add(sources, options: settings).enumerated() {
            rows[place] = Int64(row.number)
        }
    }
}

@c @implementation
public func seam_generation_step(
    _ generation: OpaquePointer?, _ steps: UnsafeMutablePointer<seam_row_step>?, _ capacity: Int,
    _ count: UnsafeMutablePointer<Int>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(generation, "generation", as: GenerationHandle.self)
        let (count, size) = (try required(count, "count"), handle.generation.rows.count)
        try requireRoom(capacity, "capacity", for: size, "what \(size) rows get")
        let steps = size > 0 ? try required(steps, "steps") : steps
        try handle.refuseWhileTraining("decoded")
        handle.dropMessages()
        let found = try handle.generation.step()
        for (place, step) in found.enumerated() { steps?[place] = handle.step(step) }
        count.pointee = found.count
    }
}

@c @implementation
public func seam_generation_remove(_ generation: OpaquePointer?, _ row: Int64, _ error: ErrorSlot) -> seam_status {
    attempt(error) {
        let handle = try object(generation, "generation", as: GenerationHandle.self)
        try handle.generation.remove(ContinuousBatch.Row(number: Int(row)))
    }
}

@c @implementation
public func seam_generation_rows(
    _ generation: OpaquePointer?, _ rows: UnsafeMutablePointer<Int64>?, _ capacity: Int,
    _ count: UnsafeMutablePointer<Int>?, _ error: ErrorSlot
) -> seam_status {
    attempt(error) {
        let handle = try object(generation, "generation", as: GenerationHandle.self)
        let out = try required(count, "count")
        let capacity = try CAPI.count(capacity, "capacity", atMost: 1 << 40)
        let target = capacity > 0 ? try required(rows, "rows") : nil
        let found = handle.generation.rows
        for (place, row) in found.prefix(capacity).enumerated() { target?[place] = Int64(row.number) }
        out.pointee = found.count
    }
}
