import ArgumentParser
import FeatureNetworks
import MVAR
import MVAREvaluation
import Pictures

/// Which network's features stand for pictures.
struct NetworkFlags: ParsableArguments {
  enum Network: String, CaseIterable, ExpressibleByArgument {
    case auto, inception
    case efficientNetLite0 = "efficientnet-lite0"
  }

  @Option(
    help: """
      inception (FID as published), efficientnet-lite0 (a distance of its own that needs no further \
      file) or auto: Inception if its file is given or found.
      """)
  var network = Network.auto

  @Option(
    help: """
      The weights of FID's Inception, pt_inception-2015-12-05-6726825d.pth. (default: looked for in \
      the cache of torch.hub)
      """)
  var inception: String?

  @Option(help: "The weights of EfficientNet-Lite0. (default: where `make networks` puts them)")
  var efficientnet: String?

  @Flag(help: "Take weights of another digest; the distance is then not called FID.")
  var anyWeights = false

  @Option(
    help: """
      How pictures become Inception's input: tensorflow, as in all published figures, or pytorch-fid.
      """)
  var preprocessing = InceptionV3.Preprocessing.tensorFlow

  @Flag(
    inversion: .prefixedNo, help: "Let a GPU multiply in TF32 inside the network, as PyTorch does.")
  var tf32 = true

  @Option(
    parsing: .unconditional,
    help: "Pictures that the network looks at together. (default: 32 on a CPU, 256 on a GPU)")
  var measureBatch: Int?

  func validate() throws {
    try checkPositive(measureBatch, "measure-batch", atMost: 65_536)
  }

  /// The files of weights that are named or found.
  var files: [String] {
    [
      inception ?? NetworkFile.found(.inception),
      efficientnet ?? NetworkFile.found(.efficientNetLite0),
    ].compactMap { $0 }
  }

  /// Looks for the weights and checks them.
  func choice(_ console: Console) throws -> NetworkChoice {
    switch network {
    case .inception: return try inceptionChoice()
    case .efficientNetLite0: return try efficientNetChoice()
    case .auto:
      if inception != nil || NetworkFile.found(.inception) != nil { return try inceptionChoice() }
      let choice = try efficientNetChoice()
      console.note(
        "without FID's Inception (--inception) the distance is \(choice.identity.metric), which "
          + "compares with no published FID")
      return choice
    }
  }

  private func inceptionChoice() throws -> NetworkChoice {
    .inception(
      try NetworkFile(.inception, path: inception, acceptsAnyDigest: anyWeights),
      preprocessing: preprocessing)
  }

  private func efficientNetChoice() throws -> NetworkChoice {
    .efficientNetLite0(try efficientNetFile())
  }

  func efficientNetFile() throws -> NetworkFile {
    try NetworkFile(.efficientNetLite0, path: efficientnet, acceptsAnyDigest: anyWeights)
  }
}

extension InceptionV3.Preprocessing: ExpressibleByArgument {}

/// Which figures to compute.
struct MetricFlags: ParsableArguments {
  @Flag(help: "Leave out precision, recall and KID, which compare every picture with every other.")
  var distancesOnly = false

  @Option(
    parsing: .unconditional,
    help: "Give the distance a 95 % confidence interval from so many resamples, say 100.")
  var bootstrap = 0

  func validate() throws {
    guard bootstrap >= 0, bootstrap != 1 else {
      throw ValidationError("bootstrap is \(bootstrap); use 2 or more, or 0 for no interval")
    }
    try checkPositive(max(bootstrap, 1), "bootstrap", atMost: 100_000)
  }

  var comparison: Evaluator.Comparison {
    var comparison = Evaluator.Comparison()
    (comparison.neighbours, comparison.kernel) = (!distancesOnly, !distancesOnly)
    comparison.resamples = bootstrap
    return comparison
  }

  var needsFeatures: Bool { !distancesOnly || bootstrap > 0 }
}

/// How the pictures of folders become one size.
struct FittingFlags: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: "Bring pictures to this side in pixels. (default: they have one size already)")
  var size: Int?

  @Option(help: "How: crop resizes and cuts as in training, pad keeps all, stretch distorts.")
  var fit: PictureFit = .crop

  func validate() throws { try checkPositive(size, "size", atMost: 16_384) }

  var fitting: PictureFolder.Fitting? { size.map { .init(side: $0, fit: fit) } }
}
