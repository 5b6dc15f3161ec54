import Foundation
import ModelHub

/// What a user wrote for a checkpoint: a file here, a known model, or a file of a repository.
enum ModelName {
  case file(String)
  case known(KnownModel)
  case hub(HubName)

  /// A file that is there is meant before any name.
  ///
  /// - Throws: ``CommandError`` or `HubError` for text that can be none of them.
  init(_ text: String) throws {
    if access(text, F_OK) == 0 {
      self = .file(text)
    } else if let known = ModelCatalogue.named(text) {
      self = .known(known)
    } else if text.hasPrefix("hf://") {
      self = .hub(try HubName(parsing: text))
    } else if Self.looksLikeRepository(text), let name = try? HubName(parsing: text) {
      self = .hub(name)
    } else if Self.looksLikeName(text) {
      throw CommandError(
        "\(text) is neither a file here nor a known model\(Self.suggestion(text)); `mvar models` lists "
          + "those that are known")
    } else {
      self = .file(text)
    }
  }

  /// owner/name or owner/name/file, unless it begins like a path or ends like a file of two parts.
  private static func looksLikeRepository(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count >= 2, !parts.contains(""), let first = parts.first, first != ".",
      first != "..", first != "~"
    else { return false }
    return !(parts.count == 2 && isFileName(text)) && !Files.isFolder(String(first))
  }

  private static func looksLikeName(_ text: String) -> Bool {
    !text.contains("/") && !isFileName(text) && !text.isEmpty
  }

  private static func isFileName(_ text: String) -> Bool {
    [".pth", ".pt", ".bin", ".safetensors", ".json", ".ckpt"].contains {
      text.lowercased().hasSuffix($0)
    }
  }

  private static func suggestion(_ text: String) -> String {
    let squeezed = text.lowercased().filter { $0.isLetter || $0.isNumber }
    let near = ModelCatalogue.all.first {
      $0.name.filter { $0.isLetter || $0.isNumber } == squeezed
    }
    return near.map { " (did you mean \($0.name)?)" } ?? ""
  }
}
