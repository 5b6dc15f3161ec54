import Torch

// The blocks of Inception-v3 (arXiv 1512.00567, figures 5 to 7) under the names of its PyTorch port.
// Channels last in memory; [B, C, H, W] in shape.

/// Makes the units of one block.
struct InceptionUnits {
  let p: Parameters
  let isFolded: Bool

  /// A convolution with stride 1 that keeps the size.
  func callAsFunction(_ name: String, _ inputs: Int, _ outputs: Int, _ height: Int, _ width: Int)
    -> ConvolutionUnit
  {
    unit(name, inputs, outputs, (height, width), stride: 1, padding: .same)
  }

  /// A 3×3 convolution without padding.
  func valid(_ name: String, _ inputs: Int, _ outputs: Int, stride: Int) -> ConvolutionUnit {
    unit(name, inputs, outputs, (3, 3), stride: stride, padding: .none)
  }

  private func unit(
    _ name: String, _ inputs: Int, _ outputs: Int, _ kernel: (height: Int, width: Int),
    stride: Int, padding: ConvolutionUnit.Padding
  ) -> ConvolutionUnit {
    ConvolutionUnit(
      convolution: p / name / "conv", norm: p / name / "bn", inputs, outputs, kernel: kernel,
      stride: stride, padding: padding, activation: .relu, folded: isFolded)
  }
}

extension Sequence<ConvolutionUnit> {
  /// One after the other.
  func callAsFunction(_ x: Tensor) -> Tensor { reduce(x) { $1($0) } }
}

/// 35 × 35 (`InceptionA`).
struct InceptionA {
  private let one: ConvolutionUnit
  private let five: [ConvolutionUnit]
  private let three: [ConvolutionUnit]
  private let pool: ConvolutionUnit

  init(_ unit: InceptionUnits, _ inputs: Int, pooled: Int) {
    one = unit("branch1x1", inputs, 64, 1, 1)
    five = [unit("branch5x5_1", inputs, 48, 1, 1), unit("branch5x5_2", 48, 64, 5, 5)]
    three = [
      unit("branch3x3dbl_1", inputs, 64, 1, 1), unit("branch3x3dbl_2", 64, 96, 3, 3),
      unit("branch3x3dbl_3", 96, 96, 3, 3),
    ]
    pool = unit("branch_pool", inputs, pooled, 1, 1)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    // TensorFlow's mean does not count the padding.
    let mean = x.averagePooled(3, stride: 1, padding: 1)
    return .concatenate([one(x), five(x), three(x), pool(mean)], axis: 1)
  }
}

/// 35 × 35 to 17 × 17 (`InceptionB`).
struct InceptionB {
  private let three: ConvolutionUnit
  private let double: [ConvolutionUnit]

  init(_ unit: InceptionUnits, _ inputs: Int) {
    three = unit.valid("branch3x3", inputs, 384, stride: 2)
    double = [
      unit("branch3x3dbl_1", inputs, 64, 1, 1), unit("branch3x3dbl_2", 64, 96, 3, 3),
      unit.valid("branch3x3dbl_3", 96, 96, stride: 2),
    ]
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    .concatenate([three(x), double(x), x.maxPooled(3, stride: 2)], axis: 1)
  }
}

/// 17 × 17 (`InceptionC`).
struct InceptionC {
  private let one: ConvolutionUnit
  private let seven: [ConvolutionUnit]
  private let double: [ConvolutionUnit]
  private let pool: ConvolutionUnit

  init(_ unit: InceptionUnits, width: Int) {
    one = unit("branch1x1", 768, 192, 1, 1)
    seven = [
      unit("branch7x7_1", 768, width, 1, 1), unit("branch7x7_2", width, width, 1, 7),
      unit("branch7x7_3", width, 192, 7, 1),
    ]
    double = [
      unit("branch7x7dbl_1", 768, width, 1, 1), unit("branch7x7dbl_2", width, width, 7, 1),
      unit("branch7x7dbl_3", width, width, 1, 7), unit("branch7x7dbl_4", width, width, 7, 1),
      unit("branch7x7dbl_5", width, 192, 1, 7),
    ]
    pool = unit("branch_pool", 768, 192, 1, 1)
  }

  func callAsFunction(_ x: Tensor) -> Tensor { withFirstBranch(x).result }

  /// The result, and the branch of one 1×1 convolution, `[B, 192, 17, 17]`.
  func withFirstBranch(_ x: Tensor) -> (result: Tensor, first: Tensor) {
    let first = one(x)
    let mean = x.averagePooled(3, stride: 1, padding: 1)
    return (.concatenate([first, seven(x), double(x), pool(mean)], axis: 1), first)
  }
}

/// 17 × 17 to 8 × 8 (`InceptionD`).
struct InceptionD {
  private let three: [ConvolutionUnit]
  private let seven: [ConvolutionUnit]

  init(_ unit: InceptionUnits) {
    three = [
      unit("branch3x3_1", 768, 192, 1, 1), unit.valid("branch3x3_2", 192, 320, stride: 2),
    ]
    seven = [
      unit("branch7x7x3_1", 768, 192, 1, 1), unit("branch7x7x3_2", 192, 192, 1, 7),
      unit("branch7x7x3_3", 192, 192, 7, 1), unit.valid("branch7x7x3_4", 192, 192, stride: 2),
    ]
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    .concatenate([three(x), seven(x), x.maxPooled(3, stride: 2)], axis: 1)
  }
}

/// 8 × 8 (`InceptionE`).
struct InceptionE {
  /// What the last branch begins with.
  enum Pooling {
    case mean
    /// In the network of 2015, and only in its last block.
    case max
  }

  private let one: ConvolutionUnit
  private let three: ConvolutionUnit
  private let threeParts: [ConvolutionUnit]
  private let double: [ConvolutionUnit]
  private let doubleParts: [ConvolutionUnit]
  private let pool: ConvolutionUnit
  private let pooling: Pooling

  init(_ unit: InceptionUnits, _ inputs: Int, pooling: Pooling) {
    one = unit("branch1x1", inputs, 320, 1, 1)
    three = unit("branch3x3_1", inputs, 384, 1, 1)
    threeParts = [unit("branch3x3_2a", 384, 384, 1, 3), unit("branch3x3_2b", 384, 384, 3, 1)]
    double = [
      unit("branch3x3dbl_1", inputs, 448, 1, 1), unit("branch3x3dbl_2", 448, 384, 3, 3),
    ]
    doubleParts = [
      unit("branch3x3dbl_3a", 384, 384, 1, 3), unit("branch3x3dbl_3b", 384, 384, 3, 1),
    ]
    pool = unit("branch_pool", inputs, 192, 1, 1)
    self.pooling = pooling
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let (y, z) = (three(x), double(x))
    let pooled =
      pooling == .mean
      ? x.averagePooled(3, stride: 1, padding: 1) : x.maxPooled(3, stride: 1, padding: 1)
    return .concatenate(
      [one(x)] + threeParts.map { $0(y) } + doubleParts.map { $0(z) } + [pool(pooled)], axis: 1)
  }
}
