import CTorch

// B sequences, n queries and m keys of each, T tokens of all sequences in a row, S segments, H heads, P head size.

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

/// Attention on a GPU that keeps one number a query for its gradient, and records nothing.
public struct FlashAttention {
  /// As the queries, contiguous.
  public let out: Tensor
  private let logs: Tensor
  private let segments: Segments?
  private let scale: Double

  /// softmax(scale · q kᵀ) v in 16 bits.
  ///
  /// - Parameters:
  ///   - q: `[B, n, H, P]`, and keys and values `[B, m, H, P]`; or `[T, H, P]` each, with segments. Neighbours along P.
  ///   - segments: Nil where each query attends to all keys.
  public init(_ q: Tensor, _ k: Tensor, _ v: Tensor, segments: Segments? = nil, scale: Double) {
    let (queries, keys) = Self.lengths(q, k, segments)
    (out, logs) = q.pair("flash_attention") {
      $0.flash_attention(
        q.handle, k.handle, v.handle, segments?.ends.handle, queries, keys, scale, &$1, &$2)
    }
    (self.segments, self.scale) = (segments, scale)
  }

  /// The gradients of q, k and v, contiguous, from that of ``out``. The same for the same numbers: sums are made in one
  /// order.
  public func gradients(_ dOut: Tensor, _ q: Tensor, _ k: Tensor, _ v: Tensor) -> (
    q: Tensor, k: Tensor, v: Tensor
  ) {
    let (queries, keys) = Self.lengths(q, k, segments)
    var (dk, dv) = (ct_tensor?.none, ct_tensor?.none)
    let dq = make("flash_attention_backward", [dOut, q]) {
      $0.flash_attention_backward(
        dOut.handle, q.handle, k.handle, v.handle, out.handle, logs.handle, segments?.ends.handle,
        queries, keys, scale, &$1, &dk, &dv)
    }
    func owned(_ handle: ct_tensor?) -> Tensor {
      handle.map { Tensor(owning: $0).contiguous() } ?? .placeholder()
    }
    return (dq.contiguous(), owned(dk), owned(dv))
  }

  private static func lengths(_ q: Tensor, _ k: Tensor, _ segments: Segments?) -> (Int64, Int64) {
    segments.map { (Int64($0.longest), Int64($0.longest)) }
      ?? (Int64(q.length(1)), Int64(k.length(1)))
  }
}
