package import Kernels
package import NeuralNetworks
package import Primitives

/// A variational autoencoder over images (Kingma and Welling 2014; β: Higgins et al. 2017), plain or conditional.
///
/// maximise E_q(z|x)[log p(x|z)] − β KL(q(z|x) ‖ N(0, I)). Sums over pixels and latents, mean over the batch; one z per x.
/// Images are NHWC in [0, 1]. A conditional network appends the one-hot class to what the heads read and to z.
package final class VAE: Sendable {
    package struct Configuration: Sendable, Hashable, Codable {
        package enum Architecture: Sendable, Hashable, Codable {
            /// Hidden widths from the image inwards; mirrored by the decoder.
            case dense(hidden: [Int])
            /// 4×4 convolutions with stride 2 by number of filters, then a hidden layer unless it is 0; mirrored.
            case convolutional(filters: [Int], hidden: Int)
        }
        package enum Likelihood: String, Sendable, Hashable, Codable {
            case bernoulli
            /// Fixed σ = 1.
            case gaussian
        }
        package var height: Int
        package var width: Int
        package var channels: Int
        package var architecture: Architecture
        package var latent: Int
        package var beta: Float
        package var likelihood: Likelihood
        /// 0 for an unconditional network.
        package var classes: Int

        package init(
            height: Int, width: Int, channels: Int = 1, architecture: Architecture, latent: Int = 128, beta: Float = 0.5,
            likelihood: Likelihood = .bernoulli, classes: Int = 0
        ) {
            self.height = height
            self.width = width
            self.channels = channels
            self.architecture = architecture
            self.latent = latent
            self.beta = beta
            self.likelihood = likelihood
            self.classes = classes
        }

        package var pixels: Int { height * width * channels }

        /// - Throws: `vae.configuration`.
        package func validate() throws(AMAFError) {
            func refuse(_ sentence: String, _ remedy: String) -> AMAFError { AMAFError("vae.configuration", sentence, remedy: remedy) }
            guard height > 0, width > 0, channels > 0, latent > 0, classes >= 0 else {
                throw refuse(
                    "Images of \(height)×\(width)×\(channels) with \(latent) latents and \(classes) classes", "Give positive sizes.")
            }
            guard beta.isFinite, beta >= 0 else { throw refuse("β is \(beta)", "Give a β of 0 or more; the paper's is 0.5.") }
            switch architecture {
            case .dense(let hidden):
                guard !hidden.isEmpty, hidden.allSatisfy({ $0 > 0 }) else { throw refuse("Hidden widths \(hidden)", "Give one or more.") }
            case .convolutional(let filters, let hidden):
                let scale = 1 << filters.count
                guard !filters.isEmpty, filters.count < 16, filters.allSatisfy({ $0 > 0 }), hidden >= 0 else {
                    throw refuse("Filters \(filters), hidden \(hidden)", "Give one or more layers of filters.")
                }
                guard height % scale == 0, width % scale == 0 else {
                    throw refuse(
                        "\(filters.count) halvings of \(height)×\(width) do not come out even", "Resize images to a multiple of \(scale).")
                }
            }
        }
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let encoderDense: [Linear]
    private let encoderConvolutions: [Convolution2D]
    private let meanHead: Linear
    private let logVarianceHead: Linear
    private let decoderDense: [Linear]
    private let decoderConvolutions: [TransposedConvolution2D]

    /// Tensor names: `encoder.N`, `mean`, `log_variance`, `decoder.N`, each `.weight` and `.bias`.
    ///
    /// - Throws: `vae.configuration`, and a checkpoint's errors.
    package init(_ configuration: Configuration, _ store: ParameterStore) throws(AMAFError) {
        try configuration.validate()
        self.configuration = configuration
        let (c, classes) = (configuration, configuration.classes)
        var dense: [Linear] = []
        var convolutions: [Convolution2D] = []
        var decoder: [Linear] = []
        var transposed: [TransposedConvolution2D] = []
        var features: Int
        switch c.architecture {
        case .dense(let hidden):
            features = c.pixels
            for (i, width) in hidden.enumerated() {
                dense.append(try Linear(store, "encoder.\(i)", inputs: features + (i == 0 ? classes : 0), outputs: width))
                features = width
            }
        case .convolutional(let filters, let hidden):
            var channels = c.channels
            for (i, count) in filters.enumerated() {
                convolutions.append(
                    try Convolution2D(store, "encoder.\(i)", channels: channels, filters: count, window: 4, stride: 2, padding: 1))
                channels = count
            }
            features = (c.height >> filters.count) * (c.width >> filters.count) * channels
            if hidden > 0 {
                dense.append(try Linear(store, "encoder.\(filters.count)", inputs: features + classes, outputs: hidden))
                features = hidden
            } else {
                features += classes
            }
        }
        meanHead = try Linear(store, "mean", inputs: features, outputs: c.latent)
        logVarianceHead = try Linear(store, "log_variance", inputs: features, outputs: c.latent)
        features = c.latent + classes
        switch c.architecture {
        case .dense(let hidden):
            for (i, width) in (hidden.reversed() + [c.pixels]).enumerated() {
                decoder.append(try Linear(store, "decoder.\(i)", inputs: features, outputs: width))
                features = width
            }
        case .convolutional(let filters, let hidden):
            let seed = (c.height >> filters.count) * (c.width >> filters.count) * filters[filters.count - 1]
            for width in hidden > 0 ? [hidden, seed] : [seed] {
                decoder.append(try Linear(store, "decoder.\(decoder.count)", inputs: features, outputs: width))
                features = width
            }
            let outputs = filters.dropLast().reversed() + [c.channels]
            for (i, count) in outputs.enumerated() {
                transposed.append(
                    try TransposedConvolution2D(
                        store, "decoder.\(decoder.count + i)", channels: filters[filters.count - 1 - i], outputs: count, window: 4,
                        stride: 2,
                        padding: 1))
            }
        }
        encoderDense = dense
        encoderConvolutions = convolutions
        decoderDense = decoder
        decoderConvolutions = transposed
        parameters = store.parameters
    }

    package var device: any ComputeDevice { meanHead.weight.value.device }

    /// q(z|x): images (batch, pixels) and, if conditional, classes (batch, classes) → mean and log variance (batch, latent).
    package func encode(_ images: Tensor, classes: Tensor? = nil, tape: Tape? = nil) -> (mean: Tensor, logVariance: Tensor) {
        let c = configuration
        checkClasses(classes)
        var x: Tensor
        switch c.architecture {
        case .dense:
            x = images.reshaped([images.count / c.pixels, c.pixels])
            if let classes { x = Operations.concatenate(x, classes) }
        case .convolutional:
            x = images.reshaped([images.count / c.pixels, c.height, c.width, c.channels])
            for layer in encoderConvolutions { x = layer(x, activation: .relu, tape: tape) }
            x = Operations.reshape(x, [x.dimension(0), x.count / x.dimension(0)], tape: tape)
            if let classes { x = Operations.concatenate(x, classes, tape: tape) }
        }
        for layer in encoderDense { x = layer(x, activation: .relu, tape: tape) }
        return (meanHead(x, tape: tape), logVarianceHead(x, tape: tape))
    }

    /// p(x|z): logits (Bernoulli) or means (Gaussian), (batch, pixels).
    package func decode(_ z: Tensor, classes: Tensor? = nil, tape: Tape? = nil) -> Tensor {
        let c = configuration
        checkClasses(classes)
        var x = z
        if let classes { x = Operations.concatenate(x, classes, tape: tape) }
        for (i, layer) in decoderDense.enumerated() {
            let isLast = i == decoderDense.count - 1 && decoderConvolutions.isEmpty
            x = layer(x, activation: isLast ? .identity : .relu, tape: tape)
        }
        if case .convolutional(let filters, _) = c.architecture {
            let scale = 1 << filters.count
            x = Operations.reshape(x, [x.dimension(0), c.height / scale, c.width / scale, filters[filters.count - 1]], tape: tape)
            for (i, layer) in decoderConvolutions.enumerated() {
                x = layer(x, activation: i == decoderConvolutions.count - 1 ? .identity : .relu, tape: tape)
            }
            x = Operations.reshape(x, [x.dimension(0), c.pixels], tape: tape)
        }
        return x
    }

    /// Pixels in [0, 1] for latents: the mean of p(x|z).
    package func pixels(_ z: Tensor, classes: Tensor? = nil) -> Tensor {
        let out = decode(z, classes: classes)
        return configuration.likelihood == .bernoulli ? Operations.unary(.sigmoid, out) : out
    }

    private func checkClasses(_ classes: Tensor?) {
        precondition(
            classes.map { $0.columns == configuration.classes } ?? (configuration.classes == 0),
            "classes of shape \(classes?.shape ?? []) for a network of \(configuration.classes)")
    }

    /// Reconstruction error and divergence of a batch, per image.
    package struct Loss {
        package var reconstruction: Tensor
        package var divergence: Tensor
    }

    /// The loss of a batch (batch, pixels). With a tape, its slopes are ready for `backward`, scaled to the mean over the
    /// batch: Σ (reconstruction + β divergence) / batch.
    package func loss(_ images: Tensor, classes: Tensor? = nil, seed: UInt64, stream: UInt64, tape: Tape? = nil) -> Loss {
        let (mean, logVariance) = encode(images, classes: classes, tape: tape)
        let z = Operations.reparameterize(mean: mean, logVariance: logVariance, seed: seed, stream: stream, tape: tape)
        let decoded = decode(z, classes: classes, tape: tape)
        let share = 1 / Float(mean.dimension(0))
        let target = images.reshaped(decoded.shape)
        let reconstruction =
            switch configuration.likelihood {
            case .bernoulli: Losses.bernoulli(decoded, targets: target, scale: share, tape: tape)
            case .gaussian: Losses.gaussian(decoded, targets: target, scale: share, tape: tape)
            }
        let divergence = Losses.divergence(mean: mean, logVariance: logVariance, scale: configuration.beta * share, tape: tape)
        return Loss(reconstruction: reconstruction, divergence: divergence)
    }
}
