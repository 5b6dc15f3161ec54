import StateSpace
import Testing
import Torch
import TorchTestSupport

/// Gradients of the scan, which training runs over whole pyramids of tokens.
@Suite struct ScanGradientTests {
  init() throws { try LibTorch.load() }

  private func leaves(_ B: Int, _ L: Int, _ H: Int, _ P: Int, _ N: Int) -> [Tensor] {
    withoutGradient {
      let leaves = [
        Tensor.randn([B, L, H, P], seed: 1).to(.float64),
        Tensor.randn([B, L, H], seed: 2).to(.float64).softplus(),
        -Tensor.randn([H], seed: 3).to(.float64).exp(),
        Tensor.randn([B, L, N], seed: 4).to(.float64),
        Tensor.randn([B, L, N], seed: 5).to(.float64),
      ]
      for leaf in leaves { leaf.setRequiresGradient() }
      return leaves
    }
  }

  private func input(_ x: [Tensor]) -> ScanInput {
    ScanInput(x: x[0], dt: x[1], a: x[2], b: x[3], c: x[4])
  }

  /// The chunked scan in float32 against the recurrence in the same precision, token by token.
  @Test(arguments: [(1, 4), (65, 64), (130, 64), (97, 32)])
  func areThoseOfTheRecurrence(L: Int, chunk: Int) throws {
    let leaves = leaves(2, L, 3, 4, 5).map { leaf in
      withoutGradient {
        let single = leaf.to(.float32)
        single.setRequiresGradient()
        return single
      }
    }
    let weight = Tensor.randn([2, L, 3, 4], seed: 6)
    let fast = (selectiveScan(input(leaves), chunk: chunk, needsState: false).y * weight)
      .sum(0, 1, 2, 3).gradients(of: leaves)
    let slow = (selectiveScanReference(input(leaves)).y * weight)
      .sum(0, 1, 2, 3).gradients(of: leaves)
    for (fast, slow) in zip(fast, slow) {
      // A gradient sums over tokens; that of `a` over all of them.
      let allowed = try tolerance(.float32, roundings: 64, of: slow!)
      #expect(try distance(fast!, slow!) < allowed)
    }
  }

  /// What is computed once more in the backward pass against what is kept, over the pyramids of 256
  /// and 512 pixels.
  @Test(arguments: [680, 2240]) func areTheSameWhenComputedAgain(L: Int) throws {
    let x = withoutGradient { Tensor.randn([1, L, 64], seed: 7) }
    func gradients(keepsState: Bool) -> [Tensor?] {
      let source = LeafSource()
      let mamba = Mamba2(
        Parameters(source, dtype: .float32, device: .cpu, purpose: .training), width: 64)
      var state: Mamba2State?
      let y = mamba(x, state: &state, keepsState: keepsState)
      return (y * Tensor.randn([1, L, 64], seed: 8)).sum(0, 1, 2).gradients(of: source.leaves)
    }
    // A layer that keeps its state is recorded operation by operation.
    let kept = gradients(keepsState: true)
    let again = gradients(keepsState: false)
    #expect(kept.count == 8)
    for (kept, again) in zip(kept, again) {
      let allowed = try tolerance(.float32, roundings: 32, of: kept!)
      #expect(try distance(again!, kept!) <= allowed)
    }
  }

  /// Random parameters, each a leaf.
  private final class LeafSource: ParameterSource {
    private let random = RandomSource(seed: 9)
    private(set) var leaves: [Tensor] = []
    var names: [String]? { nil }
    func shape(of name: String, expected: [Int]) -> [Int]? { expected }
    func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
      let leaf = try random.tensor(name, shape: shape, dtype: dtype, device: device)
      leaf.setRequiresGradient()
      leaves.append(leaf)
      return leaf
    }
  }
}
