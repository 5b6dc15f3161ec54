import CTorch

/// The building blocks of networks, as functions of tensors.
extension Tensor {
  public func matmul(_ other: Tensor) -> Tensor {
    make("matmul", [self, other]) { $0.matmul(handle, other.handle, &$1) }
  }

  /// `beta · self + alpha · a b` for batches of matrices `[B, n, k]`, `[B, k, m]`.
  public func addingBatched(_ a: Tensor, _ b: Tensor, beta: Double = 1, alpha: Double = 1)
    -> Tensor
  {
    make("baddbmm", [self, a, b]) { $0.baddbmm(handle, a.handle, b.handle, beta, alpha, &$1) }
  }

  /// `beta · self + alpha · a b` for matrices.
  public func adding(product a: Tensor, _ b: Tensor, beta: Double = 1, alpha: Double = 1) -> Tensor
  {
    make("addmm", [self, a, b]) { $0.addmm(handle, a.handle, b.handle, beta, alpha, &$1) }
  }

  /// Unit vectors along the last axis; the length is taken in float32.
  public func normalized() -> Tensor {
    make("normalize", [self]) { $0.normalize(handle, &$1) }
  }

  /// GELU (tanh form) of a linear layer; on a GPU one kernel does both.
  public func linearGELU(_ weight: Tensor, _ bias: Tensor) -> Tensor {
    make("linear_gelu", [self, weight]) {
      $0.linear_gelu(handle, weight.handle, bias.handle, &$1)
    }
  }

  public func linear(_ weight: Tensor, _ bias: Tensor? = nil) -> Tensor {
    make("linear", [self, weight]) { $0.linear(handle, weight.handle, bias?.handle, &$1) }
  }

  /// The rows of `self [V, C]` that `index` names.
  public func embedding(_ index: Tensor) -> Tensor {
    make("embedding", [self, index]) { $0.embedding(handle, index.handle, &$1) }
  }

  /// `self [B, C, H, W]`, `weight [out, C, kh, kw]`.
  public func conv2d(_ weight: Tensor, _ bias: Tensor? = nil, stride: Int = 1, padding: Int = 0)
    -> Tensor
  {
    make("conv2d", [self, weight]) {
      $0.conv2d(handle, weight.handle, bias?.handle, Int64(stride), Int64(padding), &$1)
    }
  }

  /// `self [B, C, L]`, `weight [out, C / groups, k]`.
  public func conv1d(_ weight: Tensor, _ bias: Tensor? = nil, padding: Int = 0, groups: Int = 1)
    -> Tensor
  {
    make("conv1d", [self, weight]) {
      $0.conv1d(handle, weight.handle, bias?.handle, Int64(padding), Int64(groups), &$1)
    }
  }

  /// Normalisation over the last axis, with neither weight nor bias where they are nil.
  public func layerNorm(_ weight: Tensor? = nil, _ bias: Tensor? = nil, epsilon: Double) -> Tensor {
    make("layer_norm", [self]) {
      $0.layer_norm(handle, weight?.handle, bias?.handle, Int64(length(-1)), epsilon, &$1)
    }
  }

  public func groupNorm(_ groups: Int, _ weight: Tensor?, _ bias: Tensor?, epsilon: Double)
    -> Tensor
  {
    make("group_norm", [self]) {
      $0.group_norm(handle, Int64(groups), weight?.handle, bias?.handle, epsilon, &$1)
    }
  }

  public func rmsNorm(_ weight: Tensor, epsilon: Double) -> Tensor {
    make("rms_norm", [self, weight]) { $0.rms_norm(handle, weight.handle, epsilon, &$1) }
  }

  public func softmax(_ axis: Int = -1) -> Tensor {
    make("softmax", [self]) { $0.softmax(handle, Int64(axis), &$1) }
  }

  /// softmax(scale · self kᵀ + mask) v for `[B, H, L, P]`.
  public func attention(_ k: Tensor, _ v: Tensor, mask: Tensor? = nil, scale: Double) -> Tensor {
    make("attention", [self, k, v]) {
      $0.attention(handle, k.handle, v.handle, mask?.handle, scale, &$1)
    }
  }

  /// Bicubic interpolation of `[B, C, H, W]`, as PyTorch's without aligned corners.
  public func resizedBicubic(_ height: Int, _ width: Int) -> Tensor {
    make("bicubic", [self]) { $0.resize_bicubic(handle, Int64(height), Int64(width), &$1) }
  }

  /// Area interpolation of `[B, C, H, W]`.
  public func resizedArea(_ height: Int, _ width: Int) -> Tensor {
    make("area", [self]) { $0.resize_area(handle, Int64(height), Int64(width), &$1) }
  }

  public func resizedNearest(_ height: Int, _ width: Int) -> Tensor {
    make("nearest", [self]) { $0.resize_nearest(handle, Int64(height), Int64(width), &$1) }
  }

  /// A weight `[out, in]` in the layout that oneDNN's kernels for `rows` rows want. CPU only.
  public func packedForLinear(rows: Int = 0) -> Tensor {
    make("pack_linear", [self]) { $0.pack_linear(handle, Int64(rows), &$1) }
  }

  /// ``linear(_:_:)`` with a weight of ``packedForLinear(rows:)``.
  public func packedLinear(
    _ weight: Tensor, _ bias: Tensor? = nil, activation: PackedActivation = .none
  ) -> Tensor {
    make("packed_linear", [self]) {
      $0.packed_linear(handle, weight.handle, bias?.handle, activation.rawValue, &$1)
    }
  }

  /// Rows `[…, K]` in 8 bits (e4m3): the bits as uint8, and float32 `[…, 1]`, what each row is to be multiplied by.
  public func quantizedRows() -> (values: Tensor, scales: Tensor) {
    let (values, scales) = pair("quantize_rows") { $0.quantize_rows(handle, &$1, &$2) }
    return (values, scales)
  }

  /// `x Wᵀ + b` of ``quantizedRows()``. CUDA from compute capability 9.0 on; 16 divides `out` and `in`.
  ///
  /// - Parameters:
  ///   - scales: `[rows, 1]`.
  ///   - weight: `[out, in]`.
  ///   - weightScales: `[out, 1]`.
  ///   - dtype: of the bias and the result.
  public func scaledLinear(
    scales: Tensor, _ weight: Tensor, weightScales: Tensor, _ bias: Tensor?, dtype: DType
  ) -> Tensor {
    make("scaled_linear", [self, weight]) {
      $0.scaled_linear(
        handle, scales.handle, weight.handle, weightScales.handle, bias?.handle, dtype.c, &$1)
    }
  }

  /// What oneDNN applies to a product while it is in the registers.
  public enum PackedActivation: String {
    case none
    case geluTanh = "gelu_tanh"
  }
}
