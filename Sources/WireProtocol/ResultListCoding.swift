internal import Foundation
internal import Primitives
internal import Scheduling
internal import SwiftProtobuf

/// Results as columns: a commit of thousands of blocks is a handful of packed fields.
func wireResults(_ results: some Sequence<BlockResult>) -> WireResultList {
    var list = WireResultList()
    var positions: [String: UInt32] = [:]
    func position(of name: String) -> UInt32 {
        if let known = positions[name] { return known }
        let new = wireCount(list.names.count)
        positions[name] = new
        list.names.append(name)
        return new
    }
    var digests: [UInt8] = []
    for result in results {
        list.blocks.append(wireInteger(result.block))
        list.outputCounts.append(wireCount(result.outputs.count))
        for output in result.outputs {
            list.outputNames.append(position(of: output.name))
            digests.append(contentsOf: output.digest.bytes)
            list.outputSizes.append(wireInteger(output.byteCount))
        }
        list.metricCounts.append(wireCount(result.metrics.count))
        for (name, value) in result.metrics.sorted(by: { $0.key < $1.key }) {
            list.metricNames.append(position(of: name))
            list.metricValues.append(value)
        }
    }
    list.outputDigests = Data(digests)
    return list
}

extension BodyReader {
    func results(_ list: WireResultList) throws(AMAFError) -> [BlockResult] {
        let outputs = list.outputNames.count
        let digests = try digests(list.outputDigests, "the list of output digests")
        guard list.outputCounts.count == list.blocks.count, list.metricCounts.count == list.blocks.count, list.outputSizes.count == outputs,
            digests.count == outputs, list.metricValues.count == list.metricNames.count,
            list.outputCounts.reduce(0, { $0 + Int($1) }) == outputs,
            list.metricCounts.reduce(0, { $0 + Int($1) }) == list.metricNames.count
        else { throw malformed(type, "the columns of its results do not fit together") }
        func name(_ position: UInt32) throws(AMAFError) -> String {
            guard position < list.names.count else { throw malformed(type, "a result names text \(position) of \(list.names.count)") }
            return list.names[Int(position)]
        }
        var results: [BlockResult] = []
        results.reserveCapacity(list.blocks.count)
        var output = 0
        var metric = 0
        for i in list.blocks.indices {
            var result = BlockResult(block: try int(list.blocks[i], "a block"), outputs: [])
            for _ in 0..<list.outputCounts[i] {
                result.outputs.append(
                    TaskOutput(
                        name: try name(list.outputNames[output]), digest: digests[output],
                        byteCount: try int(list.outputSizes[output], "an artifact's size")))
                output += 1
            }
            for _ in 0..<list.metricCounts[i] {
                guard result.metrics.updateValue(list.metricValues[metric], forKey: try name(list.metricNames[metric])) == nil else {
                    throw malformed(type, "block \(result.block) has a metric twice")
                }
                metric += 1
            }
            results.append(result)
        }
        return results
    }

    /// Cuts a list into neighbouring parts of these lengths.
    func parts<T>(of list: [T], counts: [UInt32], _ what: String) throws(AMAFError) -> [[T]] {
        guard counts.reduce(0, { $0 + Int($1) }) == list.count else {
            throw malformed(type, "the counts of its \(what) do not add up to \(list.count)")
        }
        var parts: [[T]] = []
        parts.reserveCapacity(counts.count)
        var start = 0
        for count in counts {
            parts.append(Array(list[start..<start + Int(count)]))
            start += Int(count)
        }
        return parts
    }
}
