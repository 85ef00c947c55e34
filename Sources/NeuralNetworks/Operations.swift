package import Kernels

/// Operations on tensors that know their slopes. Each takes the tape to record on, or nil to keep nothing.
///
/// A tensor of rank n is seen as rows: all dimensions but the last, which are the columns.
package enum Operations {
    /// y = f(x Wᵀ + bias + residual): x (…, in), W (out, in), bias (out), residual and y (…, out).
    package static func linear(
        _ x: Tensor, weight: Parameter, bias: Parameter? = nil, activation: UnaryFunction = .identity, residual: Tensor? = nil,
        tape: Tape? = nil
    ) -> Tensor {
        let (w, device) = (weight.value, x.device)
        let (outputs, inputs) = (w.dimension(0), w.count / w.dimension(0))
        precondition(x.columns == inputs, "\(weight.name) takes \(inputs) columns, not shape \(x.shape)")
        precondition(residual.map { $0.count == x.rows * outputs } ?? true, "residual of shape \(residual!.shape) beside \(weight.name)")
        let y = device.empty(x.shape.dropLast() + [outputs])
        // A slope that needs f's input cannot be had from a fused f.
        let isSplit = tape != nil && activation.slopeNeedsInput
        var product = GEMM(
            m: x.rows, n: outputs, k: inputs, a: MatrixView(x.pointer, stride: inputs),
            b: MatrixView(w.pointer, stride: inputs, transposed: true), c: y.pointer, cStride: outputs)
        product.bias = bias?.value.pointer
        product.residual = residual.map { MatrixView($0.pointer, stride: outputs) }
        if !isSplit { product.activation = activation }
        device.enqueue(.gemm(product))
        tape?.record(y) { tape, dy in
            slopeFromOutput(isSplit ? .identity : activation, y: y, dy: dy)
            if let residual, let (target, accumulate) = tape.slot(for: residual) { copy(dy, to: target, accumulate: accumulate) }
            if let (gradient, accumulate) = bias?.slot() {
                device.enqueue(
                    .sumRows(dy.pointer, stride: outputs, to: gradient.pointer, rows: x.rows, columns: outputs, accumulate: accumulate))
            }
            if let (gradient, accumulate) = weight.slot() {
                var g = GEMM(
                    m: outputs, n: inputs, k: x.rows, a: MatrixView(dy.pointer, stride: outputs, transposed: true),
                    b: MatrixView(x.pointer, stride: inputs), c: gradient.pointer, cStride: inputs)
                g.accumulate = accumulate
                device.enqueue(.gemm(g))
            }
            if let (gradient, accumulate) = tape.slot(for: x) {
                var g = GEMM(
                    m: x.rows, n: inputs, k: outputs, a: MatrixView(dy.pointer, stride: outputs), b: MatrixView(w.pointer, stride: inputs),
                    c: gradient.pointer, cStride: inputs)
                g.accumulate = accumulate
                device.enqueue(.gemm(g))
            }
        }
        return isSplit ? unary(activation, y, tape: tape) : y
    }

    /// y = f(x)
    package static func unary(_ function: UnaryFunction, _ x: Tensor, tape: Tape? = nil) -> Tensor {
        if function == .identity { return x }
        let y = x.device.empty(x.shape)
        x.device.enqueue(.unary(function, x.pointer, to: y.pointer, count: x.count))
        tape?.record(y) { tape, dy in
            guard let (dx, accumulate) = tape.slot(for: x) else { return }
            x.device.enqueue(
                .unaryBackward(
                    UnaryBackward(
                        function, x: x.pointer, y: y.pointer, dy: dy.pointer, dx: dx.pointer, count: x.count, accumulate: accumulate)))
        }
        return y
    }

    /// α x + β y, of one shape.
    package static func combine(_ x: Tensor, _ alpha: Float = 1, _ y: Tensor, _ beta: Float = 1, tape: Tape? = nil) -> Tensor {
        precondition(x.count == y.count, "shapes \(x.shape) and \(y.shape) do not add")
        let out = x.device.empty(x.shape)
        x.device.enqueue(.combine(x.pointer, alpha, y.pointer, beta, to: out.pointer, count: x.count))
        tape?.record(out) { tape, dy in
            for (input, factor) in [(x, alpha), (y, beta)] {
                guard let (dx, accumulate) = tape.slot(for: input) else { continue }
                if accumulate {
                    x.device.enqueue(.combine(dx.pointer, 1, dy.pointer, factor, to: dx.pointer, count: x.count))
                } else {
                    x.device.enqueue(.combine(dy.pointer, factor, dy.pointer, 0, to: dx.pointer, count: x.count))
                }
            }
        }
        return out
    }

    /// x · y element by element.
    package static func multiply(_ x: Tensor, _ y: Tensor, tape: Tape? = nil) -> Tensor {
        precondition(x.count == y.count, "shapes \(x.shape) and \(y.shape) do not multiply element by element")
        let out = x.device.empty(x.shape)
        x.device.enqueue(.multiply(x.pointer, y.pointer, to: out.pointer, count: x.count, accumulate: false))
        tape?.record(out) { tape, dy in
            for (input, other) in [(x, y), (y, x)] {
                guard let (dx, accumulate) = tape.slot(for: input) else { continue }
                x.device.enqueue(.multiply(dy.pointer, other.pointer, to: dx.pointer, count: x.count, accumulate: accumulate))
            }
        }
        return out
    }

    /// Adds a parameter of the shape of the trailing dimensions to every leading one: position embeddings.
    package static func addRow(_ x: Tensor, _ row: Parameter, tape: Tape? = nil) -> Tensor {
        addRow(x, row.value, tape: tape) { dy, rows, columns in
            guard let (gradient, accumulate) = row.slot() else { return }
            x.device.enqueue(
                .sumRows(dy.pointer, stride: columns, to: gradient.pointer, rows: rows, columns: columns, accumulate: accumulate))
        }
    }

    private static func addRow(_ x: Tensor, _ row: Tensor, tape: Tape?, backward: @escaping (Tensor, Int, Int) -> Void) -> Tensor {
        let columns = row.count
        precondition(columns > 0 && x.count % columns == 0, "a row of shape \(row.shape) under shape \(x.shape)")
        let y = x.device.empty(x.shape)
        let rows = x.count / columns
        x.device.enqueue(.addRow(x.pointer, row: row.pointer, to: y.pointer, rows: rows, columns: columns))
        tape?.record(y) { tape, dy in
            backward(dy, rows, columns)
            tape.add(dy, to: x)
        }
        return y
    }

    /// The same numbers under another shape.
    package static func reshape(_ x: Tensor, _ shape: [Int], tape: Tape? = nil) -> Tensor {
        let y = x.reshaped(shape)
        tape?.record(y) { tape, dy in tape.add(dy, to: x) }
        return y
    }

    /// Columns `range` of the last dimension.
    package static func columns(_ x: Tensor, _ range: Range<Int>, tape: Tape? = nil) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= x.columns, "columns \(range) of shape \(x.shape)")
        let y = strided(x, offset: range.lowerBound, stride: x.columns, rows: x.rows, columns: range.count, tape: tape)
        return x.rank == 2 ? y : reshape(y, x.shape.dropLast() + [range.count], tape: tape)
    }

    /// Row `position` of every sample: x (batch, length, columns) → (batch, columns), for example the [CLS] token.
    package static func token(_ x: Tensor, at position: Int, tape: Tape? = nil) -> Tensor {
        let (length, columns) = (x.dimension(1), x.dimension(2))
        precondition(position >= 0 && position < length, "token \(position) of shape \(x.shape)")
        return strided(x, offset: position * columns, stride: length * columns, rows: x.dimension(0), columns: columns, tape: tape)
    }

    private static func strided(_ x: Tensor, offset: Int, stride: Int, rows: Int, columns: Int, tape: Tape?) -> Tensor {
        let y = x.device.empty([rows, columns])
        x.device.enqueue(
            .copyRows(
                x.pointer.advanced(by: offset), stride: stride, to: y.pointer, toStride: columns, rows: rows, columns: columns,
                accumulate: false))
        tape?.record(y) { tape, dy in
            guard let (dx, accumulate) = tape.slot(for: x) else { return }
            if !accumulate { x.device.enqueue(.fill(dx.pointer, value: 0, count: dx.count)) }
            x.device.enqueue(
                .copyRows(
                    dy.pointer, stride: columns, to: dx.pointer.advanced(by: offset), toStride: stride, rows: rows, columns: columns,
                    accumulate: true))
        }
        return y
    }

    /// a and b side by side: (…, m) and (…, n) → (…, m + n).
    package static func concatenate(_ a: Tensor, _ b: Tensor, tape: Tape? = nil) -> Tensor {
        precondition(a.rows == b.rows, "shapes \(a.shape) and \(b.shape) do not stand side by side")
        let (m, n, device) = (a.columns, b.columns, a.device)
        let y = device.empty(a.shape.dropLast() + [m + n])
        for (part, width, at) in [(a, m, 0), (b, n, m)] {
            device.enqueue(
                .copyRows(
                    part.pointer, stride: width, to: y.pointer.advanced(by: at), toStride: m + n, rows: a.rows, columns: width,
                    accumulate: false))
        }
        tape?.record(y) { tape, dy in
            for (part, width, at) in [(a, m, 0), (b, n, m)] {
                guard let (dx, accumulate) = tape.slot(for: part) else { continue }
                device.enqueue(
                    .copyRows(
                        dy.pointer.advanced(by: at), stride: m + n, to: dx.pointer, toStride: width, rows: a.rows, columns: width,
                        accumulate: accumulate))
            }
        }
        return y
    }

    /// Σ_t w[b, t] x[b, t] of x (batch, length, columns), or the mean over t without weights.
    package static func pool(_ x: Tensor, weights: Tensor? = nil, tape: Tape? = nil) -> Tensor {
        let (batch, length, columns) = (x.dimension(0), x.dimension(1), x.dimension(2))
        precondition(weights.map { $0.count == batch * length } ?? true, "pooling weights of shape \(weights!.shape) for \(x.shape)")
        let y = x.device.empty([batch, columns])
        x.device.enqueue(
            .pool(Pool(x: x.pointer, weights: weights?.pointer, y: y.pointer, batch: batch, length: length, columns: columns)))
        tape?.record(y) { tape, dy in
            guard let (dx, accumulate) = tape.slot(for: x) else { return }
            var p = Pool(x: dx.pointer, weights: weights?.pointer, y: dy.pointer, batch: batch, length: length, columns: columns)
            p.accumulate = accumulate
            x.device.enqueue(.poolBackward(p))
        }
        return y
    }

    /// x / ‖x‖ of each row. Forward only: embeddings are compared, not trained through.
    package static func normalizeRows(_ x: Tensor, epsilon: Float = 1e-12) -> Tensor {
        let y = x.device.empty(x.shape)
        x.device.enqueue(.normalizeRows(x.pointer, to: y.pointer, rows: x.rows, columns: x.columns, epsilon: epsilon))
        return y
    }

    /// Softmax over the last dimension.
    package static func softmax(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        let y = x.device.empty(x.shape)
        x.device.enqueue(.softmax(x.pointer, to: y.pointer, rows: x.rows, columns: x.columns, scale: 1))
        tape?.record(y) { tape, dy in
            let dx = x.device.empty(x.shape)
            x.device.enqueue(.softmaxBackward(y: y.pointer, dy: dy.pointer, dx: dx.pointer, rows: x.rows, columns: x.columns, scale: 1))
            tape.add(dx, to: x)
        }
        return y
    }

    /// −Σ p ln p of each row, in nats.
    package static func entropy(_ p: Tensor) -> Tensor {
        let out = p.device.empty([p.rows])
        p.device.enqueue(.entropy(p.pointer, to: out.pointer, rows: p.rows, columns: p.columns))
        return out
    }

    static func copy(_ x: Tensor, to y: Tensor, accumulate: Bool) {
        x.device.enqueue(
            .copyRows(x.pointer, stride: x.count, to: y.pointer, toStride: x.count, rows: 1, columns: x.count, accumulate: accumulate))
    }

    /// dy becomes dy · f′ in place, for functions whose slope is known from y.
    static func slopeFromOutput(_ function: UnaryFunction, y: Tensor, dy: Tensor) {
        if function == .identity { return }
        y.device.enqueue(
            .unaryBackward(
                UnaryBackward(function, x: y.pointer, y: y.pointer, dy: dy.pointer, dx: dy.pointer, count: y.count, accumulate: false)))
    }
}

