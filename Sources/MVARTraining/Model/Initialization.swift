import Foundation
import MVAR
import Torch

/// How a model's weights begin (`init_weights`, `models/mvar.py`, and Mamba-2's own).
public struct InitializationSettings: Codable, Sendable, Hashable {
  /// The standard deviation of matrices and embeddings; nil for √(1 / 3 C).
  public var deviation: Double?
  /// What the head's matrix is multiplied by.
  public var head = 0.02
  /// What the matrices that modulate are multiplied by.
  public var modulation = 0.5
  /// The same for those of their rows that give the gains γ, so that a block begins as the identity.
  public var gain = 1e-5
  /// Which rows count as γ.
  public var gainRows = GainRows.reference

  public enum GainRows: String, Codable, Sendable, CaseIterable {
    /// The first 2 C, as the reference has it: all in VAR, but M-VAR has 3 C, and its γ of the
    /// feed-forward layer is left out. Runs compare with the reference's only so.
    case reference
    /// The first C for each sublayer.
    case all
  }

  public init() {}
}

/// Fresh weights, the same for the same seed.
public final class Initialization: ParameterSource {
  private let settings: InitializationSettings
  private let configuration: TransformerConfiguration
  private let seed: UInt64

  public init(
    _ configuration: TransformerConfiguration, settings: InitializationSettings = .init(),
    seed: UInt64
  ) {
    self.configuration = configuration
    self.settings = settings
    self.seed = seed
  }

  public var names: [String]? { nil }

  public func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    try withTorchErrors {
      withoutGradient { value(name, shape).to(dtype, device: device, copy: true) }
    }
  }

  private func value(_ name: String, _ shape: [Int]) -> Tensor {
    let C = configuration.width
    let deviation = settings.deviation ?? (1 / Double(3 * C)).squareRoot()
    switch name.split(separator: ".").last! {
    case "scale_mul_1H11": return .full(shape, log(4))
    case "A_log": return Tensor.of(uniforms(shape[0], name).map { log(1 + 15 * $0) })
    case "dt_bias": return Tensor.of(uniforms(shape[0], name).map(Self.stepBias))
    case "D": return .ones(shape)
    case "bias", "q_bias", "v_bias": return .zeros(shape)
    case "ada_gss":
      let random = normal(shape, name) * (1 / Double(C).squareRoot())
      return scaledGains(random, axis: 2, rowsOfGain: 1)
    case "weight" where shape.count == 1: return .ones(shape)
    case "weight" where name.hasSuffix("conv1d.weight"): return normal(shape, name) * 0.02
    default: return matrix(name, normal(shape, name) * deviation)
    }
  }

  private func matrix(_ name: String, _ random: Tensor) -> Tensor {
    let perDepth = 1 / Double(2 * configuration.depth).squareRoot()
    if name == "head.weight" { return random * settings.head }
    if name == "head_nm.ada_lin.1.weight" { return random * settings.modulation }
    if name.hasSuffix("ada_lin.1.weight"), name.hasPrefix("blocks.") {
      return scaledGains(random, axis: 0, rowsOfGain: configuration.width)
    }
    if name.hasSuffix("attn.proj.weight") || name.hasSuffix("ffn.fc2.weight") {
      return random * perDepth
    }
    return random
  }

  /// Scales the rows that give gains and those that give scales and shifts.
  ///
  /// - Parameter rowsOfGain: Rows of one sublayer's gain.
  private func scaledGains(_ random: Tensor, axis: Int, rowsOfGain: Int) -> Tensor {
    let gains = (settings.gainRows == .all ? configuration.sublayers : 2) * rowsOfGain
    return .concatenate(
      [
        random.slice(axis, 0..<gains) * settings.gain,
        random.slice(axis, gains...) * settings.modulation,
      ], axis: axis)
  }

  /// The inverse of softplus at a step size between 0.001 and 0.1, uniform in its logarithm
  /// (`mamba_ssm/modules/mamba2.py`).
  private static func stepBias(_ uniform: Float) -> Float {
    let step = max(exp(Double(uniform) * log(100) + log(0.001)), 1e-4)
    return Float(step + log(-expm1(-step)))
  }

  private func normal(_ shape: [Int], _ name: String) -> Tensor {
    .randn(shape, seed: seed &+ Self.hash(name))
  }

  private func uniforms(_ count: Int, _ name: String) -> [Float] {
    PhiloxStream(seed: seed).uniforms(count, domain: Self.hash(name))
  }

  /// FNV-1a; Swift's own hashes differ from run to run.
  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}

private func log(_ x: Float) -> Float { Float(Foundation.log(Double(x))) }
