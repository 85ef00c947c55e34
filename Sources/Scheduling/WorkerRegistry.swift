import Primitives

/// The life of a worker as the coordinator sees it.
package enum WorkerLife: String, Hashable, Sendable, Codable {
    /// Known from stored leases, but has not said HELLO to this head.
    case joining
    case alive
    /// Silent for longer than `suspectAfter`, or its connection broke.
    case suspect
    /// Silent for a whole lease time; its leases are gone, it may come back.
    case lost
    /// Said BYE.
    case left
}

struct WorkerRecord: Hashable, Sendable {
    let id: WorkerID
    var hello: WorkerHello?
    var tags: [Int] = []
    var numericsClass = -1
    var slots = 0
    var life = WorkerLife.joining
    var isDraining = false
    /// Why it was drained, when that was not an operator.
    var drainReason: String?
    var lastSeen: Instant
    var leases: [Fence] = []
    /// Fences that died since its last reply.
    var drops: [Fence] = []
    var hasTimer = false
    var committedBlocks = 0
    var failures = 0
    /// Failed leases less successful ones in the recent past, never below 0: a box that fails what others do rises without bound.
    var trouble = 0
    var lastError: AMAFError?

    /// It was turned away, and is told with its beats when there is work.
    var hearsOfWork = false

    /// Takes new work.
    var isPlaceable: Bool { hello != nil && !isDraining && (life == .alive || life == .suspect) }
    var idleSlots: Int { max(0, slots - leases.count) }
}

/// A lease request that is held open.
struct ParkedRequest: Hashable, Sendable {
    var token: RequestToken
    var worker: Int
    var freeSlots: Int
    var deadline: Instant
}

/// Names as small integers, in the order in which they were first seen.
struct NameTable: Hashable, Sendable {
    private var index: [String: Int] = [:]
    private(set) var names: [String] = []

    mutating func intern(_ name: String) -> Int {
        if let known = index[name] { return known }
        index[name] = names.count
        names.append(name)
        return names.count - 1
    }
    func lookup(_ name: String) -> Int? { index[name] }
    subscript(i: Int) -> String { names[i] }
}
