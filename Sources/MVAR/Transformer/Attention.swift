import Foundation
import Torch

// B rows (images, twice with guidance), L tokens, C width, H heads, P head size.

/// Keys and values of all tokens so far, `[B, H, L, P]` each.
struct AttentionCache {
  var keys: Tensor
  var values: Tensor
}

/// Multi-head attention, bidirectional inside a scale (`SelfAttention`, `models/basic_mvar.py`).
struct Attention {
  let heads: Int
  let seesEarlierScales: Bool
  let qkv: Linear
  let projection: Linear
  /// What unit queries are multiplied by, `[1, H, 1, 1]`; nil without l2 normalisation.
  let queryScale: Tensor?
  /// The same for kernels on a CPU, `[H]` in float32.
  private let queryScales: Tensor?

  init(_ p: Parameters, _ configuration: TransformerConfiguration) {
    let C = configuration.width
    heads = configuration.heads
    seesEarlierScales = configuration.kind == .var
    // Keys have no bias; the checkpoint keeps its zeros.
    p.skip("zero_k_bias")
    p.skip("patch_nums")
    let bias = Tensor.concatenate(
      [
        p.tensor("q_bias", C), .zeros([C], dtype: p.dtype, device: p.device),
        p.tensor("v_bias", C),
      ], axis: 0)
    qkv = Linear(
      weight: (p / "mat_qkv").tensor("weight", 3 * C, C), bias: bias, purpose: p.purpose)
    projection = Linear(p / "proj", C, C)
    queryScale =
      configuration.attentionNorm == .l2
      ? p.tensor("scale_mul_1H11", 1, heads, 1, 1, dtype: .float32)
        .clamped(-.infinity, log(100)).exp().to(p.dtype) : nil
    queryScales =
      p.purpose == .inference ? queryScale?.reshape(-1).to(.float32) : nil
  }

  /// - Parameters:
  ///   - x: Tokens of one scale or of several, `[B, L, C]`.
  ///   - scales: Where each scale lies in `x`.
  ///   - cache: Keys and values of earlier scales, for VAR; holds those of `x` too afterwards.
  func callAsFunction(_ x: Tensor, scales: [Range<Int>], cache: inout AttentionCache?) -> Tensor {
    let (B, L, C) = x.shape3
    let together = qkv(x)
    let areNormal = queryScales.map(together.normalizeQueriesAndKeysInPlace) ?? false
    let parts = together.reshape(B, L, 3, heads, C / heads).permute(2, 0, 3, 1, 4)
    var (q, k, v) = (parts[0], parts[1], parts[2])  // [B, H, L, P]
    if let queryScale, !areNormal {
      q = q.normalized() * queryScale
      k = k.normalized()
    }
    let past = cache?.keys.length(2) ?? 0
    if seesEarlierScales {
      if let cache {
        k = .concatenate([cache.keys, k], axis: 2)
        v = .concatenate([cache.values, v], axis: 2)
      }
      cache = AttentionCache(keys: k, values: v)
    }
    let scale = queryScale == nil ? 0.25 / Double(C / heads).squareRoot() : 1
    let outputs = scales.map { range in
      let seen = seesEarlierScales ? 0..<past + range.upperBound : range
      return q.slice(2, range)
        .attention(k.slice(2, seen), v.slice(2, seen), scale: scale)
        .transpose(1, 2).reshape(B, range.count, C)
    }
    return projection(outputs.count == 1 ? outputs[0] : .concatenate(outputs, axis: 1))
  }
}
