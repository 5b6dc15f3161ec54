import Testing
import Torch

@Suite struct GradientTests {
  init() throws { try LibTorch.load() }

  private func leaf(_ elements: [Double], _ shape: [Int]? = nil) -> Tensor {
    let x = Tensor.of(elements, shape: shape)
    x.setRequiresGradient()
    return x
  }

  @Test func gradientsAddUpUntilTheyAreCleared() throws {
    let x = leaf([1, 2, 3])
    #expect(x.gradient == nil)
    (x * x).sum(0).backward()
    #expect(try x.gradient!.elements(as: Double.self) == [2, 4, 6])
    (x * 3).backward(Tensor.of([1, 0, 2] as [Double]))
    #expect(try x.gradient!.elements(as: Double.self) == [5, 4, 12])
    x.gradient = nil
    #expect(x.gradient == nil)
  }

  @Test func aDifferenceQuotientAgrees() throws {
    let x = Tensor.randn([3, 4], seed: 1).to(.float64)
    let weight = Tensor.randn([5, 4], seed: 2).to(.float64)
    func loss(_ x: Tensor) -> Tensor { x.linear(weight).silu().softmax(1).power(2).sum(0, 1) }
    x.setRequiresGradient()
    let gradient = try loss(x).gradients(of: [x])[0]!.elements(as: Double.self)
    let direction = Tensor.randn([3, 4], seed: 3).to(.float64)
    let h = 1e-5
    let quotient = try withoutGradient {
      (try loss(x + direction * h).item() - loss(x - direction * h).item()) / (2 * h)
    }
    let along = zip(gradient, try direction.elements(as: Double.self)).reduce(0) {
      $0 + $1.0 * $1.1
    }
    #expect(abs(along - quotient) < 1e-9)
    #expect(x.gradient == nil)
  }

  @Test func nothingIsRecordedWithoutGradient() {
    let x = leaf([1])
    #expect(!withoutGradient { x * 2 }.requiresGradient)
    #expect((x * 2).requiresGradient)
    #expect(!(x * 2).detached().requiresGradient)
    #expect(withoutGradient { withGradient { x * 2 } }.requiresGradient)
    #expect((x * 2).requiresGradient)
  }

  @Test func aTensorThatNothingDependsOnHasNoGradient() {
    let (x, y) = (leaf([1]), leaf([1]))
    #expect((x * 2).gradients(of: [x, y]).map { $0 != nil } == [true, false])
  }

  @Test func aGraphServesOnceUnlessItIsKept() throws {
    let x = leaf([2])
    let y = (x * x).sum(0)
    y.backward(keepingGraph: true)
    y.backward()
    #expect(try x.gradient!.item() == 8)
    #expect(throws: TorchError.self) { try withTorchErrors { y.backward() } }
  }

  @Test(arguments: [0, 0.1]) func crossEntropyIsThatOfItsDefinition(smoothing: Double) throws {
    let logits = Tensor.randn([6, 10], seed: 4).to(.float64)
    let targets = [0, 9, 3, 3, 7, 1]
    let log = logits.softmax(1).log()
    let expected = try targets.enumerated().map { row, target in
      let row = try log[row].elements(as: Double.self)
      return -(1 - smoothing) * row[target] - smoothing * row.reduce(0, +) / 10
    }
    let actual = try logits.crossEntropy(.of(targets), smoothing: smoothing)
      .elements(as: Double.self)
    for (a, b) in zip(actual, expected) { #expect(abs(a - b) < 1e-12) }
  }

  @Test func aMaskHasItsShareOfOnes() throws {
    let mask = Tensor.bernoulli([100, 100], 0.3, seed: 5)
    // Five standard deviations of the mean of 10,000 draws.
    #expect(abs(try mask.mean(0, 1).item() - 0.3) < 5 * (0.3 * 0.7).squareRoot() / 100)
    #expect(try mask.isEqual(to: .bernoulli([100, 100], 0.3, seed: 5)))
    #expect(try !mask.isEqual(to: .bernoulli([100, 100], 0.3, seed: 6)))
  }

  @Test func finiteElementsAreTold() throws {
    let x = Tensor.of([1, .infinity, .nan, -3] as [Float]).isFinite()
    #expect(try x.to(.int64).elements(as: Int.self) == [1, 0, 0, 1])
  }
}

@Suite struct CustomGradientTests {
  init() throws { try LibTorch.load() }

