/// What this build calls itself in HELLO, reports and `--version`.
package enum AMAFVersion {
    package static let current = "0.1.0"
}
