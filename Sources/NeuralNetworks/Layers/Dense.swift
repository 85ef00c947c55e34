package import Kernels
package import Primitives

/// y = f(x Wᵀ + b), W (out, in), as torch.nn.Linear.
package struct Linear: Sendable {
    package let weight: Parameter
    package let bias: Parameter?

    /// Reads `name.weight` and `name.bias`.
    package init(
        _ store: ParameterStore, _ name: String, inputs: Int, outputs: Int, bias: Bool = true, initializer: Initializer? = nil
    ) throws(AMAFError) {
        weight = try store.parameter("\(name).weight", [outputs, inputs], initializer ?? .fanIn(inputs))
        self.bias = bias ? try store.parameter("\(name).bias", [outputs], initializer == nil ? .fanIn(inputs) : .constant(0)) : nil
    }

    package func callAsFunction(
        _ x: Tensor, activation: UnaryFunction = .identity, residual: Tensor? = nil, tape: Tape? = nil
    ) -> Tensor {
        Operations.linear(x, weight: weight, bias: bias, activation: activation, residual: residual, tape: tape)
    }
}

/// Rows of a table by index.
package struct Embedding: Sendable {
    package let weight: Parameter

    /// Reads `name.weight`.
    package init(_ store: ParameterStore, _ name: String, count: Int, columns: Int, initializer: Initializer = .normal(0.02))
        throws(AMAFError)
    {
        weight = try store.parameter("\(name).weight", [count, columns], initializer)
    }

    /// - Parameters:
    ///   - indices: each below the table's row count (checked).
    ///   - shape: of the indices; the result has one more dimension.
    package func callAsFunction(_ indices: [Int32], _ shape: [Int], tape: Tape? = nil) -> Tensor {
        let (table, device) = (weight.value, weight.value.device)
        let (rows, columns) = (table.dimension(0), table.dimension(1))
        if let bad = indices.first(where: { $0 < 0 || $0 >= rows }) {
            preconditionFailure("\(weight.name) has \(rows) rows, none is number \(bad)")
        }
        let index = device.tensor(indices: indices, shape)
        let y = device.empty(shape + [columns])
        device.enqueue(.gatherRows(table.pointer, indices: index.pointer, to: y.pointer, count: indices.count, columns: columns))
        tape?.record(y) { _, dy in
            guard let gradient = weight.addingSlot() else { return }
            device.enqueue(
                .scatterAddRows(dy.pointer, indices: index.pointer, to: gradient.pointer, count: indices.count, columns: columns))
        }
        return y
    }
}

/// (x − mean) / √(variance + ε) · γ + β over the last dimension.
package struct LayerNorm: Sendable {
    package let weight: Parameter
    package let bias: Parameter
    package let epsilon: Float

    /// Reads `name.weight` and `name.bias`.
    package init(_ store: ParameterStore, _ name: String, columns: Int, epsilon: Float) throws(AMAFError) {
        weight = try store.parameter("\(name).weight", [columns], .constant(1))
        bias = try store.parameter("\(name).bias", [columns], .constant(0))
        self.epsilon = epsilon
    }

    package func callAsFunction(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        rowNorm(x, weight: weight, bias: bias, epsilon: epsilon, tape: tape)
    }
}

/// x / √(mean(x²) + ε) · γ over the last dimension, T5's norm.
package struct RMSNorm: Sendable {
    package let weight: Parameter
    package let epsilon: Float

    /// Reads `name.weight`.
    package init(_ store: ParameterStore, _ name: String, columns: Int, epsilon: Float) throws(AMAFError) {
        weight = try store.parameter("\(name).weight", [columns], .constant(1))
        self.epsilon = epsilon
    }

    package func callAsFunction(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        rowNorm(x, weight: weight, bias: nil, epsilon: epsilon, tape: tape)
    }
}

