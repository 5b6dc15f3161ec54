import Torch

/// The convolutions of VGG16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D).
///
/// Every operation can be differentiated with respect to the picture; for that, load it outside
/// `withInferenceMode`.
public struct VGG16 {
  /// How a file names the convolutions.
  public enum Naming: Sendable, CaseIterable {
    /// `features.0.weight`, as torchvision saves the network.
    case torchvision
    /// `net.slice1.0.weight`, as the PyPI package `lpips` and taming-transformers save their distance.
    case slices

    /// The name of a block's layers, of 0 … 4.
    fileprivate func block(_ index: Int) -> String {
      switch self {
      case .torchvision: "features"
      case .slices: "net.slice\(index + 1)"
      }
    }

    /// The name of the first convolution's weight.
    var first: String { "\(block(0)).0.weight" }
  }

  /// The channels of each block.
  public static let widths = [64, 128, 256, 512, 512]
  /// A pixel of the last block stands for so many along a side; pictures can be no smaller.
  public static let smallestSide = 16
  /// The numbers of each block's convolutions among all layers.
  private static let layers = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]]

  private var blocks: [[Convolution]]

  public init(_ p: Parameters, naming: Naming = .torchvision) {
    var inputs = 3
    blocks = []
    for (index, (width, layers)) in zip(Self.widths, Self.layers).enumerated() {
      var block: [Convolution] = []
      for layer in layers {
        block.append(Convolution(p / naming.block(index) / layer, inputs, width))
        inputs = width
      }
      blocks.append(block)
    }
  }

  /// What pixels are to be.
  public var dtype: DType { blocks[0][0].weight.dtype }

  /// The same in another precision, which pixels are to have too.
  public func converted(to dtype: DType) -> VGG16 {
    var network = self
    network.blocks = blocks.map { $0.map { $0.converted(to: dtype) } }
    return network
  }

  /// `[B, 3, H, W]` to the outputs of the five blocks before they are pooled (relu1_2, relu2_2, relu3_3,
  /// relu4_3 and relu5_3): `[B, C, H / 2ⁱ, W / 2ⁱ]`.
  public func taps(of image: Tensor) -> [Tensor] {
    var x = image.channelsLast()
    var taps: [Tensor] = []
    for block in blocks {
      if !taps.isEmpty { x = x.maxPooled(2, stride: 2) }
      x = block.reduce(x) { $1($0) }
      taps.append(x)
    }
    return taps
  }
}

/// Three by three pixels to one, and ReLU.
private struct Convolution {
  let weight: Tensor  // [out, in, 3, 3]
  let bias: Tensor  // [out]

  init(_ p: Parameters, _ inputs: Int, _ outputs: Int) {
    weight = p.tensor("weight", outputs, inputs, 3, 3).channelsLast()
    bias = p.tensor("bias", outputs)
  }

  private init(weight: Tensor, bias: Tensor) { (self.weight, self.bias) = (weight, bias) }

  func converted(to dtype: DType) -> Convolution {
    Convolution(weight: weight.to(dtype), bias: bias.to(dtype))
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    x.conv2d(weight, bias, stride: (1, 1), padding: (1, 1), relu: true)
  }
}
