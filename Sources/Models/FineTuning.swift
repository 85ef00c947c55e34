package import Kernels
internal import NeuralNetworks
package import Primitives

/// A ResNet under a new classifier, trained as a whole through batch norm's own statistics, or only in its head.
package final class ResNetClassifier: Sendable {
    package let network: ResNet
    package let head: ClassifierHead

    package init(_ network: ResNet, classes: Int, hidden: Int = 0, seed: UInt64, on device: any ComputeDevice) throws(AMAFError) {
        self.network = network
        head = try ClassifierHead(
            .init(features: network.featureCount, classes: classes, hidden: hidden), ParameterStore(seed: seed, on: device))
    }

    /// Trains network and head together on images by position; the norms are folded again at the end.
    ///
    /// - Parameters:
    ///   - targets: rows of class weights; soft labels allowed.
    ///   - images: (samples, H, W, channels), prepared.
    @discardableResult
    package func fineTune(
        targets: [Float], on device: any ComputeDevice, _ configuration: ClassifierTrainer.Configuration,
        images: (ArraySlice<Int>) -> Tensor
    ) throws(AMAFError) -> [Double] {
        // The network's own classifier is left aside: it would gather no slope.
        let parameters = network.parameters.filter { !$0.name.hasPrefix("classifier.") && !$0.name.hasPrefix("fc.") }
        let trainer = ClassifierTrainer(parameters + head.parameters, classes: head.configuration.classes, on: device, configuration)
        let losses = try trainer.train(targets: targets) { (samples, tape) throws(AMAFError) in
            head(network.trainFeatures(images(samples), tape: tape), tape: tape)
        }
        network.fold()
        return losses
    }

    /// Rows of class probabilities.
    package func probabilities(_ images: Tensor) -> [Float] { Operations.softmax(head(network.features(images))).values() }
}
