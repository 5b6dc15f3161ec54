import MVAR
import Torch

/// `Tests/Fixtures/evaluation/lpips.safetensors`: what the PyPI package `lpips` makes of pictures and
/// weights by formula. `make_lpips.py` there wrote it.
public enum LPIPSFixture {
  /// Files that users have.
  public enum Files: String, CaseIterable, Sendable {
    /// torchvision's and `lpips`'s.
    case two
    /// The distance's whole state, deep in a file.
    case one
  }

  /// The number of each convolution among all layers, its block of 1 … 5, and its channels.
  private static let layers = [
    (0, 1, 3, 64), (2, 1, 64, 64), (5, 2, 64, 128), (7, 2, 128, 128), (10, 3, 128, 256),
    (12, 3, 256, 256), (14, 3, 256, 256), (17, 4, 256, 512), (19, 4, 512, 512), (21, 4, 512, 512),
    (24, 5, 512, 512), (26, 5, 512, 512), (28, 5, 512, 512),
  ]

  /// `distance` `[3]`, `layers` `[3, 5]`, and `gradient` `[1, 3, 32, 32]`: that of the first of the
  /// first pictures in the sum of distances.
  public static func tensor(_ name: String) throws -> Tensor {
    try Expected.tensor(name, in: "lpips.safetensors")
  }

  /// The upper left corners of three pictures by formula in [−1, 1]: `[3, 3, 32, 32]`.
  public static func pixels(_ first: Int) -> Tensor {
    let bytes = Tensor.of(
      (first..<first + 3).flatMap(FormulaPictures.pixels),
      shape: [3, FormulaPictures.side, FormulaPictures.side, 3])
    let corners = bytes.slice(1, 0..<32).slice(2, 0..<32)
    return corners.to(.float32).permute(0, 3, 1, 2).contiguous() / 127.5 - 1
  }

  /// The distance's parts as parameters by formula, under torchvision's names.
  public static func source() -> any ParameterSource { Source() }

  /// Writes the weights, 59 MB.
  ///
  /// - Returns: The paths of the files.
  public static func write(_ files: Files, in folder: String) throws -> [String] {
    switch files {
    case .two:
      let (vgg, linear) = ("\(folder)/vgg16.safetensors", "\(folder)/vgg.safetensors")
      // What else torchvision's file has is left alone.
      let classifier = (name: "classifier.6.bias", tensor: Tensor.zeros([1000]))
      try TensorFile.write(try convolutions { _ in "features" } + [classifier], to: vgg)
      try TensorFile.write(try self.linear(""), to: linear)
      return [vgg, linear]
    case .one:
      let path = "loss.perceptual_loss."
      let file = "\(folder)/all.safetensors"
      try TensorFile.write(
        try convolutions { "\(path)net.slice\($0)" } + self.linear(path), to: file)
      return [file]
    }
  }

  /// - Parameter name: The name of a block.
  private static func convolutions(_ name: (Int) -> String) throws -> [(
    name: String, tensor: Tensor
  )] {
    try layers.flatMap { layer, block, inputs, outputs in
      try [("weight", [outputs, inputs, 3, 3]), ("bias", [outputs])].map { part, shape in
        (
          "\(name(block)).\(layer).\(part)",
          try Source().tensor(
            "features.\(layer).\(part)", shape: shape, dtype: .float32, device: .cpu)
        )
      }
    }
  }

  private static func linear(_ path: String) throws -> [(name: String, tensor: Tensor)] {
    try [64, 128, 256, 512, 512].enumerated().map { index, width in
      let name = "lin\(index).model.1.weight"
      return (
        path + name,
        try Source().tensor(name, shape: [1, width, 1, 1], dtype: .float32, device: .cpu)
      )
    }
  }

  /// ``FormulaSource``, with linear layers that have no sign.
  private final class Source: ParameterSource {
    private let formula = FormulaSource()

    var names: [String]? { nil }

    func shape(of name: String, expected: [Int]) -> [Int]? { expected }

    func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
      let tensor = try formula.tensor(name, shape: shape, dtype: dtype, device: device)
      return name.hasPrefix("lin") ? tensor.absolute() : tensor
    }
  }
}
