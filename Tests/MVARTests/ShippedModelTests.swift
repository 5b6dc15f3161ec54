import Foundation
import Pictures
import Testing
import TorchTestSupport

@testable import MVAR

/// The small trained model of the repository, `Models/emoji`.
@Suite struct ShippedModelTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Models/emoji").path

  @Test func itsClassesHaveNames() throws {
    let checkpoint = try Checkpoint("\(Self.folder)/model.safetensors")
    let names = try #require(try checkpoint.transformerConfiguration().classNames)
    #expect(names.count == 30 && names[8] == "cat face")
  }

  @Test func namesSurviveConversion() throws {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "names-\(UUID().uuidString).safetensors").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Checkpoint("\(Self.folder)/model.safetensors").convert(to: path, dtype: .bfloat16)
    #expect(try Checkpoint(path).transformerConfiguration().classNames?.count == 30)
  }

  /// Hearts of this model are of one saturated colour in the middle, on white.
  @Test func drawsAHeart() async throws {
    let generator = try await ImageGenerator(
      model: "\(Self.folder)/model.safetensors", tokenizer: "\(Self.folder)/tokenizer.safetensors",
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    let heart = try #require(generator.configuration.classNames?.firstIndex(of: "heart"))
    let picture = try await generator.pictures([ImageRequest(label: heart, seed: 7)])[0]
    #expect(picture.width == 96 && picture.height == 96)
    func mean(_ columns: Range<Int>, _ rows: Range<Int>) -> [Double] {
      (0..<3).map { channel in
        let values = rows.flatMap { row in
          columns.map { Double(picture.pixels[(row * 96 + $0) * 3 + channel]) }
        }
        return values.reduce(0, +) / Double(values.count)
      }
    }
    let corner = mean(0..<6, 90..<96)
    let middle = mean(36..<60, 36..<60)
    #expect(corner.allSatisfy { $0 > 240 }, "\(corner)")
    #expect(middle.min()! < 200, "\(middle)")
  }
}
