import Torch

/// Features to pixels (`Decoder` of `models/basic_vae.py`).
struct Decoder {
  struct Level {
    let blocks: [(block: ResidualBlock, attention: PixelAttention?)]
    let upsampling: Upsampling?
  }

  let convIn: Convolution
  let middle: Middle
  /// From the lowest resolution up.
  let levels: [Level]
  let normOut: GroupNorm
  let convOut: Convolution

  init(_ p: Parameters, _ configuration: TokenizerConfiguration) {
    let widths = configuration.multipliers.map { $0 * configuration.channels }
    let last = widths.count - 1
    convIn = Convolution(p / "conv_in", configuration.codeChannels, widths[last])
    middle = Middle(p / "mid", widths[last], attention: configuration.middleAttention)
    levels = widths.indices.reversed().map { level in
      let p = p / "up" / level
      let inputs = level == last ? widths[last] : widths[level + 1]
      return Level(
        blocks: (0...configuration.residualBlocks).map { index in
          (
            // Where there are few pixels, reading larger weights costs what fewer products save.
            ResidualBlock(
              p / "block" / index, index == 0 ? inputs : widths[level], widths[level],
              winograd: level < 3),
            level == last && configuration.levelAttention
              ? PixelAttention(p / "attn" / index, widths[level]) : nil
          )
        },
        upsampling: level == 0 ? nil : Upsampling(p / "upsample", widths[level]))
    }
    normOut = GroupNorm(p / "norm_out", widths[0])
    convOut = Convolution(p / "conv_out", widths[0], 3)
  }

  /// `[B, Cvae, h, w]` → `[B, 3, H, W]`
  func callAsFunction(_ features: Tensor) -> Tensor {
    var x = middle(convIn(features.channelsLast()))
    for level in levels {
      for (block, attention) in level.blocks {
        x = block(x)
        x = attention?(x) ?? x
      }
      x = level.upsampling?(x) ?? x
    }
    return convOut(normOut.thenSiLU(x, overwriting: true))
  }
}
