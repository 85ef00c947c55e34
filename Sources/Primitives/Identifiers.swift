/// A name that cannot be mistaken for a name of another kind.
package protocol Identifier: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible
where RawValue == String {
    init(_ name: String)
}

extension Identifier {
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    package var description: String { rawValue }
}

/// One submitted run of a pipeline.
package struct RunID: Identifier {
    package var rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package init(_ name: String) { rawValue = name }
}

/// A stage inside one run, for example `seed-1/margin/round-03/score-uncertainty`.
package struct StageID: Identifier {
    package var rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package init(_ name: String) { rawValue = name }
}

/// A worker agent, stable over its reconnects.
package struct WorkerID: Identifier {
    package var rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package init(_ name: String) { rawValue = name }
}

/// What decides the last bit of a floating-point result: device kind, instruction level and build.
package struct NumericsClass: Identifier {
    package var rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package init(_ name: String) { rawValue = name }
}

/// The number of one grant of work. It is never given twice: the coordinator's epoch fills the upper 24 bits and a
/// counter the lower 40, so a result can always be matched with the grant that it answers.
package struct Fence: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// - Precondition: `epoch` < 2²⁴ and `counter` < 2⁴⁰.
    package init(epoch: UInt64, counter: UInt64) {
        precondition(epoch < 1 << 24, "the coordinator epoch \(epoch) does not fit in 24 bits")
        precondition(counter < 1 << 40, "the fence counter \(counter) does not fit in 40 bits")
        rawValue = epoch << 40 | counter
    }

    package var epoch: UInt64 { rawValue >> 40 }
    package var counter: UInt64 { rawValue & (1 << 40 - 1) }
    package static func < (a: Fence, b: Fence) -> Bool { a.rawValue < b.rawValue }
    package var description: String { "\(epoch).\(counter)" }
}
