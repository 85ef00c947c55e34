import Foundation

/// A wall clock that a test steps under running programs: a library that is loaded before the C library and adds an offset to CLOCK_REALTIME.
/// The monotonic clock stays as it is, as on a machine whose time is corrected.
///
/// libfaketime would do the same, but it changes the environment before `main`, from which Swift finds a program's arguments.
struct SteppedClock {
    private let folder: String
    private var library: String { "\(folder)/stepped-clock.so" }
    private var offset: String { "\(folder)/clock-offset" }

    /// - Returns: nil where there is no C compiler.
    init?(in programs: Programs) throws {
        folder = programs.folder
        guard
            let compiler = ["/usr/bin/cc", "/usr/bin/clang", "/opt/swift/usr/bin/clang"].first(where: FileManager.default.isExecutableFile)
        else { return nil }
        try step(seconds: 0)
        let source = "\(folder)/stepped-clock.c"
        try Data(Self.source.utf8).write(to: URL(fileURLWithPath: source))
        let made = try programs.run(compiler, ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"])
        guard made.status == 0 else { throw NSError(domain: "\(compiler): \(made.output)", code: 1) }
    }

    var environment: [String: String] { ["LD_PRELOAD": library, "STEPPED_CLOCK": offset] }

    /// The programs read the number from a mapped page, so it is written in place.
    func step(seconds: Int64) throws {
        if !FileManager.default.fileExists(atPath: offset) {
            _ = FileManager.default.createFile(atPath: offset, contents: Data(count: 8))
        }
        guard let file = FileHandle(forWritingAtPath: offset) else { throw NSError(domain: "cannot write \(offset)", code: 1) }
        defer { try? file.close() }
        try withUnsafeBytes(of: seconds) { try file.write(contentsOf: Data($0)) }
    }

    private static let source = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdint.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/time.h>
        #include <time.h>

        static volatile int64_t nothing, *offset = &nothing;
        __attribute__((constructor)) static void start(void) {
            const char *path = getenv("STEPPED_CLOCK");
            int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
            void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
            if (page != MAP_FAILED) offset = page;
        }
        static void *next(const char *name, const char *version) {
            void *found = version ? dlvsym(RTLD_NEXT, name, version) : 0;
            return found ? found : dlsym(RTLD_NEXT, name);
        }
        int clock_gettime(clockid_t clock, struct timespec *now) {
            static int (*real)(clockid_t, struct timespec *);
            if (!real) real = next("clock_gettime", 0);
            int status = real(clock, now);
            if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += *offset;
            return status;
        }
        int gettimeofday(struct timeval *now, void *zone) {
            struct timespec time;
            (void)zone;
            clock_gettime(CLOCK_REALTIME, &time);
            now->tv_sec = time.tv_sec;
            now->tv_usec = time.tv_nsec / 1000;
            return 0;
        }
        time_t time(time_t *out) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            if (out) *out = now.tv_sec;
            return now.tv_sec;
        }
        /* Deadlines on the stepped clock become the kernel's; those on the monotonic clock are far below a billion seconds. */
        int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
            static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
            if (!real) real = next("pthread_cond_timedwait", "GLIBC_2.3.2");
            struct timespec deadline = *until;
            if (deadline.tv_sec > 1000000000) deadline.tv_sec -= *offset;
            return real(condition, mutex, &deadline);
        }
        """
}
