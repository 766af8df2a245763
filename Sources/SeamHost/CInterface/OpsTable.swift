import CSeam
import Engine
import Support

/// Tensors in one call of a plugin, and rows that it selects: more cannot be meant, and would be read from anywhere.
let mostHandles = 1 << 20

/// The native engine as the ABI's compute table (include/seam/ops.h).
///
/// The entries are `Context`'s methods in the common frame (Frame.swift).
public enum OpsTable {
    /// The one table of the process.
    /// `nonisolated(unsafe)` is safe: the table is written before this initialiser returns and never again.
    nonisolated(unsafe) public static let native: UnsafePointer<seam_ops> = {
        let table = UnsafeMutablePointer<seam_ops>.allocate(capacity: 1)
        var ops = seam_ops()
        ops.struct_size = UInt32(MemoryLayout<seam_ops>.size)
        ops.abi_major = SEAM_ABI_MAJOR
        ops.abi_minor = SEAM_ABI_MINOR
        fillContext(&ops)
        fillTransfer(&ops)
        fillElementwise(&ops)
        fillMatrix(&ops)
        fillReductions(&ops)
        fillShapes(&ops)
        fillBuffers(&ops)
        table.initialize(to: ops)
        return UnsafePointer(table)
    }()

    /// Whether the table has an operation, by its member's name.
    static func offers(_ operation: String) -> Bool { operations.contains { TextKey($0) == TextKey(operation) } }

    /// The operations that an engine's table must have and has not, by name: one of version 1.0, or of `required`.
    static func missing(in table: seam_ops, required: [String]) -> [String] {
        let first = MemoryLayout<seam_ops>.offset(of: \.status)!
        let pointer = MemoryLayout<UnsafeRawPointer>.size
        return withUnsafeBytes(of: table) { bytes in
            operations.enumerated().filter { index, name in
                let place = first + index * pointer
                guard bytes.loadUnaligned(fromByteOffset: place, as: UInt.self) == 0 else { return false }
                return place < Int(SEAM_OPS_SIZE_1_0) || required.contains { TextKey($0) == TextKey(name) }
            }.map(\.element)
        }
    }

    /// The names of all operations, in the order of the table, which has nothing but pointers from the first on.
    private static let operations: [String] = {
        let members = Mirror(reflecting: native.pointee).children.compactMap(\.label)
        // What stands before the operations describes the table itself.
        return Array(members.drop { $0 != "status" })
    }()

    // MARK: The groups

    private static func fillContext(_ ops: inout seam_ops) {
        ops.status = { context in
            guard let context else { return ErrorCode.plugin.rawValue }
            return Context.from(context).failure?.code.rawValue ?? 0
        }
        ops.fail = { context, code, message in
            guard let context else { return nil }
            let text = message.map { String(cString: $0) } ?? "the plugin gave no message"
            Context.from(context).latch(SeamError(ErrorCode(rawValue: code) ?? .plugin, text))
            return nil
        }
        ops.rank = { _, x in x.map { Int32(Tensor.from($0).rank) } ?? -1 }
        ops.size = { _, x, axis in
            guard let x else { return -1 }
            let shape = Tensor.from(x).shape
            let position = axis < 0 ? Int(axis) + shape.count : Int(axis)
            return position >= 0 && position < shape.count ? Int64(shape[position]) : -1
        }
        ops.dtype = { _, x in x.map { Tensor.from($0).dtype.rawValue } ?? -1 }
        ops.scope_begin = { context in if let context { Context.from(context).beginScope() } }
        ops.scope_end = { context, keep, count in
            guard let context else { return }
            let pass = Context.from(context)
            var kept: [Tensor] = []
            do throws(SeamError) {
                let count = try checkedCount(count, atMost: mostHandles, "scope_end: the number of kept tensors")
                if let keep { kept = UnsafeBufferPointer(start: keep, count: count).compactMap { $0.map(Tensor.from) } }
            } catch {
                pass.latch(error)
            }
            pass.endScope(keeping: kept)
        }
        ops.stop_gradient = { unary($0, $1, "stop_gradient") { (pass, x) throws(SeamError) in pass.stopGradient(x) } }
        ops.cast = { context, x, dtype in
            unary(context, x, "cast") { (pass, x) throws(SeamError) in
                guard let type = DType(rawValue: dtype) else {
                    throw SeamError(.invalidArgument, "cast: unknown dtype \(dtype)")
                }
                return try pass.cast(x, to: type)
            }
        }
    }

