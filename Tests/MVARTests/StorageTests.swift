import CheckpointFormats
import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Tensors in every type and layout that `torch.save` writes.
@Suite struct StorageTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [
    ("float64", DType.float64), ("float32", .float32), ("float16", .float16),
    ("bfloat16", .bfloat16), ("int64", .int64), ("int32", .int32), ("int16", .int16),
    ("int8", .int8), ("uint8", .uint8), ("transposed", .float32), ("columns", .float32),
    ("shared", .float32), ("parameter", .float32),
  ])
  func reads(_ name: String, _ dtype: DType) throws {
    let checkpoint = try Checkpoint(CheckpointFixture.layouts)
    let stored = try #require(checkpoint.tensors.first { $0.name == name })
    let source = CheckpointSource(file: checkpoint.file, tensors: checkpoint.tensors)
    let tensor = try source.read(stored) { $0.clone() }
    #expect(tensor.dtype == dtype && tensor.shape == [2, 3])
    #expect(try tensor.elements(as: Double.self) == [0, 1, 2, 3, 4, 5])
    let wanted = try source.tensor(name, shape: [2, 3], dtype: .bfloat16, device: .cpu)
    #expect(wanted.dtype == .bfloat16)
    #expect(try wanted.elements(as: Double.self) == [0, 1, 2, 3, 4, 5])
  }

  @Test func readsTruthValues() throws {
    let checkpoint = try Checkpoint(CheckpointFixture.layouts)
    let source = CheckpointSource(file: checkpoint.file, tensors: checkpoint.tensors)
    let tensor = try source.tensor("bool", shape: [2, 3], dtype: .int64, device: .cpu)
    #expect(try tensor.elements(as: Int.self) == [0, 0, 0, 1, 1, 1])
  }

  @Test func someOfThemHaveGaps() throws {
    let checkpoint = try Checkpoint(CheckpointFixture.layouts)
    let strides = Dictionary(
      uniqueKeysWithValues: checkpoint.tensors.map { ($0.name, $0.strides) })
    #expect(strides["transposed"] == [1, 2] && strides["columns"] == [6, 2])
    #expect(checkpoint.tensors.first { $0.name == "shared" }?.storageOffset == 3)
  }

  @Test(arguments: [DType.float32, .bfloat16, .float16, nil])
  func conversionKeepsValuesAndNames(_ dtype: DType?) throws {
    let folder = try TemporaryFolder()
    let checkpoint = try Checkpoint(CheckpointFixture.layouts)
    var progress: [Int] = []
    try checkpoint.convert(to: folder.file("x"), dtype: dtype) { done, all in
      progress.append(done)
      #expect(all == checkpoint.tensors.count)
    }
    #expect(progress == Array(1...checkpoint.tensors.count))
    let converted = try Checkpoint(folder.file("x"))
    #expect(Set(converted.tensors.map(\.name)) == Set(checkpoint.tensors.map(\.name)))
    let source = CheckpointSource(file: converted.file, tensors: converted.tensors)
    for (old, new) in checkpoint.tensors.map({ old in
      (old, converted.tensors.first { $0.name == old.name }!)
    }) {
      let type = DType(old.elementType)
      #expect(DType(new.elementType) == (type.isFloatingPoint ? dtype ?? type : type))
      let expected: [Double] = old.name == "bool" ? [0, 0, 0, 1, 1, 1] : [0, 1, 2, 3, 4, 5]
      #expect(try source.read(new) { try $0.elements(as: Double.self) } == expected)
    }
  }

  /// safetensors may begin a tensor at any byte.
  @Test func elementsNeedNotBeAligned() throws {
    let folder = try TemporaryFolder()
    let header =
      #"{"x":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},"#
      + #""y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
    var bytes = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Data($0) }
    bytes += Data(header.utf8) + [7]
    for value in [1.5, -2 as Float] {
      withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += Data($0) }
    }
    let checkpoint = try Checkpoint(folder.write(bytes, to: "odd.safetensors"))
    let source = CheckpointSource(file: checkpoint.file, tensors: checkpoint.tensors)
    let x = try source.tensor("x", shape: [2], dtype: .float32, device: .cpu)
    #expect(try x.elements(as: Float.self) == [1.5, -2])
  }
}
