import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// A model in several safetensors files with an index.
@Suite struct ShardedCheckpointTests {
  init() throws { try LibTorch.load() }

  /// Splits the tokenizer over `count` files and gives the index's path.
  private func shards(_ count: Int, in folder: TemporaryFolder) throws -> String {
    let tensors = try CheckpointFixture.tensors(.tokenizer)
    var map: [String: String] = [:]
    for shard in 0..<count {
      let name = "part-\(shard).safetensors"
      let part = tensors.indices.filter { $0 % count == shard }.map { tensors[$0] }
      try TensorFile.write(part, to: folder.file(name))
      for (key, _) in part { map[key] = name }
    }
    let index = try JSONEncoder().encode(["weight_map": map])
    return try folder.write(index, to: "vae.safetensors.index.json")
  }

  @Test(arguments: [1, 3]) func shardsEqualOneFile(_ count: Int) throws {
    let folder = try TemporaryFolder()
    let sharded = try Checkpoint(shards(count, in: folder))
    try sharded.convert(to: folder.file("one.safetensors"))
    let schedule = try ScaleSchedule(parsing: "1,2")
    let image = Tensor.randn([1, 3, 2, 2], seed: 1)
    let outputs = try [
      Checkpoint(CheckpointFixture.training), sharded, Checkpoint(folder.file("one.safetensors")),
    ].map { checkpoint in
      let tokenizer = try Tokenizer.load(checkpoint)
      return try withInferenceMode {
        try tokenizer.decode(tokenizer.encode(image, schedule: schedule))
      }
    }
    #expect(try outputs[0].isEqual(to: outputs[1]))
    #expect(try outputs[0].isEqual(to: outputs[2]))
  }

  @Test func theDigestIsOfAllShards() throws {
    let folder = try TemporaryFolder()
    let index = try shards(2, in: folder)
    let whole = try Checkpoint.digest(index)
    #expect(whole.count == 64)
    var bytes = try Data(contentsOf: URL(filePath: folder.file("part-1.safetensors")))
    bytes[bytes.count - 1] ^= 1
    _ = try folder.write(bytes, to: "part-1.safetensors")
    #expect(try Checkpoint.digest(index) != whole)
  }

  @Test func aMissingShardIsNamed() throws {
    let folder = try TemporaryFolder()
    let index = try shards(2, in: folder)
    try FileManager.default.removeItem(atPath: folder.file("part-1.safetensors"))
    let error = #expect(throws: (any Error).self) { _ = try Checkpoint(index) }
    expectLine(error, index, "part-1.safetensors", "put all shards beside the index")
  }
}
