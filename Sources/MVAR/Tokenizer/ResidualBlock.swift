import Torch

/// `ResnetBlock` of `models/basic_vae.py`.
struct ResidualBlock {
  let norm1: GroupNorm
  let conv1: Convolution
  let norm2: GroupNorm
  let conv2: Convolution
  let shortcut: Convolution?

  /// - Parameter winograd: As ``Convolution`` takes it.
  init(_ p: Parameters, _ inputs: Int, _ outputs: Int, winograd: Bool = false) {
    norm1 = GroupNorm(p / "norm1", inputs)
    conv1 = Convolution(p / "conv1", inputs, outputs, winograd: winograd)
    norm2 = GroupNorm(p / "norm2", outputs)
    conv2 = Convolution(p / "conv2", outputs, outputs, winograd: winograd)
    shortcut =
      inputs == outputs ? nil : Convolution(p / "nin_shortcut", inputs, outputs, kernel: 1)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let first = norm1.thenSiLU(x)
    let second = norm2.thenSiLU(conv1(first), overwriting: true)
    return conv2(second, adding: shortcut?(x) ?? x, into: first)
  }
}

/// Attention of every pixel to every pixel (`AttnBlock` of `models/basic_vae.py`).
struct PixelAttention {
  let norm: GroupNorm
  let qkv: Convolution
  let out: Convolution

  init(_ p: Parameters, _ channels: Int) {
    norm = GroupNorm(p / "norm", channels)
    qkv = Convolution(p / "qkv", channels, 3 * channels, kernel: 1)
    out = Convolution(p / "proj_out", channels, channels, kernel: 1)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let (B, C, H, W) = x.shape4
    let rows = qkv(norm(x)).permute(0, 2, 3, 1).reshape(B, 1, H * W, 3 * C)
    let parts = rows.chunked(3, axis: 3)
    let y = parts[0].attention(parts[1], parts[2], scale: 1 / Double(C).squareRoot())
    return x + out(y.reshape(B, H, W, C).permute(0, 3, 1, 2))
  }
}

/// The lowest resolution, between the levels down and the levels up.
struct Middle {
  let block1: ResidualBlock
  let attention: PixelAttention?
  let block2: ResidualBlock

  init(_ p: Parameters, _ channels: Int, attention: Bool) {
    block1 = ResidualBlock(p / "block_1", channels, channels)
    self.attention = attention ? PixelAttention(p / "attn_1", channels) : nil
    block2 = ResidualBlock(p / "block_2", channels, channels)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let y = block1(x)
    return block2(attention?(y) ?? y)
  }
}
