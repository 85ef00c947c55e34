internal import Primitives

/// A small grammar of requests: ten things to do with fifteen kinds of object make 150 intents.
///
/// It is meant to be learnable but not trivially so: verbs share words, a part of the requests names its object or its action only
/// by a pronoun, and typing errors fall on any word.
enum IntentGrammar {
    struct Word {
        var name: String
        var phrases: [String]
    }

    /// `%` stands where the object goes. The last phrases of several verbs are the same on purpose.
    static let verbs: [Word] = [
        Word(
            name: "create",
            phrases: ["create %", "set up %", "make me %", "add %", "i need a new entry for %", "start %", "take care of %"]),
        Word(
            name: "cancel",
            phrases: ["cancel %", "call off %", "delete %", "get rid of %", "i no longer want %", "drop %", "take care of %"]),
        Word(name: "change", phrases: ["change %", "move %", "update %", "edit %", "i have to adjust %", "fix %", "do something about %"]),
        Word(
            name: "check",
            phrases: ["check %", "what is the status of %", "look up %", "show me %", "is there any news on %", "tell me about %"]),
        Word(name: "share", phrases: ["share %", "send % to them", "forward %", "pass % on", "let the others see %", "send me %"]),
        Word(name: "repeat", phrases: ["repeat %", "do % again", "once more %", "redo %", "same as last time for %", "start % over"]),
        Word(
            name: "pause",
            phrases: ["pause %", "put % on hold", "suspend %", "stop % for a while", "hold off on %", "do something about %"]),
        Word(
            name: "rate", phrases: ["rate %", "give % four stars", "review %", "leave feedback on %", "i was not happy with %", "score %"]),
        Word(
            name: "explain",
            phrases: ["explain %", "how does % work", "what is % good for", "describe %", "help me understand %", "tell me about %"]),
        Word(
            name: "compare",
            phrases: ["compare %", "which is better for %", "show the difference in %", "weigh the options for %", "show me %"]),
    ]

    static let objects: [Word] = [
        Word(name: "alarm", phrases: ["the alarm", "my wake up call", "an alarm", "the morning alarm"]),
        Word(name: "reminder", phrases: ["the reminder", "a reminder", "my reminders", "that note to self"]),
        Word(name: "meeting", phrases: ["the meeting", "my team meeting", "the call with the team", "the weekly sync"]),
        Word(name: "playlist", phrases: ["the playlist", "my songs", "the party music", "my playlist"]),
        Word(name: "order", phrases: ["the order", "my purchase", "the last order", "what i bought"]),
        Word(name: "flight", phrases: ["the flight", "my plane ticket", "the trip by air", "my flight"]),
        Word(name: "invoice", phrases: ["the invoice", "my bill", "the last statement", "that invoice"]),
        Word(name: "password", phrases: ["the password", "my login", "the pin code", "my password"]),
        Word(name: "recipe", phrases: ["the recipe", "that dish", "the dinner instructions", "a recipe"]),
        Word(name: "light", phrases: ["the light", "the lamp", "the lights", "the bedroom lamp"]),
        Word(name: "payment", phrases: ["the payment", "my transfer", "the money i sent", "the bank transfer"]),
        Word(name: "parcel", phrases: ["the parcel", "my package", "the delivery", "that box"]),
        Word(name: "ticket", phrases: ["the ticket", "my support case", "the complaint", "my ticket"]),
        Word(name: "appointment", phrases: ["the appointment", "my visit to the doctor", "the dentist", "the booking"]),
        Word(name: "subscription", phrases: ["the subscription", "my membership", "the monthly plan", "that contract"]),
    ]

    static let openings = [
        "please", "can you", "could you please", "hey", "i would like to ask you to", "would you", "ok", "now", "", "", "", "",
    ]
    static let closings = ["please", "thanks", "right now", "as soon as possible", "if you can", "", "", "", "", ""]
    static let times = ["tomorrow", "on monday", "next week", "at noon", "in the evening", "at seven", "before friday", "today"]
    static let people = ["for anna", "with my boss", "for the kids", "with omar", "for my wife", "with the team"]
    static let places = ["at home", "in berlin", "at the office", "in the kitchen", "on my phone", "near the station"]
    static let pronouns = ["it", "that", "this thing", "the one from before"]

    /// Class c of any number of classes is always the same intent, and neighbours share neither verb nor object.
    static func intent(_ index: Int) -> (verb: Int, object: Int) {
        precondition((0..<verbs.count * objects.count).contains(index), "intent \(index)")
        let object = index % objects.count
        return ((index / objects.count + object) % verbs.count, object)
    }

    static func className(_ index: Int) -> String {
        let (verb, object) = intent(index)
        return verbs[verb].name + "_" + objects[object].name
    }

    /// Appends one request in lower-case ASCII.
    static func append(_ index: Int, _ random: inout SeededGenerator, to text: inout [UInt8]) {
        let (verb, object) = intent(index)
        let hiding = random.uniform()
        let target = hiding < 0.06 ? pick(bytes.pronouns, &random) : pick(bytes.objects[object], &random)
        let phrase = hiding > 0.96 ? bytes.usual : pick(bytes.verbs[verb], &random)
        let opening = pick(bytes.openings, &random)
        let extra: [UInt8]
        let turn = random.index(below: 6)
        switch turn {
        case 0, 3: extra = pick(bytes.times, &random)
        case 1: extra = pick(bytes.people, &random)
        case 2: extra = pick(bytes.places, &random)
        default: extra = []
        }
        let closing = pick(bytes.closings, &random)
        for word in [turn == 3 ? extra : [], opening, phrase, turn == 3 ? [] : extra, closing] where !word.isEmpty {
            if !text.isEmpty { text.append(0x20) }
            for byte in word { if byte == UInt8(ascii: "%") { text += target } else { text.append(byte) } }
        }
    }

    private static func pick(_ words: [[UInt8]], _ random: inout SeededGenerator) -> [UInt8] { words[random.index(below: words.count)] }

    /// The same words as bytes, made once.
    private struct Bytes {
        let verbs = IntentGrammar.verbs.map { $0.phrases.map { Array($0.utf8) } }
        let objects = IntentGrammar.objects.map { $0.phrases.map { Array($0.utf8) } }
        let openings = IntentGrammar.openings.map { Array($0.utf8) }
        let closings = IntentGrammar.closings.map { Array($0.utf8) }
        let times = IntentGrammar.times.map { Array($0.utf8) }
        let people = IntentGrammar.people.map { Array($0.utf8) }
        let places = IntentGrammar.places.map { Array($0.utf8) }
        let pronouns = IntentGrammar.pronouns.map { Array($0.utf8) }
        let usual = Array("the usual for %".utf8)
    }
    private static let bytes = Bytes()

    /// Typing errors in the letters of a text: about one word in twenty-five gets a swap, a loss or a double.
    static func misspell(_ text: inout [UInt8], _ random: inout SeededGenerator) {
        var i = 0
        while i + 1 < text.count {
            let isPair = text[i] != 0x20 && text[i + 1] != 0x20
            if isPair, random.uniform() < 0.01 {
                switch random.index(below: 3) {
                case 0: text.swapAt(i, i + 1)
                case 1: text.remove(at: i)
                default: text.insert(text[i], at: i)
                }
                i += 1
            }
            i += 1
        }
    }
}
