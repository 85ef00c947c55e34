/// The type numbers of frames. A number is never used for another message; replies have the highest bit.
enum MessageType: UInt16, CaseIterable, Sendable {
    case challenge = 0x0001
    case hello = 0x0002
    case operatorHello = 0x0003

    case lease = 0x0010
    case beat = 0x0011
    case commit = 0x0012
    case fail = 0x0013
    case release = 0x0014
    case bye = 0x0015

    case have = 0x0020
    case put = 0x0021
    case get = 0x0022

    case submit = 0x0030
    case status = 0x0031
    case workers = 0x0032
    case cancel = 0x0033
    case pause = 0x0034
    case resume = 0x0035
    case retry = 0x0036
    case drain = 0x0037
    case undrain = 0x0038
    case answer = 0x0039
    case story = 0x003A
    case explain = 0x003B
    case tasks = 0x003C
    case result = 0x003D
    case history = 0x003E
    case wait = 0x003F

    case challengeReply = 0x8001
    case welcome = 0x8002
    case operatorWelcome = 0x8003

    case grants = 0x8010
    case beatReply = 0x8011
    case committed = 0x8012
    case noted = 0x8013

    case held = 0x8020
    case stored = 0x8021
    case chunk = 0x8022

    case submitted = 0x8030
    case json = 0x8031
    case results = 0x8032
    case done = 0x8033

    case unsupported = 0xFFFE
    case failed = 0xFFFF

    var isReply: Bool { rawValue & 0x8000 != 0 }
}
