import CheckpointFormats
import FeatureNetworks
import Foundation
import MVAR
import Testing
import Torch
import TorchTestSupport

@Suite struct InceptionTests {
  init() throws { try LibTorch.load() }

  private func network(folded: Bool = true) throws -> InceptionV3 {
    let parameters = Parameters(FormulaSource(), dtype: .float32, device: .cpu)
    let network = InceptionV3(parameters, folded: folded)
    try parameters.finish()
    return network
  }

  /// The bound is the one that figures of a paper need.
  @Test func agreesWithTorchFidelity() throws {
    let bytes = Tensor.bytes(of: Expected.pictures(0..<3), device: .cpu)
    let output = try network()(bytes)
    let expected = try Expected.tensor("real.pooled").slice(0, 0..<3)
    #expect(try relativeDistance(output.pooled, expected) < 1e-4)
    #expect(try relativeDistance(output.spatial, Expected.tensor("real.spatial")) < 1e-4)
    #expect(try relativeDistance(output.logits, Expected.tensor("real.logits")) < 1e-4)
  }

  @Test func agreesWithPyTorchFID() throws {
    let bytes = Tensor.bytes(of: Expected.pictures(0..<2), device: .cpu)
    let output = try network()(bytes, preprocessing: .pytorchFID)
    let expected = try Expected.tensor("real.pytorch_fid").slice(0, 0..<2)
    #expect(try relativeDistance(output.pooled, expected) < 1e-4)
  }

  @Test func foldingChangesNothing() throws {
    let bytes = Tensor.bytes(of: Expected.pictures(3..<4), device: .cpu)
    let (fast, plain) = (try network()(bytes), try network(folded: false)(bytes))
    #expect(try relativeDistance(fast.pooled, plain.pooled) < 2e-5)
    #expect(try relativeDistance(fast.spatial, plain.spatial) < 2e-5)
    #expect(try relativeDistance(fast.logits, plain.logits) < 2e-5)
  }
}

@Suite struct NetworkFileTests {
  init() throws { try LibTorch.load() }

  @Test func anotherDigest() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID()).safetensors").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try TensorFile.write([("fc.weight", .zeros([1008, 2048], dtype: .uint8))], to: path)
    let error = #expect(throws: MVARError.self) { try NetworkFile(.inception, path: path) }
    #expect(error?.description.contains("6726825d0af5f729…") == true)
    #expect(error?.description.contains("pytorch-fid") == true)
    let file = try NetworkFile(.inception, path: path, acceptsAnyDigest: true)
    let misfit = #expect(throws: MVARError.self) { _ = try InceptionV3.load(file) }
    #expect(misfit?.description.contains("missing: Conv2d_1a_3x3.conv.weight") == true)
  }

  @Test func aMissingFile() {
    #expect(throws: CheckpointFormatError.self) {
      try NetworkFile(.inception, path: "/nowhere/inception.pth")
    }
  }
}