  /// x y and its gradients, by hand.
  private func product(_ x: Tensor, _ y: Tensor) -> Tensor {
    let (a, b) = (x.detached(), y.detached())
    return withCustomGradient(of: [x, y]) {
      [x * y]
    } backward: { gradients in
      gradients[0].map { [$0 * b, $0 * a] } ?? [nil, nil]
    }[0]
  }

  @Test func flowIntoTheGraphBefore() throws {
    let (x, y) = (Tensor.of([2, 3] as [Float]), Tensor.of([5, 7] as [Float]))
    for leaf in [x, y] { leaf.setRequiresGradient() }
    (product(x * x, y) * 2).sum(0).backward()
    #expect(try x.gradient!.elements(as: Float.self) == [40, 84])
    #expect(try y.gradient!.elements(as: Float.self) == [8, 18])
  }

  @Test func areNotAskedForWhereNothingIsRecorded() {
    let x = Tensor.ones([2])
    #expect(!product(x, x).requiresGradient)
    x.setRequiresGradient()
    #expect(!withoutGradient { product(x, x) }.requiresGradient)
  }

  @Test func mayComputeAgainWhatTheyDidNotKeep() throws {
    let x = Tensor.of([0.5, -1] as [Float])
    x.setRequiresGradient()
    let kept = x.detached()
    let y = withCustomGradient(of: [x]) {
      [x.exp().sigmoid()]
    } backward: { gradients in
      let leaf = kept.detached()
      leaf.setRequiresGradient()
      return withGradient { leaf.exp().sigmoid() }.gradients(of: [leaf], from: gradients[0])
    }[0]
    y.sum(0).backward()
    let plain = x.detached()
    plain.setRequiresGradient()
    plain.exp().sigmoid().sum(0).backward()
    #expect(try x.gradient!.isEqual(to: plain.gradient!))
  }

  /// Linear layers give views of matrices, and outputs may be views of a new tensor too.
  @Test func mayBeOfViews() throws {
    let (x, weight) = (Tensor.randn([2, 3, 4], seed: 1), Tensor.randn([5, 4], seed: 2))
    let bias = Tensor.randn([5], seed: 3)
    for leaf in [x, weight, bias] { leaf.setRequiresGradient() }
    let expected = (x.linear(weight, bias) * x.linear(weight)).sum(0, 1, 2).gradients(of: [x])[0]!
    let (w, b) = (weight.detached(), bias.detached())
    let outputs = withCustomGradient(of: [x]) {
      let y = x.detached().linear(w)
      return [x.detached().linear(w, b), y.reshape(3, 2, 5).select(1, 0), y]
    } backward: { gradients in
      [gradients[0]!.matmul(w) + gradients[2]!.matmul(w)]
    }
    let found = (outputs[0] * outputs[2]).sum(0, 1, 2).gradients(of: [x])[0]!
    #expect(try (found - expected).absolute().reshape(-1).max(0).item() < 1e-4)
  }

  @Test func passTheirErrorsOn() throws {
    struct Refusal: Error, CustomStringConvertible { let description = "no gradient today" }
    let x = Tensor.ones([1])
    x.setRequiresGradient()
    let y = withCustomGradient(of: [x]) {
      [x * 2]
    } backward: { _ in
      throw Refusal()
    }[0]
    let error = #expect(throws: TorchError.self) { try withTorchErrors { y.backward() } }
    #expect(error?.message.contains("no gradient today") == true)
  }

  @Test func letGoOfWhatTheyCaptured() {
    final class Witness {}
    weak var seen: Witness?
    do {
      let x = Tensor.ones([1])
      x.setRequiresGradient()
      let witness = Witness()
      seen = witness
      let y = withCustomGradient(of: [x]) {
        [x * 2]
      } backward: { [witness] gradients in
        withExtendedLifetime(witness) { [gradients[0].map { $0 * 2 }] }
      }[0]
      y.backward()
    }
    #expect(seen == nil)
  }
}
