import Foundation
import MVAR
import Torch

/// The files with the weights of ``LPIPS``, which users fetch themselves: torchvision's
/// `vgg16-397923af.pth` and `weights/v0.1/vgg.pth` of the PyPI package `lpips`, or one that has both.
public struct LPIPSFiles: Sendable, Hashable {
  /// Where a part of the distance lies.
  struct Part: Sendable, Hashable {
    let file: String
    /// The dotted path of the part in the file.
    let path: String
  }

  let convolutions: Part
  let naming: VGG16.Naming
  let linear: Part

  private static let firstLinear = "lin0.model.1.weight"
  private static let spelling = "VGG_FILE,LINEAR_FILE"

  /// Looks into the files for the two parts; their order does not matter.
  ///
  /// The parts may lie deeper in a file, as in a checkpoint of VQGAN.
  ///
  /// - Parameter files: One that has both parts, or two.
  /// - Throws: `MVARError` where a part is in none of them, and `CheckpointFormatError` where a file
  ///   cannot be read.
  public init(_ files: [String]) throws {
    let contents = try files.map { (file: $0, names: try Checkpoint($0).tensors.map(\.name)) }
    func part(_ first: String) -> Part? {
      contents.lazy.compactMap { file, names in
        Self.path(of: first, in: names).map { Part(file: file, path: $0) }
      }.first
    }
    let all = files.joined(separator: " and ")
    let found = VGG16.Naming.allCases.lazy.compactMap { naming in
      part(naming.first).map { (naming, $0) }
    }.first
    guard let found else {
      throw MVARError(
        .checkpoint,
        "\(all): no convolutions of VGG16 (\(VGG16.Naming.torchvision.first) or "
          + "\(VGG16.Naming.slices.first)); name torchvision's vgg16-397923af.pth too, as "
          + Self.spelling)
    }
    guard let linear = part(Self.firstLinear) else {
      throw MVARError(
        .checkpoint,
        "\(all): no linear layers of LPIPS (\(Self.firstLinear)); name weights/v0.1/vgg.pth of the "
          + "PyPI package lpips too, as \(Self.spelling)")
    }
    (naming, convolutions) = found
    self.linear = linear
  }

  /// - Parameter text: `VGG_FILE,LINEAR_FILE`, or one file that has both.
  /// - Throws: `MVARError` and `CheckpointFormatError` as the other initialiser, and where the text names
  ///   neither one file nor two.
  public init(parsing text: String) throws {
    let isOne = FileManager.default.fileExists(atPath: text)
    let files =
      isOne
      ? [text] : text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard files.count <= 2, files.allSatisfy({ !$0.isEmpty }) else {
      throw MVARError(
        .invalidValue,
        "LPIPS's files are \(text.isEmpty ? "empty" : text); write \(Self.spelling), or one file that "
          + "has the weights of both")
    }
    // A shell expands no ~ in the middle of a word.
    try self.init(files.map { NSString(string: $0).expandingTildeInPath })
  }

  /// The path before a name, if a tensor's name ends in that name.
  private static func path(of name: String, in names: [String]) -> String? {
    if names.contains(name) { return "" }
    return names.first { $0.hasSuffix(".\(name)") }.map { String($0.dropLast(name.count + 1)) }
  }
}

extension LPIPS {
  /// Loads the distance, ready to be differentiated through.
  ///
  /// - Throws: `MVARError` naming what in a file is missing or misshapen.
  public static func load(_ files: LPIPSFiles, device: Device = .cpu) throws -> LPIPS {
    let weights = try files.linear.build(
      "LPIPS's linear layers for VGG16", device,
      mend: "name weights/v0.1/vgg.pth of the PyPI package lpips", LPIPS.weights)
    let network = try files.convolutions.build(
      "VGG16", device, mend: "name torchvision's vgg16-397923af.pth"
    ) { VGG16($0, naming: files.naming) }
    return LPIPS(network, weights: weights, device: device)
  }
}

extension LPIPSFiles.Part {
  /// Other tensors of the file are left alone.
  fileprivate func build<Network>(
    _ name: String, _ device: Device, mend: String, _ make: (Parameters) -> Network
  ) throws -> Network {
    try networkFromFile(file, name, device, mend: mend, ignoring: { _ in true }) {
      make($0 / path)
    }
  }
}
