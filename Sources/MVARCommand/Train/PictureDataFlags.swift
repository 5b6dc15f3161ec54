import ArgumentParser
import Foundation
import MVARTraining

/// Which pictures to learn from.
struct PictureDataFlags: ParsableArguments {
  @Option(
    help: """
      Pictures (PNG, JPEG, WebP): a folder with one folder for each class, a table of files and \
      classes (.csv) or the folder that it lies in, or tar files with WebDataset's names.
      """)
  var data: String

  @Option(help: "Only rows of the table whose column \"split\" says this.")
  var split: String?

  @Option(help: "Measure on the rows of this split.")
  var heldOutSplit: String?

  @Option(
    parsing: .unconditional,
    help: "Measure on this share of the pictures instead, chosen by their names. (default: 0.02)")
  var holdOut: Double?

  @Option(parsing: .unconditional, help: "The share of pictures that may be unreadable.")
  var unreadable = 0.01

  @Option(parsing: .unconditional, help: "Threads that read pictures. (default: one a core)")
  var workers: Int?

  func validate() throws {
    try checkPositive(workers, "workers", atMost: 1024)
    if let holdOut, !(0..<1).contains(holdOut) {
      throw ValidationError("hold-out is \(holdOut); use 0 or more and less than 1")
    }
    guard (0...1).contains(unreadable) else {
      throw ValidationError("unreadable is \(unreadable); use 0 to 1")
    }
  }

  /// What is given, or what the run has.
  func apply(to settings: inout TokenizerTrainingSettings) {
    settings.split = split ?? settings.split
    settings.heldOutSplit = heldOutSplit ?? settings.heldOutSplit
    settings.holdOut = holdOut ?? settings.holdOut
  }

  /// - Parameter split: To learn from; nil for what the flags say.
  func dataSet(labels: PictureDataSet.Labels, split: String? = nil) throws -> PictureDataSet {
    try PictureDataSet(data, labels: labels, split: split ?? self.split)
  }

  /// What is held out where nothing is said.
  static let usualShare = 0.02

  /// The pictures to learn from, and those to measure on.
  ///
  /// - Parameters:
  ///   - share: To hold out, where no split is named; nil for what the flags say.
  ///   - split: To measure on; nil for what the flags say.
  func heldOut(
    _ pictures: PictureDataSet, share: Double? = nil, split: String? = nil,
    labels: PictureDataSet.Labels
  ) throws -> (training: PictureDataSet, heldOut: PictureDataSet?) {
    if let split = split ?? heldOutSplit {
      return (pictures, try PictureDataSet(data, labels: labels, split: split))
    }
    let (training, heldOut) = pictures.holdingOut(share ?? holdOut ?? Self.usualShare)
    return training.count == 0 || heldOut.count == 0 ? (pictures, nil) : (training, heldOut)
  }
}

/// How pictures become squares; what is not given keeps its default, or what the run has.
struct PreparationFlags: ParsableArguments {
  @Option(
    help:
      "crop: a random square of the picture, as published models learnt; whole: all of it, for artwork. (default: crop)"
  )
  var framing: PictureRecipe.Framing?

  @Flag(inversion: .prefixedNo, help: "Mirror half of the pictures. (default: --flip)")
  var flip: Bool?

  @Option(
    help: "Classes that are never mirrored, separated by commas, such as \"flag,clock\".",
    transform: { Set($0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }) })
  var unflipped: Set<String>?

  @Option(
    parsing: .unconditional,
    help:
      "The share of transparent pictures laid over a pale colour, the others over white. (default: 0)"
  )
  var pastel: Double?

  @Option(parsing: .unconditional, help: "Turn pictures by up to so many degrees. (default: 0)")
  var rotation: Double?

  @Option(
    parsing: .unconditional, help: "Enlarge or shrink pictures by up to this fraction. (default: 0)"
  )
  var scaling: Double?

  @Option(parsing: .unconditional, help: "Move pictures by up to this fraction. (default: 0)")
  var translation: Double?

  @Option(parsing: .unconditional, help: "Turn hues by up to so many degrees. (default: 0)")
  var hue: Double?

  func apply(_ recipe: inout PictureRecipe) throws {
    recipe.framing = framing ?? recipe.framing
    recipe.flips = flip ?? recipe.flips
    recipe.unflippedClasses = unflipped ?? recipe.unflippedClasses
    if let pastel { recipe.background = pastel > 0 ? .pastel(share: pastel) : .white }
    recipe.rotation = rotation ?? recipe.rotation
    recipe.scaling = scaling ?? recipe.scaling
    recipe.translation = translation ?? recipe.translation
    recipe.hue = hue ?? recipe.hue
    try recipe.validate()
  }
}

extension PictureRecipe.Framing: ExpressibleByArgument {}