    private static func fillTransfer(_ ops: inout seam_ops) {
        ops.constant_f32 = { context, data, shape, rank in
            run(context) { (pass) throws(SeamError) in
                let shape = try checkedSizes(shape, rank, "constant_f32")
                guard let data else { throw SeamError(.plugin, "constant_f32: data is NULL") }
                return try pass.copied(.borrowing(data, shape, .f32))
            }
        }
        ops.constant_i32 = { context, data, shape, rank in
            run(context) { (pass) throws(SeamError) in
                let shape = try checkedSizes(shape, rank, "constant_i32")
                guard let data else { throw SeamError(.plugin, "constant_i32: data is NULL") }
                return try pass.copied(.borrowing(data, shape, .i32))
            }
        }
        ops.full = { context, value, dtype, shape, rank in
            run(context) { (pass) throws(SeamError) in
                guard let type = DType(rawValue: dtype) else {
                    throw SeamError(.invalidArgument, "full: unknown dtype \(dtype)")
                }
                return try pass.full(value, type, try checkedSizes(shape, rank, "full"))
            }
        }
        ops.from_dlpack = { context, source in
            guard let source else {
                return run(context) { (_) throws(SeamError) in
                    throw SeamError(.plugin, "from_dlpack: the tensor is NULL")
                }
            }
            // Taken over even if the context has failed: the deleter must run.
            let imported = Result { () throws(SeamError) in try DLPack.importing(source) }
            return run(context) { (_) throws(SeamError) in try imported.get() }
        }
        ops.to_dlpack = { context, x in
            guard let context, let x else { return nil }
            let pass = Context.from(context)
            guard pass.failure == nil else { return nil }
            do throws(SeamError) {
                return DLPack.exporting(try pass.contiguous(Tensor.from(x)))
            } catch {
                pass.latch(error)
                return nil
            }
        }
    }

    private static func fillElementwise(_ ops: inout seam_ops) {
        ops.add = { binary($0, $1, $2, "add") { (pass, a, b) throws(SeamError) in try pass.add(a, b) } }
        ops.sub = { binary($0, $1, $2, "sub") { (pass, a, b) throws(SeamError) in try pass.sub(a, b) } }
        ops.mul = { binary($0, $1, $2, "mul") { (pass, a, b) throws(SeamError) in try pass.mul(a, b) } }
        ops.div = { binary($0, $1, $2, "div") { (pass, a, b) throws(SeamError) in try pass.div(a, b) } }
        ops.maximum = { binary($0, $1, $2, "maximum") { (pass, a, b) throws(SeamError) in try pass.maximum(a, b) } }
        ops.minimum = { binary($0, $1, $2, "minimum") { (pass, a, b) throws(SeamError) in try pass.minimum(a, b) } }
        ops.affine = { context, x, scale, shift in
            unary(context, x, "affine") { (pass, x) throws(SeamError) in try pass.affine(x, scale: scale, shift: shift)
            }
        }
        ops.where = { context, condition, a, b in
            binary(context, a, b, "where") { (pass, a, b) throws(SeamError) in
                try pass.select(try operand(condition, "where"), a, b)
            }
        }
        ops.neg = { unary($0, $1, "neg") { (pass, x) throws(SeamError) in try pass.unary(.neg, x) } }
        ops.exp = { unary($0, $1, "exp") { (pass, x) throws(SeamError) in try pass.unary(.exp, x) } }
        ops.log = { unary($0, $1, "log") { (pass, x) throws(SeamError) in try pass.unary(.log, x) } }
        ops.sqrt = { unary($0, $1, "sqrt") { (pass, x) throws(SeamError) in try pass.unary(.sqrt, x) } }
        ops.rsqrt = { unary($0, $1, "rsqrt") { (pass, x) throws(SeamError) in try pass.unary(.rsqrt, x) } }
        ops.square = { unary($0, $1, "square") { (pass, x) throws(SeamError) in try pass.unary(.square, x) } }
        ops.abs = { unary($0, $1, "abs") { (pass, x) throws(SeamError) in try pass.unary(.abs, x) } }
        ops.reciprocal = {
            unary($0, $1, "reciprocal") { (pass, x) throws(SeamError) in try pass.unary(.reciprocal, x) }
        }
        ops.tanh = { unary($0, $1, "tanh") { (pass, x) throws(SeamError) in try pass.unary(.tanh, x) } }
        ops.sigmoid = { unary($0, $1, "sigmoid") { (pass, x) throws(SeamError) in try pass.unary(.sigmoid, x) } }
        ops.relu = { unary($0, $1, "relu") { (pass, x) throws(SeamError) in try pass.unary(.relu, x) } }
        ops.gelu = { unary($0, $1, "gelu") { (pass, x) throws(SeamError) in try pass.unary(.gelu, x) } }
        ops.gelu_tanh = { unary($0, $1, "gelu_tanh") { (pass, x) throws(SeamError) in try pass.unary(.geluTanh, x) } }
        ops.silu = { unary($0, $1, "silu") { (pass, x) throws(SeamError) in try pass.unary(.silu, x) } }
        ops.dropout = { context, x, p in
            unary(context, x, "dropout") { (pass, x) throws(SeamError) in try pass.dropout(x, p: p) }
        }
    }

