internal import Glibc

/// Memory that the C library keeps after a burst although nothing holds it.
///
/// glibc gives each busy thread an arena of its own and returns only the top of the main one by itself: a head that handled ten thousand
/// messages on a dozen threads stays large for hours. The functions are looked up at run time, because <malloc.h> is not imported.
package enum HeapTrim {
    /// Two arenas for the whole process. Call it before the first thread starts.
    ///
    /// - Returns: false where the C library has no such knob.
    @discardableResult
    package static func limitArenas() -> Bool {
        typealias Function = @convention(c) (Int32, Int32) -> Int32
        guard let found = dlsym(nil, "mallopt") else { return false }
        // M_ARENA_MAX is −8 (mallopt(3)).
        return unsafeBitCast(found, to: Function.self)(-8, 2) == 1
    }

    /// Gives free pages back to the kernel. Takes some milliseconds for each 100 MiB: call it when nothing is to be done.
    ///
    /// - Returns: whether any memory was given back.
    @discardableResult
    package static func giveBack() -> Bool {
        typealias Function = @convention(c) (Int) -> Int32
        guard let found = dlsym(nil, "malloc_trim") else { return false }
        // Half a MiB stays at the top for the next message.
        return unsafeBitCast(found, to: Function.self)(512 << 10) == 1
    }
}
