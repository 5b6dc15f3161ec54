import Foundation
import MVAR
import Pictures
import Torch

extension ModelLearner {
  /// Draws pictures with the average weights, the first classes in a row, and writes them as one.
  ///
  /// - Parameters:
  ///   - count: Pictures; the i-th has the seed i, so that sheets of a run compare.
  ///   - average: All average weights in their order; nil for the last ones.
  /// - Returns: The sheet.
  func writeSamples(_ count: Int, average: [Tensor]?, to path: String) throws -> Picture {
    let labels = (0..<count).map { $0 % configuration.classes }
    let pictures = try withTorchErrors {
      try withoutGradient {
        let sampler = Sampler(
          transformer: try model(average), tokenizer: tokenizer, labels: labels,
          seeds: (0..<UInt64(count)).map { $0 },
          settings: labels.map { _ in SamplingSettings() }, device: device)
        var fHat: Tensor?
        for scale in sampler { fHat = scale.fHat }
        return try (tokenizer.decode(fHat: fHat!) * 0.5 + 0.5).pictures()
      }
    }
    let folder = URL(filePath: path).deletingLastPathComponent().path
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw TrainingError(
        .file, "\(folder) cannot be made (\(RunFolder.reason(error))); make room for it")
    }
    let sheet = try PictureGrid().tiled(pictures)
    try sheet.write(to: path)
    return sheet
  }
}