    private static func fillMatrix(_ ops: inout seam_ops) {
        ops.matmul = { context, a, b, transposeA, transposeB in
            binary(context, a, b, "matmul") { (pass, a, b) throws(SeamError) in
                try pass.matmul(a, b, transposeA: transposeA != 0, transposeB: transposeB != 0)
            }
        }
        ops.linear = { context, x, weight, bias in
            binary(context, x, weight, "linear") { (pass, x, weight) throws(SeamError) in
                try pass.linear(x, weight: weight, bias: bias.map(Tensor.from))
            }
        }
        ops.linear_low_rank = { context, y, x, a, b, scale in
            binary(context, y, x, "linear_low_rank") { (pass, y, x) throws(SeamError) in
                try pass.linearLowRank(
                    y, x, a: try operand(a, "linear_low_rank"), b: try operand(b, "linear_low_rank"), scale: scale)
            }
        }
        ops.attention = { context, query, key, value, bias, mask, scale, causal in
            binary(context, query, key, "attention") { (pass, query, key) throws(SeamError) in
                try pass.attention(
                    query: query, key: key, value: try operand(value, "attention"), bias: bias.map(Tensor.from),
                    mask: mask.map(Tensor.from), scale: scale, causal: causal != 0)
            }
        }
        ops.attention_with_prefix = { context, query, key, value, prefix, biases, bias, mask, scale, causal in
            binary(context, query, key, "attention_with_prefix") { (pass, query, key) throws(SeamError) in
                try pass.attentionWithPrefix(
                    query: query, key: key, value: try operand(value, "attention_with_prefix"),
                    prefix: try AttentionPrefix(prefix, biases: biases), bias: bias.map(Tensor.from),
                    mask: mask.map(Tensor.from), scale: scale, causal: causal != 0)
            }
        }
        ops.rotary = { context, x, cosine, sine in
            binary(context, x, cosine, "rotary") { (pass, x, cosine) throws(SeamError) in
                try pass.rotary(x, cosine: cosine, sine: try operand(sine, "rotary"))
            }
        }
        ops.softmax = { context, x, axis in
            unary(context, x, "softmax") { (pass, x) throws(SeamError) in try pass.softmax(x, axis: Int(axis)) }
        }
        ops.log_softmax = { context, x, axis in
            unary(context, x, "log_softmax") { (pass, x) throws(SeamError) in try pass.logSoftmax(x, axis: Int(axis)) }
        }
        ops.layer_norm = { context, x, weight, bias, epsilon in
            unary(context, x, "layer_norm") { (pass, x) throws(SeamError) in
                try pass.layerNorm(
                    x, weight: weight.map(Tensor.from), bias: bias.map(Tensor.from), epsilon: epsilon)
            }
        }
        ops.rms_norm = { context, x, weight, epsilon in
            unary(context, x, "rms_norm") { (pass, x) throws(SeamError) in
                try pass.rmsNorm(x, weight: weight.map(Tensor.from), epsilon: epsilon)
            }
        }
        ops.l2_normalize = { context, x, epsilon in
            unary(context, x, "l2_normalize") { (pass, x) throws(SeamError) in try pass.l2Normalize(x, epsilon: epsilon)
            }
        }
        ops.cross_entropy = { context, logits, targets, ignoreIndex, smoothing, reduction in
            binary(context, logits, targets, "cross_entropy") { (pass, logits, targets) throws(SeamError) in
                guard let kind = Reduction(rawValue: reduction) else {
                    throw SeamError(.invalidArgument, "cross_entropy: unknown reduction \(reduction)")
                }
                return try pass.crossEntropy(
                    logits, targets: targets, ignoreIndex: ignoreIndex, labelSmoothing: smoothing, reduction: kind)
            }
        }
    }

    private static func fillReductions(_ ops: inout seam_ops) {
        ops.sum = { context, x, axis, keep in
            unary(context, x, "sum") { (pass, x) throws(SeamError) in
                try pass.sum(x, axis: Int(axis), keep: keep != 0)
            }
        }
        ops.mean = { context, x, axis, keep in
            unary(context, x, "mean") { (pass, x) throws(SeamError) in
                try pass.mean(x, axis: Int(axis), keep: keep != 0)
            }
        }
        ops.max = { context, x, axis, keep in
            unary(context, x, "max") { (pass, x) throws(SeamError) in
                try pass.max(x, axis: Int(axis), keep: keep != 0)
            }
        }
        ops.argmax = { context, x, axis, keep in
            unary(context, x, "argmax") { (pass, x) throws(SeamError) in
                try pass.argmax(x, axis: Int(axis), keep: keep != 0)
            }
        }
    }

