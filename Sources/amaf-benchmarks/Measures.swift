import ArgumentParser
import Glibc
import Primitives
import Telemetry

/// User and system time of all threads of this process.
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Seconds of single durable appends: the floor for any commit on this disk.
func diskSync(_ path: String, bytes: Int, times: Int) throws -> [Double] {
    let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw ValidationError("Cannot make \(path)") }
    defer {
        close(file)
        unlink(path)
    }
    let page = [UInt8](repeating: 1, count: bytes)
    return (0..<times).map { i in
        let start = SystemClock.now()
        page.withUnsafeBytes { _ = pwrite(file, $0.baseAddress, $0.count, off_t(i * bytes)) }
        _ = fdatasync(file)
        return (SystemClock.now() - start).seconds
    }
}
