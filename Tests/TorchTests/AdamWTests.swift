import Testing
import Torch

@Suite struct AdamWTests {
  init() throws { try LibTorch.load() }

  /// The same in plain arithmetic, element by element.
  private struct Reference {
    var x: [Double]
    var m: [Double]
    var v: [Double]

    mutating func step(_ g: [Double], _ t: Int, rate: Double, decay: Double) {
      for i in x.indices {
        m[i] = 0.9 * m[i] + 0.1 * g[i]
        v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i]
        let mean = m[i] / (1 - power(0.9, t))
        let square = v[i] / (1 - power(0.95, t))
        x[i] = x[i] * (1 - rate * decay) - rate * mean / (square.squareRoot() + 1e-8)
      }
    }

    private func power(_ base: Double, _ exponent: Int) -> Double {
      (0..<exponent).reduce(1) { product, _ in product * base }
    }
  }

  @Test func stepsAsItsFormulaSays() throws {
    let shapes = [[3, 7], [40], [2, 2, 2]]
    let parameters = shapes.enumerated().map { Tensor.randn($1, seed: UInt64($0)) }
    var references = try parameters.map {
      let x = try $0.elements(as: Double.self)
      return Reference(x: x, m: x.map { _ in 0 }, v: x.map { _ in 0 })
    }
    for parameter in parameters { parameter.setRequiresGradient() }
    let optimizer = AdamW(
      [.init([parameters[0]]), .init([parameters[1], parameters[2]], decayScale: 0)],
      betas: (0.9, 0.95))
    for t in 1...4 {
      for (index, parameter) in parameters.enumerated() {
        let gradient = Tensor.randn(shapes[index], seed: UInt64(10 * t + index))
        parameter.gradient = gradient
        references[index].step(
          try gradient.elements(as: Double.self), t, rate: 0.01 * Double(t),
          decay: index == 0 ? 0.05 : 0)
      }
      optimizer.step(rate: 0.01 * Double(t), weightDecay: 0.05)
    }
    for (parameter, reference) in zip(parameters, references) {
      for (a, b) in zip(try parameter.elements(as: Double.self), reference.x) {
        #expect(abs(a - b) < 1e-6)
      }
    }
  }

  @Test func aParameterWithoutGradientStays() throws {
    let (x, y) = (Tensor.ones([2]), Tensor.ones([2]))
    let optimizer = AdamW([.init([x, y])])
    x.gradient = .ones([2])
    optimizer.step(rate: 0.1, weightDecay: 0.5)
    #expect(try y.isEqual(to: .ones([2])))
    #expect(try !x.isEqual(to: .ones([2])))
    #expect(optimizer.gradients.count == 1)
    optimizer.clearGradients()
    #expect(optimizer.gradients.isEmpty)
  }

  @Test func aSkippedStepChangesNothing() throws {
    let x = Tensor.ones([3])
    let optimizer = AdamW([.init([x])])
    x.gradient = .full([3], .nan)
    optimizer.step(rate: 0.1, weightDecay: 0.5, skip: .ones([]))
    #expect(try x.isEqual(to: .ones([3])))
    #expect(try optimizer.means[0][0].isEqual(to: .zeros([3])))
  }

  @Test(arguments: [(2.0, 2.0), (100.0, 13.0)]) func clips(limit: Double, length: Double) throws {
    let tensors = [Tensor.of([3, 4] as [Float]), Tensor.of([12] as [Float])]
    let before = try tensors.clipInPlace(to: limit).item()
    #expect(before == 13)
    let after = try tensors.norms().power(2).sum(0).power(0.5).item()
    #expect(abs(after - length) < 1e-5)
  }

  @Test func movesTowards() throws {
    let x = [Tensor.zeros([2]), .ones([1])]
    x.moveInPlace(towards: [.ones([2]), .full([1], 3)], by: 0.25)
    #expect(try x[0].elements(as: Float.self) == [0.25, 0.25])
    #expect(try x[1].elements(as: Float.self) == [1.5])
  }
}