extension Operations {
    /// Adds the first `rows` rows of a table to every sample: x (B, rows, D), positions of shorter texts.
    package static func addLeadingRows(_ x: Tensor, _ table: Parameter, rows: Int, tape: Tape? = nil) -> Tensor {
        let columns = rows * table.value.columns
        precondition(rows <= table.value.dimension(0) && x.count % columns == 0, "\(rows) rows of \(table.name) under shape \(x.shape)")
        let (y, samples, device) = (x.device.empty(x.shape), x.count / columns, x.device)
        device.enqueue(.addRow(x.pointer, row: table.value.pointer, to: y.pointer, rows: samples, columns: columns))
        tape?.record(y) { tape, dy in
            if let gradient = table.addingSlot() {
                device.enqueue(
                    .sumRows(dy.pointer, stride: columns, to: gradient.pointer, rows: samples, columns: columns, accumulate: true))
            }
            tape.add(dy, to: x)
        }
        return y
    }
}

extension Operations {
    /// One row and one column of zeros at the bottom and the right: x (N, H, W, C) → (N, H + 1, W + 1, C).
    package static func padEnd(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        let (images, height, width, channels, device) = (x.dimension(0), x.dimension(1), x.dimension(2), x.dimension(3), x.device)
        let y = device.zeros([images, height + 1, width + 1, channels])
        let (inner, outer) = (width * channels, (width + 1) * channels)
        for image in 0..<images {
            device.enqueue(
                .copyRows(
                    x.pointer.advanced(by: image * height * inner), stride: inner,
                    to: y.pointer.advanced(by: image * (height + 1) * outer), toStride: outer, rows: height, columns: inner,
                    accumulate: false))
        }
        tape?.record(y) { tape, dy in
            guard let (dx, accumulate) = tape.slot(for: x) else { return }
            for image in 0..<images {
                device.enqueue(
                    .copyRows(
                        dy.pointer.advanced(by: image * (height + 1) * outer), stride: outer,
                        to: dx.pointer.advanced(by: image * height * inner), toStride: inner, rows: height, columns: inner,
                        accumulate: accumulate))
            }
        }
        return y
    }
}
