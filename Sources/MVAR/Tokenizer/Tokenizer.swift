import Torch

/// The multi-scale VQ-VAE between pixels and tokens (VAR, arXiv 2404.02905, section 3.2).
public struct Tokenizer {
  public let configuration: TokenizerConfiguration
  package let quantizer: Quantizer
  let dtype: DType
  private let encoder: Encoder?
  private let quantConv: Convolution?
  let decoder: Decoder
  let postQuantConv: Convolution

  /// - Parameter configuration: Nil to read it off the parameters' shapes.
  /// - Parameter encodes: Whether the encoder is wanted; sampling needs only the decoder.
  public init(
    _ p: Parameters, configuration: TokenizerConfiguration? = nil, encodes: Bool = true
  ) {
    let configuration = configuration ?? TokenizerConfiguration(p)
    let C = configuration.codeChannels
    self.configuration = configuration
    dtype = p.dtype
    quantizer = Quantizer(p / "quantize", configuration)
    encoder = encodes ? Encoder(p / "encoder", configuration) : nil
    quantConv =
      encodes ? Convolution(p / "quant_conv", C, C, kernel: configuration.latentKernel) : nil
    decoder = Decoder(p / "decoder", configuration)
    postQuantConv = Convolution(p / "post_quant_conv", C, C, kernel: configuration.latentKernel)
  }

  /// Pixels in [−1, 1] `[B, 3, H, W]` to features `[B, Cvae, h, w]`, float32.
  public func features(of image: Tensor) -> Tensor {
    guard let encoder, let quantConv else { preconditionFailure("a tokenizer without encoder") }
    return quantConv(encoder(image.to(dtype))).to(.float32).contiguous()
  }

  /// Pixels in [−1, 1] `[B, 3, H, W]` to tokens.
  ///
  /// - Throws: ``MVARError`` if the schedule does not end in the size of the picture's features.
  public func encode(_ image: Tensor, schedule: ScaleSchedule) throws -> TokenPyramid {
    let (_, _, H, W) = image.shape4
    let final = schedule.final
    guard H == final.height * configuration.patchSize, W == final.width * configuration.patchSize
    else {
      throw MVARError(
        .mismatch,
        "a picture of \(H) × \(W) pixels does not fit scales that end in "
          + "\(final.height) × \(final.width) tokens of \(configuration.patchSize) pixels")
    }
    return quantizer.tokens(features(of: image), schedule: schedule)
  }

  /// What a transformer reads when all tokens are known, in float32: `[B, L − n_0, Cvae]`.
  public func teacherInput(_ pyramid: TokenPyramid) -> Tensor { quantizer.teacherInput(pyramid) }

  /// f̂ `[B, Cvae, h, w]` to pixels in [−1, 1] `[B, 3, H, W]`, float32.
  ///
  /// A CPU decodes one picture after the other: a batch would not be faster, would take more memory,
  /// and would round differently, which the cut to bytes makes visible.
  public func decode(fHat: Tensor) -> Tensor {
    let B = fHat.length(0)
    guard fHat.device == .cpu, B > 1 else { return decodeBatch(fHat) }
    return .concatenate((0..<B).map { decodeBatch(fHat.slice(0, $0..<$0 + 1)) }, axis: 0)
  }

  private func decodeBatch(_ fHat: Tensor) -> Tensor {
    unclampedPixels(ofFHat: fHat).clamped(-1, 1).contiguous()
  }

  /// f̂ `[B, Cvae, h, w]` to what the decoder makes of it, `[B, 3, H, W]`, float32: a loss must see how
  /// far pixels lie beyond [−1, 1].
  package func unclampedPixels(ofFHat fHat: Tensor) -> Tensor {
    decoder(postQuantConv(fHat.to(dtype).channelsLast())).to(.float32)
  }

  /// Tokens to pixels in [−1, 1] `[B, 3, H, W]`, float32.
  public func decode(_ pyramid: TokenPyramid) -> Tensor {
    decode(fHat: quantizer.fHats(pyramid).last!)
  }

  /// The picture after each scale, `[B, 3, H, W]` in [−1, 1].
  public func decodeEveryScale(_ pyramid: TokenPyramid) -> [Tensor] {
    quantizer.fHats(pyramid).map { decode(fHat: $0) }
  }
}
