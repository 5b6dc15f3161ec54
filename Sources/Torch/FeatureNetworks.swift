import CTorch

/// What networks that look at pictures are made of.
extension Tensor {
  /// `self [B, C, H, W]`, `weight [out, C / groups, kh, kw]`.
  ///
  /// - Parameter relu: Whether to cut negative results off; on a GPU, and where no gradients are
  ///   recorded, the same kernel does it.
  public func conv2d(
    _ weight: Tensor, _ bias: Tensor? = nil, stride: (height: Int, width: Int),
    padding: (height: Int, width: Int), groups: Int = 1, relu: Bool = false
  ) -> Tensor {
    make("conv2d", [self, weight]) {
      $0.conv2d_act(
        handle, weight.handle, bias?.handle, [stride.height, stride.width].c,
        [padding.height, padding.width].c, Int64(groups), relu, &$1)
    }
  }

  /// Batch normalisation of `[B, C, H, W]` by known means and variances, `[C]` each.
  public func batchNorm(
    weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: Double
  ) -> Tensor {
    make("batch_norm", [self, weight]) {
      $0.batch_norm(
        handle, weight.handle, bias.handle, mean.handle, variance.handle, epsilon, &$1)
    }
  }

  public func relu() -> Tensor { make("relu", [self]) { $0.relu(handle, &$1) } }

  /// The largest number of each square of `kernel` by `kernel`, of `[B, C, H, W]`.
  public func maxPooled(_ kernel: Int, stride: Int, padding: Int = 0) -> Tensor {
    make("max_pool2d", [self]) {
      $0.max_pool2d(handle, Int64(kernel), Int64(stride), Int64(padding), &$1)
    }
  }

  /// The mean of each square of `kernel` by `kernel`, of `[B, C, H, W]`.
  ///
  /// - Parameter countingPadding: Whether the zeros around the picture count.
  public func averagePooled(
    _ kernel: Int, stride: Int, padding: Int = 0, countingPadding: Bool = false
  ) -> Tensor {
    make("avg_pool2d", [self]) {
      $0.avg_pool2d(
        handle, Int64(kernel), Int64(stride), Int64(padding), countingPadding, &$1)
    }
  }

  /// Bilinear interpolation of `[B, C, H, W]`, as PyTorch's without aligned corners.
  ///
  /// - Parameter antialias: Whether shrinking averages over all pixels that it covers.
  public func resizedBilinear(_ height: Int, _ width: Int, antialias: Bool = false) -> Tensor {
    make("bilinear", [self]) {
      $0.resize_bilinear(handle, Int64(height), Int64(width), antialias, &$1)
    }
  }

  public func logSoftmax(_ axis: Int = -1) -> Tensor {
    make("log_softmax", [self]) { $0.log_softmax(handle, Int64(axis), &$1) }
  }

  public func squareRoot() -> Tensor { make("sqrt", [self]) { $0.sqrt(handle, &$1) } }

  /// The `count` smallest along an axis, ascending.
  public func smallest(_ count: Int, axis: Int = -1) -> (values: Tensor, indices: Tensor) {
    var indices: ct_tensor?
    let values = make("topk", [self]) {
      $0.smallest(handle, Int64(count), Int64(axis), &$1, &indices)
    }
    return (values, indices.map(Tensor.init(owning:)) ?? .placeholder())
  }

  // MARK: Matrices

  /// The diagonal of the last two axes.
  public func diagonal() -> Tensor { make("diagonal", [self]) { $0.diagonal(handle, &$1) } }

  /// Eigenvalues `[n]`, ascending, and eigenvectors, the columns of `[n, n]`, of a symmetric matrix.
  public func symmetricEigen() -> (values: Tensor, vectors: Tensor) {
    var vectors: ct_tensor?
    let values = make("linalg_eigh", [self]) { $0.eigh(handle, &$1, &vectors) }
    return (values, vectors.map(Tensor.init(owning:)) ?? .placeholder())
  }

  /// Eigenvalues `[n]`, ascending, of a symmetric matrix.
  public func symmetricEigenvalues() -> Tensor {
    make("linalg_eigvalsh", [self]) { $0.eigvalsh(handle, &$1) }
  }

  // MARK: Devices

  /// A copy on a GPU, made from page-locked memory so that the caller need not wait for it; itself for
  /// the CPU.
  public func uploaded(to device: Device) -> Tensor {
    make("upload", [self]) { $0.upload(handle, device.c, &$1) }
  }
}

/// Lets a GPU multiply float32 in TF32 (10 bits of mantissa) while `body` runs; a CPU computes as ever.
///
/// The setting is the process's: nothing else should compute on a GPU meanwhile that must be exact.
///
/// - Parameter products: Whether matrix products may too, and not only convolutions.
public func withTF32<R>(convolutions: Bool, products: Bool, _ body: () throws -> R) throws -> R {
  let old = try exchangeTF32(convolutions, products)
  defer { _ = try? exchangeTF32(old.convolutions, old.products) }
  return try body()
}

private func exchangeTF32(_ convolutions: Bool, _ products: Bool) throws(TorchError) -> (
  convolutions: Bool, products: Bool
) {
  try attempt("exchange_tf32", (convolutions: false, products: false)) {
    $0.exchange_tf32(convolutions, products, &$1.convolutions, &$1.products)
  }
}
