import Glibc
import Synchronization

/// Counts what this process asks the disk to make durable.
///
/// The program defines `fsync` and `fdatasync` itself, exports them (Package.swift) and hands on to the C library's. The
/// dynamic linker binds the calls of shared libraries, SQLite among them, to the program's symbols first, so nothing is
/// estimated.
enum SyncCounter {
    static let count = Atomic<Int>(0)
    static var value: Int { count.load(ordering: .relaxed) }
}

private typealias SyncFunction = @convention(c) (Int32) -> Int32

private func next(_ name: String) -> SyncFunction {
    // RTLD_NEXT, a macro that is not imported: the next library after the program.
    guard let found = dlsym(UnsafeMutableRawPointer(bitPattern: -1), name) else { fatalError("the C library has no \(name)") }
    return unsafeBitCast(found, to: SyncFunction.self)
}
private let nextFsync = next("fsync")
private let nextFdatasync = next("fdatasync")

@_cdecl("fsync") package func countedFsync(_ file: Int32) -> Int32 {
    SyncCounter.count.wrappingAdd(1, ordering: .relaxed)
    return nextFsync(file)
}

@_cdecl("fdatasync") package func countedFdatasync(_ file: Int32) -> Int32 {
    SyncCounter.count.wrappingAdd(1, ordering: .relaxed)
    return nextFdatasync(file)
}
