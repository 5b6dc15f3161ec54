import ArgumentParser
import MVAR
import Pictures

/// The sizes of the token maps, which a tokenizer's file may not tell.
enum Scales {
  /// The published schedules go by their resolution.
  static func parse(_ text: String) throws(MVARError) -> ScaleSchedule {
    switch text.lowercased() {
    case "256px", "256": .px256
    case "512px", "512": .px512
    default: try ScaleSchedule(parsing: text)
    }
  }

  /// The schedule that was named, or the model's, or what the tokenizer's file notes (as training
  /// writes it), or the published one for 256 pixels.
  ///
  /// - Throws: ``UsageError`` where the tokenizer has another number of scales.
  static func schedule(
    named: ScaleSchedule?, model: String?, tokenizer: TokenizerConfiguration,
    notes: [String: String]
  ) throws -> ScaleSchedule {
    let schedule =
      try named ?? model.map { try Checkpoint($0).transformerConfiguration().schedule }
      ?? notes["scales"].map { try ScaleSchedule(parsing: $0) } ?? .px256
    if case .none(let count) = tokenizer.phi, count != schedule.count {
      throw UsageError(
        "the tokenizer has \(count) scales, and \(schedule) are \(schedule.count); name them with "
          + "--scales, or the model that it belongs to with --model")
    }
    return schedule
  }
}

/// Which tokenizer, and for which sizes.
struct TokenizerFlags: ParsableArguments {
  @Option(help: "The tokenizer, or a checkpoint that holds one: a file or a name, as of a model.")
  var tokenizer: String

  @Option(help: "A model whose sizes of scales to use: a file or a name.")
  var model: String?

  /// The same with names replaced by the files that they stand for.
  func found(_ console: Console) async throws -> TokenizerFlags {
    let source = ModelSource(console: console, isConsenting: false)
    let found = try await source.find([tokenizer] + [model].compactMap { $0 })
    var flags = self
    (flags.tokenizer, flags.model) = (found[0].path, found.count > 1 ? found[1].path : nil)
    return flags
  }

  /// The files that they are kept in.
  func filesRead() throws -> [String] {
    try ([tokenizer] + [model].compactMap { $0 }).flatMap { try Checkpoint($0).filesRead }
  }
}

/// Where and how exactly a tokenizer computes.
struct TokenizerComputeFlags: ParsableArguments {
  @Option(
    help: "The precision: float32, bfloat16, float16 or auto. Only float32 gives exact tokens.")
  var dtype: ComputeOptions.Precision = .float32

  @OptionGroup var placement: PlacementFlags

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  var options: ComputeOptions { placement.options(dtype) }
}

/// Pictures to be turned into tokens.
struct PictureFlags: ParsableArguments {
  @Option(parsing: .upToNextOption, help: "Pictures: PNG, JPEG or WebP.")
  var image: [String]

  @Option(
    help: """
      How a picture of another size is made to fit: crop resizes and cuts as in training, pad keeps \
      all of it, stretch changes its proportions. A picture of the right size is used pixel for \
      pixel.
      """)
  var fit: PictureFit = .crop
}

extension PictureFit: ExpressibleByArgument {}
