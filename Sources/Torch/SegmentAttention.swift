import CTorch

// T tokens of all sequences in a row, S segments, H heads, P head size.

/// Tokens in a row that attend to those of their own segment only: the scales of one picture after the other.
public struct Segments {
  /// Where segments end, and 0 in front: int32 `[S + 1]`, on a GPU.
  let ends: Tensor
  let longest: Int

  /// - Parameter lengths: Of the segments of one sequence, repeated for each.
  public init(_ lengths: [Int], sequences: Int, device: Device) {
    var end = 0
    let all = (0..<sequences).flatMap { _ in lengths }.map { length in
      end += length
      return Int64(end)
    }
    ends = Tensor.of([0] + all).to(.int32).uploaded(to: device)
    longest = lengths.max() ?? 0
  }
}

extension Tensor {
  /// softmax(scale · q kᵀ) v inside segments, for 16-bit `[T, H, P]` on a GPU with neighbours along P; nothing is
  /// recorded.
  ///
  /// - Returns: `[T, H, P]`, and what ``segmentAttentionGradients(_:_:_:_:out:logs:segments:scale:)`` needs to know.
  public func segmentAttention(_ k: Tensor, _ v: Tensor, segments: Segments, scale: Double) -> (
    out: Tensor, logs: Tensor
  ) {
    let (out, logs) = pair("segment_attention") {
      $0.segment_attention(
        handle, k.handle, v.handle, segments.ends.handle, Int64(segments.longest), scale, &$1, &$2)
    }
    return (out, logs)
  }

  /// The gradients of `q`, `k` and `v` of ``segmentAttention(_:_:segments:scale:)``, `[T, H, P]` each, from that of its
  /// output, `self`. The same for the same numbers: sums are made in one order.
  public func segmentAttentionGradients(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, out: Tensor, logs: Tensor, segments: Segments,
    scale: Double
  ) -> (q: Tensor, k: Tensor, v: Tensor) {
    var (dk, dv) = (ct_tensor?.none, ct_tensor?.none)
    let dq = make("segment_attention_backward", [self, q]) {
      $0.segment_attention_backward(
        handle, q.handle, k.handle, v.handle, out.handle, logs.handle, segments.ends.handle,
        Int64(segments.longest), scale, &$1, &dk, &dv)
    }
    func owned(_ handle: ct_tensor?) -> Tensor {
      handle.map(Tensor.init(owning:)) ?? .placeholder()
    }
    return (dq, owned(dk), owned(dv))
  }
}
