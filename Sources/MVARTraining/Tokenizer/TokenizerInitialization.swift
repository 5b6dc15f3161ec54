import Foundation
import Torch

/// Fresh weights of a tokenizer or an adversary, the same for the same seed.
///
/// Convolutions begin as PyTorch's do, uniform within 1/√(inputs); normalisations as the identity. The
/// codebook begins in ``CodebookCare/begin(_:features:)``.
final class ConvolutionInitialization: ParameterSource {
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed }

  var names: [String]? { nil }

  func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    try withTorchErrors {
      withoutGradient { value(name, shape).to(dtype, device: device, copy: true) }
    }
  }

  private func value(_ name: String, _ shape: [Int]) -> Tensor {
    if shape.count == 1 { return .full(shape, name.hasSuffix("weight") ? 1 : 0) }
    let bound = 1 / Float(shape.dropFirst().reduce(1, *)).squareRoot()
    let numbers = PhiloxStream(seed: seed).uniforms(
      shape.reduce(1, *), domain: Self.hash(name) | 1 << 63)
    return .of(numbers.map { (2 * $0 - 1) * bound }, shape: shape)
  }

  /// FNV-1a; Swift's own hashes differ from run to run.
  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
