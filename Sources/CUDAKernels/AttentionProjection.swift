import Torch

extension CUDAKernels {
  /// Attention inside a scale and the product behind it, as a sum that the next kernel makes.
  ///
  /// For up to 16 tokens of one picture one kernel does both.
  ///
  /// - Parameters:
  ///   - qkv: `[R, n, 3·C]`, the projections of q, k and v. Heads of 64.
  ///   - weight: `[N, C]`.
  ///   - bias: `[N]`.
  /// - Returns: `[parts, R, n, N]`, and the bias if no part has it.
  public func projectedAttention(
    _ qkv: Tensor, scale: AttentionScale, _ weight: Tensor, _ bias: Tensor?
  ) -> PartialSums {
    let (R, n, _) = qkv.shape3
    guard let form = attentionProjectionForm(sequences: R, tokens: n, weight),
      let kernel = attentionProjections[form.tokens]
    else { return linearInParts(attention(qkv, scale: scale), weight, bias) }
    let (N, C) = weight.shape2
    let y = Tensor.empty([form.parts, R, n, N], dtype: dtype, device: qkv.device)
    let (scales, constant) = scale.parts
    let width = 8 * form.columns
    kernel(
      grid: ((N + width - 1) / width, form.parts, 1), threads: Self.attentionProjectionThreads,
      sharedBytes: form.sharedBytes, overlaps: true,
      matrices: [CUDAKernel.Matrix(weight, rows: N, columns: C, boxRows: width)],
      [
        .tensor(qkv), .optional(scales), .float(constant), .optional(bias), .tensor(y), .int(n),
        .int(R * n), .int(N), .int(C), .int(form.columns), .int(scales == nil ? 0 : 1),
      ])
    return PartialSums(parts: y)
  }

  /// The rows that there are kernels for: `attention_projection.cu`.
  static let attentionProjectionTokens = [24, 32]
  private static let attentionProjectionThreads = 416
  /// The heads that a block makes attention of, of all sequences: one to a warp. With more, two kernels that share this work
  /// are faster.
  private static let mostHeads = 12

  /// Nil where two kernels are to be used.
  private func attentionProjectionForm(
    sequences R: Int, tokens n: Int, _ weight: Tensor
  ) -> MatrixUnitsForm? {
    let (N, C) = weight.shape2
    guard n <= 16,
      let form = MatrixUnitsForm(
        rows: R * n, inputs: C, outputs: N, parts: [1, 2, 4, 8],
        multiprocessors: multiprocessors, tokenCounts: Self.attentionProjectionTokens, fewest: 1)
    else { return nil }
    let heads = C / 64 / form.parts
    return form.stages == heads && heads * R <= Self.mostHeads ? form : nil
  }
}
