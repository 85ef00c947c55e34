internal import Foundation
internal import Glibc
internal import Primitives

/// The lock that makes one head the only owner of a store folder, from `init` to `release()`.
///
/// `flock` belongs to the open file, so it goes with the process however that ends; the file itself stays and names the
/// last owner. Children must not inherit it, or a slot process would hold the store of a head that died: O_CLOEXEC.
struct FolderLock: ~Copyable {
    private let file: Int32

    init(folder: String) throws(AMAFError) {
        let path = folder + "/store.lock"
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw systemError("store.permission", "Cannot open the lock file", place: path) }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            var text = [UInt8](repeating: 0, count: 32)
            let count = text.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
            close(file)
            guard number == EWOULDBLOCK else { throw systemError("store.io", "Cannot lock the store", place: path, number: number) }
            let owner = String(decoding: text.prefix(max(0, count)).prefix { $0 >= 48 && $0 <= 57 }, as: UTF8.self)
            throw AMAFError(
                "store.locked", "Another head owns this store: process \(owner.isEmpty ? "unknown" : owner)", place: folder,
                remedy: "Stop that process (`kill \(owner.isEmpty ? "PID" : owner)` drains it) or give this head another folder.")
        }
        let line = Array("\(getpid())\n".utf8)
        // The number only serves the message above; the lock holds without it.
        _ = ftruncate(file, 0)
        _ = line.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 0) }
        self.file = file
    }

    // A child that is being started has the file open until it becomes another program; closing ours alone would leave it the lock.
    deinit {
        flock(file, LOCK_UN)
        close(file)
    }
}

/// File systems on which SQLite's WAL and `flock` are not to be trusted: their locks and shared memory do not reach other
/// machines, or they lie about durability.
///
/// - Parameter type: as the kernel names it in /proc/self/mountinfo, for example `ext4` or `fuse.sshfs`.
package func isNetworkFileSystem(type: String) -> Bool {
    let remote = [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "gfs2", "ocfs2", "coda", "beegfs", "orangefs",
        "glusterfs",
        "virtiofs", "ncpfs",
    ]
    // A FUSE file system may be local, but nothing says what its fsync and locks are worth.
    return remote.contains(type) || type == "fuse" || type == "fuseblk" || type.hasPrefix("fuse.")
}

/// The type of the file system that holds `path`: that of the longest mount point above it, the last one where several
/// are mounted over another.
///
/// - Parameters:
///   - path: absolute, without symbolic links.
///   - mounts: the text of /proc/self/mountinfo (proc(5)): fields by blanks, the fifth is the mount point, the type is the
///     first after a lone hyphen; blanks in names are written `\040`.
package func fileSystemType(of path: String, mounts: String) -> String? {
    var best: (length: Int, type: String)?
    for line in mounts.split(separator: "\n") {
        let fields = line.split(separator: " ")
        guard fields.count > 6, let hyphen = fields.firstIndex(of: "-"), hyphen + 1 < fields.count else { continue }
        var point = String(fields[4])
        for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
            point = point.replacing(code, with: character)
        }
        guard point == "/" || path == point || path.hasPrefix(point + "/") else { continue }
        if point.utf8.count >= best?.length ?? 0 { best = (point.utf8.count, String(fields[hyphen + 1])) }
    }
    return best?.type
}

func refuseNetworkFileSystem(folder: String) throws(AMAFError) {
    guard let resolved = realpath(folder, nil) else { throw systemError("store.permission", "Cannot examine the folder", place: folder) }
    defer { free(resolved) }
    // Where /proc is hidden nothing can be known; SQLite's own checks remain.
    guard let mounts = try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8),
        let type = fileSystemType(of: String(cString: resolved), mounts: mounts), isNetworkFileSystem(type: type)
    else { return }
    throw AMAFError(
        "store.network-filesystem", "The folder lies on a file system of type \(type), where a write-ahead log can lose what it promised",
        place: folder, remedy: "Put the store on a local disk or an attached volume; move the volume, never share it.")
}

/// Makes `path` and its parents.
func makeFolder(_ path: String, mode: mode_t = 0o700) throws(AMAFError) {
    if mkdir(path, mode) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
        throw systemError("store.permission", "Cannot make the folder", place: path)
    }
    try makeFolder(String(path[..<slash]), mode: mode)
    if mkdir(path, mode) != 0, errno != EEXIST { throw systemError("store.permission", "Cannot make the folder", place: path) }
}

/// Makes the names inside a folder durable: a renamed file is only safe once its folder is.
func synchronise(folder: String) throws(AMAFError) {
    let file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard file >= 0 else { throw systemError("store.io", "Cannot open the folder", place: folder) }
    defer { close(file) }
    guard fsync(file) == 0 else { throw systemError("store.io", "Cannot make the folder durable", place: folder) }
}

func synchronise(file path: String) throws(AMAFError) {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw systemError("store.io", "Cannot open the file", place: path) }
    defer { close(file) }
    guard fsync(file) == 0 else { throw systemError("store.io", "Cannot make the file durable", place: path) }
}

/// The size of a regular file, or nil when there is none.
func fileSize(_ path: String) -> Int? {
    var facts = stat()
    guard stat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(facts.st_size)
}

/// The names in a folder, sorted, without `.` and `..`; empty when there is no such folder.
func names(inFolder path: String) -> [String] {
    guard let handle = opendir(path) else { return [] }
    defer { closedir(handle) }
    var found: [String] = []
    while let entry = readdir(handle) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { found.append(name) }
    }
    return found.sorted()
}
