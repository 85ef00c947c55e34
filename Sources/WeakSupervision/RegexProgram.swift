internal import CPCRE2
internal import Primitives

/// A compiled pattern of PCRE2, run by its JIT compiler where the machine has one.
///
/// Texts that are all ASCII, the common case, run a second program compiled without UTF: on such texts it finds the same
/// matches and runs faster. Compiled code is immutable and shared between threads; what a match writes lies in `RegexScratch`.
final class RegexProgram: @unchecked Sendable {
    // Sendable: both codes are written in init only, and PCRE2 documents compiled code as thread-safe for matching.
    private let unicode: OpaquePointer
    private let ascii: OpaquePointer?
    let matchLimit: UInt32
    let depthLimit: UInt32

    init(_ rule: RegexRule, functionName: String) throws(AMAFError) {
        let caseless = rule.caseSensitive ? 0 : UInt32(PCRE2_CASELESS)
        let options = UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP) | UInt32(PCRE2_NEVER_BACKSLASH_C) | caseless
        switch Self.compile(rule.pattern, options) {
        case .success(let code): unicode = code
        case .failure(let problem):
            throw AMAFError(
                "labeling-function.invalid-regex",
                "The pattern of the labeling function '\(functionName)' is not a regular expression: \(problem.message) at offset \(problem.offset)",
                place: functionName, remedy: "Correct the pattern '\(rule.pattern)' (PCRE2 syntax).")
        }
        // A pattern that needs UTF to compile, or holds a byte that ASCII texts cannot, keeps to the one program.
        if rule.pattern.utf8.allSatisfy({ $0 < 128 }), case .success(let code) = Self.compile(rule.pattern, caseless) {
            ascii = code
        } else {
            ascii = nil
        }
        matchLimit = UInt32(clamping: rule.matchLimit)
        depthLimit = UInt32(clamping: rule.depthLimit)
    }

    deinit {
        pcre2_code_free_8(unicode)
        if let ascii { pcre2_code_free_8(ascii) }
    }

    private struct Problem: Error {
        var message: String
        var offset: Int
    }

    private static func compile(_ pattern: String, _ options: UInt32) -> Result<OpaquePointer, Problem> {
        var error: Int32 = 0
        var offset = 0
        let bytes = Array(pattern.utf8)
        guard let code = pcre2_compile_8(bytes, bytes.count, options, &error, &offset, nil) else {
            return .failure(Problem(message: message(of: error), offset: offset))
        }
        // Without JIT support this fails and matching falls back to the interpreter by itself.
        _ = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE))
        return .success(code)
    }

    private static func message(of error: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let length = pcre2_get_error_message_8(error, &buffer, buffer.count)
        return length > 0 ? String(decoding: buffer.prefix(Int(length)), as: UTF8.self) : "error \(error)"
    }

    /// Whether the pattern occurs in the text, or why that could not be decided.
    @inline(__always)
    func isFound(in text: UnsafeBufferPointer<UInt8>, isASCII: Bool, scratch: RegexScratch) -> Result<Bool, AMAFError> {
        let code = isASCII ? ascii ?? unicode : unicode
        // Swift strings are valid UTF-8, so the check is skipped.
        let status = pcre2_match_8(
            code, text.baseAddress ?? scratch.emptyText, text.count, 0, UInt32(PCRE2_NO_UTF_CHECK), scratch.matchData, scratch.context)
        if status >= 0 { return .success(true) }
        if status == PCRE2_ERROR_NOMATCH { return .success(false) }
        return .failure(Self.fault(status))
    }

    private static func fault(_ status: Int32) -> AMAFError {
        switch status {
        case PCRE2_ERROR_MATCHLIMIT, PCRE2_ERROR_DEPTHLIMIT, PCRE2_ERROR_HEAPLIMIT, PCRE2_ERROR_JIT_STACKLIMIT:
            AMAFError(
                "labeling-function.match-limit", "The pattern gave up on this text: \(message(of: status))",
                remedy: "Make the pattern less ambiguous (nested repeats), or raise its match-limit.")
        default:
            AMAFError(
                "labeling-function.match-failed", "The pattern failed on this text: \(message(of: status))",
                remedy: "Make the pattern simpler; nested repetitions take the longest.")
        }
    }
}

/// What one thread needs to match: made once per call of `apply`, never shared.
final class RegexScratch {
    fileprivate let matchData: OpaquePointer
    fileprivate let context: OpaquePointer
    private let stack: OpaquePointer?
    fileprivate let emptyText: UnsafePointer<UInt8>

    init() {
        guard let matchData = pcre2_match_data_create_8(1, nil), let context = pcre2_match_context_create_8(nil) else {
            preconditionFailure("PCRE2 has no memory for a match context")
        }
        self.matchData = matchData
        self.context = context
        stack = pcre2_jit_stack_create_8(32 << 10, 512 << 10, nil)
        if let stack { pcre2_jit_stack_assign_8(context, nil, UnsafeMutableRawPointer(stack)) }
        let empty = UnsafeMutablePointer<UInt8>.allocate(capacity: 1)
        empty.initialize(to: 0)
        emptyText = UnsafePointer(empty)
    }

    func setLimits(of program: RegexProgram) {
        pcre2_set_match_limit_8(context, program.matchLimit)
        pcre2_set_depth_limit_8(context, program.depthLimit)
    }

    deinit {
        pcre2_match_data_free_8(matchData)
        pcre2_match_context_free_8(context)
        if let stack { pcre2_jit_stack_free_8(stack) }
        emptyText.deallocate()
    }
}
