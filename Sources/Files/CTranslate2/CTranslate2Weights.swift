import Support

/// Takes the variables of a CTranslate2 model one after the other as tensors in the layout of transformers, and knows
/// in the end whether any was left.
///
/// Matrices of int8 have a factor for each row (or output channel) in `NAME_scale`; a value is the integer divided by its
/// row's factor, and becomes f32. All other weights keep their type and bytes.
struct CTranslate2Weights {
    let file: CTranslate2File
    /// The tensors so far.
    private(set) var tensors: [SafetensorsWriter.Tensor] = []
    private var used: Set<TextKey> = []

    init(_ file: CTranslate2File) { self.file = file }

    /// The type that holds all tensors' values without rounding: theirs if all have the same, else f32.
    var commonType: StoredType {
        let types = Set(tensors.map(\.type))
        return types.count == 1 ? types.first! : .float32
    }

    /// Throws `.unsupported` naming the first variable that nothing was made of.
    func requireAllUsed() throws {
        guard let name = file.names.first(where: { !used.contains(TextKey($0)) }) else { return }
        throw SeamError(
            .unsupported,
            "\(file.path): the variable \"\(name)\" has no counterpart in transformers' model, so the model is not"
                + " converted")
    }

    /// A setting, a whole number; `absent` for a file without it, nil where it must be there.
    mutating func setting(_ name: String, absent: Int? = nil) throws -> Int {
        guard let variable = file[name] else {
            if let absent { return absent }
            throw missing(name)
        }
        used.insert(TextKey(name))
        guard variable.shape.isEmpty else {
            throw SeamError(.format, "\(file.path): \"\(name)\" must be a number, found the shape \(variable.shape)")
        }
        return try file.file.withBytes { bytes in
            let start = variable.range.lowerBound
            switch variable.type {
            case .int8: return Int(bytes.loadUnaligned(fromByteOffset: start, as: Int8.self))
            case .int16: return Int(bytes.loadUnaligned(fromByteOffset: start, as: Int16.self))
            case .int32: return Int(bytes.loadUnaligned(fromByteOffset: start, as: Int32.self))
            case .float32, .float16, .bfloat16:
                throw SeamError(
                    .unsupported, "\(file.path): \"\(name)\" must be a whole number, found a decimal one")
            }
        }
    }

    /// A setting that is a decimal number, or a whole one; `whole` says of which kind it is.
    mutating func number(_ name: String) throws -> (value: Double, isWhole: Bool) {
        guard let variable = file[name], variable.type == .float32, variable.shape.isEmpty else {
            return (Double(try setting(name)), true)
        }
        used.insert(TextKey(name))
        let value = file.file.withBytes {
            $0.loadUnaligned(fromByteOffset: variable.range.lowerBound, as: Float.self)
        }
        return (Double(value), false)
    }

    /// Takes a setting that must have this value.
    mutating func require(_ name: String, _ value: Int, absent: Int? = nil, _ why: String) throws {
        let found = try setting(name, absent: absent)
        guard found == value else {
            throw SeamError(.unsupported, "\(file.path): \"\(name)\" must be \(value), found \(found): \(why)")
        }
    }

    /// The variable of that name with this many axes, all extents at least 1.
    func weight(_ name: String, axes: Int) throws -> CTranslate2Variable {
        guard let variable = file[name] else { throw missing(name) }
        guard variable.shape.count == axes else {
            throw SeamError(
                .format, "\(file.path): \"\(name)\" must have \(axes) axes, found the shape \(variable.shape)")
        }
        return variable
    }

    /// Takes a whole weight of that shape under its name in transformers.
    mutating func take(_ name: String, as target: String, _ shape: [Int]) throws {
        try take(name, as: [target], shape)
    }

    /// Takes a weight that is several of that shape under each other, in the order of their names in transformers; nil
    /// for a part that has no counterpart there, which must be zero.
    mutating func take(_ name: String, as targets: [String?], _ shape: [Int]) throws {
        let variable = try weight(name, axes: shape.count)
        let rows = shape[0]
        guard variable.shape == [rows * targets.count] + shape.dropFirst() else {
            throw SeamError(
                .format,
                "\(file.path): \"\(name)\" must have the shape \([rows * targets.count] + shape.dropFirst()), found"
                    + " \(variable.shape)")
        }
        used.insert(TextKey(name))
        for (index, target) in targets.enumerated() {
            let part = index * rows..<(index + 1) * rows
            if let target {
                tensors.append(try tensor(variable, rows: part, shape, as: target))
            } else {
                try requireZero(variable, part)
            }
        }
    }

