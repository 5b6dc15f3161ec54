import Testing
import Torch

@Suite struct ParametersTests {
  init() throws { try LibTorch.load() }

  /// Some tensors in memory.
  private final class Shelf: ParameterSource {
    struct Broken: Error {}

    let tensors: [String: Tensor]
    let broken: Set<String>
    var names: [String]? { tensors.keys.sorted() }

    init(_ shapes: [String: [Int]], broken: Set<String> = []) {
      tensors = shapes.mapValues { .ones($0) }
      self.broken = broken
    }

    func shape(of name: String, expected: [Int]) -> [Int]? { tensors[name]?.shape }

    func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
      if broken.contains(name) { throw Broken() }
      return tensors[name]!.to(dtype, device: device)
    }
  }

  private func parameters(_ source: any ParameterSource, _ dtype: DType = .float32) -> Parameters {
    Parameters(source, dtype: dtype, device: .cpu)
  }

  @Test func placesMakeDottedNames() throws {
    let root = parameters(Shelf(["blocks.3.attn.weight": [2], "top": [1]]))
    let attention = root / "blocks" / 3 / "attn"
    #expect(attention.path == "blocks.3.attn" && root.path == "")
    #expect(attention.has("weight") && !attention.has("bias") && !root.has("weight"))
    #expect(attention.shape(of: "weight") == [2] && root.shape(of: "top") == [1])
    #expect(try attention.tensor("weight", 2).elements(as: Float.self) == [1, 1])
  }

  @Test func tensorsComeInTheScopesTypeUnlessToldOtherwise() {
    let root = parameters(Shelf(["x": [2]]), .bfloat16)
    #expect(root.tensor("x", 2).dtype == .bfloat16)
    #expect(root.tensor("x", 2, dtype: .float32).dtype == .float32)
    #expect((root / "y").dtype == .bfloat16)
  }

  @Test func everythingThatDoesNotFitIsReportedAtOnce() {
    let root = parameters(Shelf(["a.x": [2], "a.y": [3, 2], "b.z": [1], "c": [1], "d": [1]]))
    let a = root / "a"
    _ = a.tensor("x", 2)
    #expect(a.tensor("y", 2, 3).shape == [2, 3])
    #expect(a.tensor("w", 4, 5, dtype: .float64).shape == [4, 5])
    root.skip("c")
    let report = #expect(throws: ParameterReport.self) {
      try root.finish(ignoring: { $0 == "d" })
    }
    #expect(report?.missing == ["a.w"])
    #expect(report?.misshapen.map(\.name) == ["a.y"])
    #expect(report?.misshapen.map { [$0.found, $0.expected] } == [[[3, 2], [2, 3]]])
    #expect(report?.unexpected == ["b.z"])
    #expect(
      report?.description
        == "missing: a.w; misshapen: a.y is [3, 2] and should be [2, 3]; unexpected: b.z")
  }

  @Test func longListsAreCut() {
    let root = parameters(Shelf([:]))
    for index in 0..<7 { _ = (root / index).tensor("w", 1) }
    let report = #expect(throws: ParameterReport.self) { try root.finish() }
    #expect(report?.missing.count == 7)
    #expect(report?.description == "missing: 0.w, 1.w, 2.w, 3.w and 3 more")
  }

  @Test func whatTheSourceThrowsComesOut() {
    let root = parameters(Shelf(["x": [1], "y": [1]], broken: ["x"]))
    #expect(root.tensor("x", 1).shape == [1])
    _ = root.tensor("z", 1)
    #expect(throws: Shelf.Broken.self) { try root.finish() }
  }

  @Test func whatFitsIsNotReported() throws {
    let root = parameters(Shelf(["x": [1], "y": []]))
    _ = root.tensor("x", 1)
    #expect(root.tensor("y").shape == [])
    try root.finish()
  }
}