    private static func fillShapes(_ ops: inout seam_ops) {
        ops.reshape = { context, x, sizes, rank in
            unary(context, x, "reshape") { (pass, x) throws(SeamError) in
                try pass.reshape(x, try readShape(sizes, rank, "reshape"))
            }
        }
        ops.permute = { context, x, axes, rank in
            unary(context, x, "permute") { (pass, x) throws(SeamError) in
                guard let axes, rank >= 0, rank <= Int32(maxRank) else {
                    throw SeamError(.shape, "permute: rank must be 0 ... \(maxRank), found \(rank)")
                }
                return try pass.permute(x, Shape((0..<Int(rank)).map { Int(axes[$0]) }))
            }
        }
        ops.expand = { context, x, sizes, rank in
            unary(context, x, "expand") { (pass, x) throws(SeamError) in
                try pass.expand(x, to: try readShape(sizes, rank, "expand"))
            }
        }
        ops.concat = { context, parts, count, axis in
            run(context) { (pass) throws(SeamError) in
                var tensors: [Tensor] = []
                let count = try checkedCount(count, atMost: mostHandles, "concat: the number of parts")
                for index in 0..<count { tensors.append(try operand(parts?[index], "concat")) }
                return try pass.concat(tensors, axis: Int(axis))
            }
        }
        ops.slice = { context, x, axis, start, length in
            unary(context, x, "slice") { (pass, x) throws(SeamError) in
                try pass.slice(x, axis: Int(axis), start: Int(start), length: Int(length))
            }
        }
        ops.embedding = {
            binary($0, $1, $2, "embedding") { (pass, w, ids) throws(SeamError) in try pass.embedding(w, ids: ids) }
        }
        ops.index_select = { context, x, axis, index in
            binary(context, x, index, "index_select") { (pass, x, index) throws(SeamError) in
                try pass.indexSelect(x, axis: Int(axis), index: index)
            }
        }
        ops.gather = { context, x, axis, index in
            binary(context, x, index, "gather") { (pass, x, index) throws(SeamError) in
                try pass.gather(x, axis: Int(axis), index: index)
            }
        }
    }

    private static func fillBuffers(_ ops: inout seam_ops) {
        ops.buffer_create = { context, dtype, shape, rank in
            guard let context else { return nil }
            let pass = Context.from(context)
            guard pass.failure == nil else { return nil }
            do throws(SeamError) {
                guard let type = DType(rawValue: dtype) else {
                    throw SeamError(.invalidArgument, "buffer_create: unknown dtype \(dtype)")
                }
                return try Buffer(type, try checkedSizes(shape, rank, "buffer_create"), pool: pass.pool).retainedHandle
            } catch {
                pass.latch(error)
                return nil
            }
        }
        ops.buffer_release = { buffer in if let buffer { Buffer.release(buffer) } }
        ops.buffer_write = { context, buffer, axis, start, x in
            command(context) { (pass) throws(SeamError) in
                guard let buffer else { throw SeamError(.plugin, "buffer_write: the buffer is NULL") }
                try Buffer.from(buffer).write(
                    try operand(x, "buffer_write"), axis: Int(axis), start: Int(start), in: pass)
            }
        }
        ops.buffer_write_rows = { context, buffer, axis, starts, count, x in
            command(context) { (pass) throws(SeamError) in
                guard let buffer, let starts else {
                    throw SeamError(.plugin, "buffer_write_rows: the buffer or the starts are NULL")
                }
                let count = try checkedCount(Int(count), atMost: mostHandles, "buffer_write_rows: the number of rows")
                try Buffer.from(buffer).write(
                    try operand(x, "buffer_write_rows"), axis: Int(axis),
                    starts: UnsafeBufferPointer(start: starts, count: count), in: pass)
            }
        }
        ops.buffer_read = { context, buffer, axis, length in
            run(context) { (_) throws(SeamError) in
                guard let buffer else { throw SeamError(.plugin, "buffer_read: the buffer is NULL") }
                return try Buffer.from(buffer).read(axis: Int(axis), length: Int(length))
            }
        }
        ops.buffer_select = { context, buffer, rows, count in
            command(context) { (_) throws(SeamError) in
                guard let buffer, let rows else {
                    throw SeamError(.plugin, "buffer_select: the buffer or the rows are NULL")
                }
                let count = try checkedCount(Int(count), atMost: mostHandles, "buffer_select: the number of rows")
                try Buffer.from(buffer).select(UnsafeBufferPointer(start: rows, count: count))
            }
        }
        ops.buffer_append = { context, buffer, axis, other in
            command(context) { (_) throws(SeamError) in
                guard let buffer, let other else {
                    throw SeamError(.plugin, "buffer_append: one of the buffers is NULL")
                }
                try Buffer.from(buffer).append(Buffer.from(other), axis: Int(axis))
            }
        }
    }
}