    /// Takes a weight of that shape with one row of zeros more at its end.
    /// - Parameter stored: the shape that it has in transformers, of as many values; nil: that with the row.
    mutating func takeWithRow(_ name: String, as target: String, _ shape: [Int], stored: [Int]? = nil) throws {
        let first = tensors.count
        try take(name, as: target, shape)
        let whole = tensors.remove(at: first)
        let grown = stored ?? [shape[0] + 1] + shape.dropFirst()
        tensors.append(
            SafetensorsWriter.Tensor(name: target, type: whole.type, shape: grown) { body in
                try whole.withBytes { bytes in
                    var values = [UInt8](bytes)
                    values.append(contentsOf: repeatElement(0, count: bytes.count / shape[0]))
                    try values.withUnsafeBytes { try body($0) }
                }
            })
    }

    /// Takes a vector that has no counterpart in transformers, if it is there, and must be zero.
    mutating func takeZero(_ name: String) throws {
        guard let variable = file[name] else { return }
        used.insert(TextKey(name))
        try requireZero(variable, 0..<(variable.shape.first ?? 1))
    }

    /// Takes another name of a weight that is taken elsewhere; whether it is one.
    mutating func takeAlias(_ name: String, of other: String) -> Bool {
        guard let variable = file[name], let target = file[other], variable.name == target.name else { return false }
        used.insert(TextKey(name))
        return true
    }

    private func missing(_ name: String) -> SeamError {
        SeamError(
            .format, "\(file.path): the variable \"\(name)\" is missing, which a model of \(file.specification) has")
    }

    private func requireZero(_ variable: CTranslate2Variable, _ rows: Range<Int>) throws {
        let stride = variable.range.count / (variable.shape.first ?? 1)
        let values =
            variable.range.lowerBound + rows.lowerBound * stride..<variable.range.lowerBound
            + rows.upperBound * stride
        let size = variable.type.size
        let isZero = file.file.withBytes { bytes in
            values.allSatisfy { index in
                // The highest byte of a floating-point number holds its sign, and -0 is zero.
                let isHighest = (index - values.lowerBound) % size == size - 1
                return bytes[index] == 0 || isHighest && bytes[index] == 0x80 && variable.type.plain != nil
            }
        }
        guard isZero else {
            throw SeamError(
                .unsupported,
                "\(file.path): \"\(variable.name)\" has values other than zero in rows \(rows.lowerBound) to"
                    + " \(rows.upperBound - 1), for which transformers' model has no place")
        }
    }

    private mutating func tensor(
        _ variable: CTranslate2Variable, rows: Range<Int>, _ shape: [Int], as target: String
    ) throws -> SafetensorsWriter.Tensor {
        let stride = variable.range.count / variable.shape[0]
        let first = variable.range.lowerBound
        let part = first + rows.lowerBound * stride..<first + rows.upperBound * stride
        let mapped = file.file
        if let type = variable.type.plain {
            return SafetensorsWriter.Tensor(name: target, type: type, shape: shape) { body in
                try mapped.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[part])) }
            }
        }
        guard variable.type == .int8 else {
            throw SeamError(
                .unsupported,
                "\(file.path): \"\(variable.name)\" has values of \(variable.type), which are not read; read are"
                    + " float32, float16, bfloat16 and int8")
        }
        let scales = try scales(of: variable)[rows]
        return SafetensorsWriter.Tensor(name: target, type: .float32, shape: shape) { body in
            var values = [Float](repeating: 0, count: part.count)
            mapped.withBytes { bytes in
                for (row, scale) in scales.enumerated() {
                    for index in row * stride..<(row + 1) * stride {
                        values[index] = Float(Int8(bitPattern: bytes[part.lowerBound + index])) / scale
                    }
                }
            }
            try values.withUnsafeBytes { try body($0) }
        }
    }

    /// The factors of a matrix of int8, one for each row.
    private mutating func scales(of variable: CTranslate2Variable) throws -> [Float] {
        let name = variable.name + "_scale"
        guard let scale = file[name] else { throw missing(name) }
        used.insert(TextKey(name))
        guard scale.type == .float32, scale.shape == [variable.shape[0]] else {
            throw SeamError(
                .unsupported,
                "\(file.path): \"\(name)\" must be float32 of shape [\(variable.shape[0])], a factor for each row of"
                    + " \"\(variable.name)\", found \(scale.type) of shape \(scale.shape)")
        }
        let scales = file.file.withBytes { bytes in
            (0..<scale.shape[0]).map {
                bytes.loadUnaligned(fromByteOffset: scale.range.lowerBound + 4 * $0, as: Float.self)
            }
        }
        guard let row = scales.firstIndex(where: { !($0.isFinite && $0 != 0) }) else { return scales }
        throw SeamError(
            .format, "\(file.path): \"\(name)\" must hold numbers other than zero, found \(scales[row]) at row \(row)")
    }
}
