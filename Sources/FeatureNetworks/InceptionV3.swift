import Torch

/// The Inception-v3 of TensorFlow's release of 2015-12-05, by whose features FID is defined (Heusel et
/// al., arXiv 1706.08500), with the names and shapes of its PyTorch port
/// `pt_inception-2015-12-05-6726825d.pth`.
///
/// It differs from torchvision's: means do not count padding, the last block takes a maximum, and there
/// are 1,008 classes.
public struct InceptionV3 {
  /// What the metrics read.
  public struct Output {
    /// The mean over all places of the last block, `[B, 2048]` ("pool_3").
    public let pooled: Tensor
    /// The first 7 channels of the 1×1 branch of `Mixed_6d` ("mixed_6/conv"), `[B, 2023]`: row, column,
    /// channel. What sFID compares (Nash et al., arXiv 2103.03841, as OpenAI's evaluator has it).
    public let spatial: Tensor
    /// `[B, 1008]` without the bias, as the Inception score reads them.
    public let logits: Tensor
  }

  /// How pictures become the network's input, 299 by 299 pixels.
  public enum Preprocessing: String, Sendable, CaseIterable, Codable {
    /// As in TensorFlow 1.x: bilinear from the upper left corner, then (x − 128) / 128. What the
    /// published figures, OpenAI's evaluator and torch-fidelity use.
    case tensorFlow = "tensorflow"
    /// As pytorch-fid does: PyTorch's bilinear, then 2·x/255 − 1.
    case pytorchFID = "pytorch-fid"
  }

  public static let side = 299

  private let stem: [[ConvolutionUnit]]
  private let mixed5: [InceptionA]
  private let mixed6a: InceptionB
  private let mixed6: [InceptionC]
  private let mixed7a: InceptionD
  private let mixed7: [InceptionE]
  private let classes: Tensor  // [1008, 2048]
  private let resizing = TensorFlowResizing()

  /// - Parameter folded: Whether batch normalisation becomes part of the convolutions; without it the
  ///   layers are as published.
  public init(_ p: Parameters, folded: Bool = true) {
    func units(_ name: String) -> InceptionUnits {
      InceptionUnits(p: p / name, isFolded: folded)
    }
    let top = InceptionUnits(p: p, isFolded: folded)
    stem = [
      [
        top.valid("Conv2d_1a_3x3", 3, 32, stride: 2), top.valid("Conv2d_2a_3x3", 32, 32, stride: 1),
        top("Conv2d_2b_3x3", 32, 64, 3, 3),
      ],
      [top("Conv2d_3b_1x1", 64, 80, 1, 1), top.valid("Conv2d_4a_3x3", 80, 192, stride: 1)],
    ]
    mixed5 = [
      InceptionA(units("Mixed_5b"), 192, pooled: 32),
      InceptionA(units("Mixed_5c"), 256, pooled: 64),
      InceptionA(units("Mixed_5d"), 288, pooled: 64),
    ]
    mixed6a = InceptionB(units("Mixed_6a"), 288)
    mixed6 = [
      InceptionC(units("Mixed_6b"), width: 128), InceptionC(units("Mixed_6c"), width: 160),
      InceptionC(units("Mixed_6d"), width: 160), InceptionC(units("Mixed_6e"), width: 192),
    ]
    mixed7a = InceptionD(units("Mixed_7a"))
    mixed7 = [
      InceptionE(units("Mixed_7b"), 1280, pooling: .mean),
      InceptionE(units("Mixed_7c"), 2048, pooling: .max),
    ]
    let fc = p / "fc"
    classes = fc.tensor("weight", 1008, 2048)
    fc.skip("bias")
  }

  /// - Parameter pixels: `[B, 3, H, W]` in 0 … 255, of any number type.
  public func callAsFunction(
    _ pixels: Tensor, preprocessing: Preprocessing = .tensorFlow
  ) -> Output {
    var x = input(pixels.to(classes.dtype), preprocessing).channelsLast()  // [B, 3, 299, 299]
    for part in stem { x = part(x).maxPooled(3, stride: 2) }  // [B, 192, 35, 35]
    for block in mixed5 { x = block(x) }
    x = mixed6a(x)  // [B, 768, 17, 17]
    var first = x
    for (index, block) in mixed6.enumerated() {
      let (result, branch) = block.withFirstBranch(x)
      if index == 2 { first = branch }
      x = result
    }
    x = mixed7a(x)  // [B, 1280, 8, 8]
    for block in mixed7 { x = block(x) }
    let pooled = x.mean(2, 3)
    let B = pooled.length(0)
    return Output(
      pooled: pooled, spatial: first.slice(1, 0..<7).permute(0, 2, 3, 1).reshape(B, -1),
      logits: pooled.linear(classes))
  }

  func input(_ pixels: Tensor, _ preprocessing: Preprocessing) -> Tensor {
    switch preprocessing {
    case .tensorFlow: (resizing(pixels, to: Self.side) - 128) / 128
    case .pytorchFID: (pixels / 255).resizedBilinear(Self.side, Self.side) * 2 - 1
    }
  }
}
