import Torch

/// Pixels to features (`Encoder` of `models/basic_vae.py`).
struct Encoder {
  private struct Level {
    let blocks: [(block: ResidualBlock, attention: PixelAttention?)]
    let downsampling: Convolution?
  }

  private let convIn: Convolution
  private let levels: [Level]
  private let middle: Middle
  private let normOut: GroupNorm
  private let convOut: Convolution

  init(_ p: Parameters, _ configuration: TokenizerConfiguration) {
    let widths = configuration.multipliers.map { $0 * configuration.channels }
    convIn = Convolution(p / "conv_in", 3, configuration.channels)
    levels = widths.indices.map { level in
      let p = p / "down" / level
      let isLast = level == widths.count - 1
      let inputs = level == 0 ? configuration.channels : widths[level - 1]
      return Level(
        blocks: (0..<configuration.residualBlocks).map { index in
          (
            ResidualBlock(p / "block" / index, index == 0 ? inputs : widths[level], widths[level]),
            isLast && configuration.levelAttention
              ? PixelAttention(p / "attn" / index, widths[level]) : nil
          )
        },
        downsampling: isLast
          ? nil
          : Convolution(
            p / "downsample" / "conv", widths[level], widths[level], stride: 2, padding: 0))
    }
    let width = widths[widths.count - 1]
    middle = Middle(p / "mid", width, attention: configuration.middleAttention)
    normOut = GroupNorm(p / "norm_out", width)
    convOut = Convolution(p / "conv_out", width, configuration.codeChannels)
  }

  /// `[B, 3, H, W]` → `[B, Cvae, h, w]`
  func callAsFunction(_ image: Tensor) -> Tensor {
    var x = convIn(image.channelsLast())
    for level in levels {
      for (block, attention) in level.blocks {
        x = block(x)
        x = attention?(x) ?? x
      }
      // The reference pads right and bottom by one before each stride-2 convolution.
      if let downsampling = level.downsampling { x = downsampling(x.padded(0, 1, 0, 1)) }
    }
    return convOut(normOut.thenSiLU(middle(x)))
  }
}