private func rowNorm(_ x: Tensor, weight: Parameter, bias: Parameter?, epsilon: Float, tape: Tape?) -> Tensor {
    let (device, columns) = (x.device, weight.value.count)
    precondition(x.columns == columns, "\(weight.name) norms \(columns) columns, not shape \(x.shape)")
    let y = device.empty(x.shape)
    let stats = tape == nil ? nil : device.empty([x.rows, bias == nil ? 1 : 2])
    let norm = RowNorm(
        x: x.pointer, gamma: weight.value.pointer, beta: bias?.value.pointer, y: y.pointer, stats: stats?.pointer, rows: x.rows,
        columns: columns, epsilon: epsilon)
    device.enqueue(bias == nil ? .rmsNorm(norm) : .layerNorm(norm))
    tape?.record(y) { [stats] tape, dy in
        // The tape's closure keeps x and the statistics alive. Frozen weights still need somewhere to add to.
        let slot = tape.slot(for: x)
        let (dx, accumulate) = slot ?? (device.empty(x.shape), false)
        let dGamma = weight.addingSlot() ?? device.zeros([columns])
        let dBeta = bias.map { $0.addingSlot() ?? device.zeros([columns]) }
        withExtendedLifetime((x, stats)) {
            let back = RowNormBackward(
                norm, dy: dy.pointer, dx: dx.pointer, dGamma: dGamma.pointer, dBeta: dBeta?.pointer, accumulate: accumulate)
            device.enqueue(bias == nil ? .rmsNormBackward(back) : .layerNormBackward(back))
        }
    }
    return y
}

/// softmax(Q Kᵀ · scale + biases) V over `heads` heads: q (B, Tq, D), k and v (B, Tk, D) → (B, Tq, D).
package enum ScaledDotProduct {
    /// - Parameters:
    ///   - keyBias: (B, Tk), 0 where a key may be seen and a large negative number where not.
    ///   - headBias: (H, Tq, Tk).
    ///   - causalOffset: query i sees keys 0 ... i + offset.
    ///   - keyLength: keys in use when k and v have room for more (a key/value cache).
    package static func attend(
        q: Tensor, k: Tensor, v: Tensor, heads: Int, scale: Float, keyBias: Tensor? = nil, headBias: Tensor? = nil,
        causalOffset: Int? = nil,
        keyLength: Int? = nil, tape: Tape? = nil
    ) -> Tensor {
        let (batch, queries, width) = (q.dimension(0), q.dimension(1), q.dimension(2))
        let capacity = k.dimension(1)
        let keys = keyLength ?? capacity
        precondition(
            k.shape == v.shape && k.dimension(0) == batch && k.dimension(2) == width && width % heads == 0 && keys <= capacity,
            "attention of shapes \(q.shape), \(k.shape), \(v.shape) with \(heads) heads")
        precondition(keyBias.map { $0.count == batch * keys } ?? true, "key bias \(keyBias!.shape) for \(batch) × \(keys) keys")
        precondition(headBias.map { $0.count == heads * queries * keys } ?? true, "head bias \(headBias!.shape)")
        let device = q.device
        let out = device.empty(q.shape)
        func operand(_ t: Tensor, _ length: Int) -> Attention.Operand {
            Attention.Operand(t.pointer, rowStride: width, batchStride: length * width)
        }
        var attention = Attention(
            batch: batch, heads: heads, queries: queries, keys: keys, headSize: width / heads, q: operand(q, queries),
            k: operand(k, capacity), v: operand(v, capacity), out: operand(out, queries), scale: scale)
        attention.keyBias = keyBias?.pointer
        attention.headBias = headBias?.pointer
        attention.causalOffset = causalOffset
        let kept = tape == nil ? nil : device.empty([batch, heads, queries, keys])
        attention.probabilities = kept?.pointer
        device.enqueue(.attention(attention))
        tape?.record(out) { [kept] tape, dOut in
            withExtendedLifetime((kept, keyBias, headBias)) {
                let (dq, dk, dv) = (device.empty(q.shape), device.empty(k.shape), device.empty(v.shape))
                device.enqueue(
                    .attentionBackward(
                        AttentionBackward(
                            attention, dOut: operand(dOut, queries), dq: operand(dq, queries), dk: operand(dk, capacity),
                            dv: operand(dv, capacity), accumulate: false)))
                tape.add(dq, to: q)
                tape.add(dk, to: k)
                tape.add(dv, to: v)
            }
        }
        return out
    }
}
