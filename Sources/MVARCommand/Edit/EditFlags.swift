import ArgumentParser
import ClassNames
import MVAR
import Pictures

/// The picture to be edited.
struct EditedImageFlags: ParsableArguments {
  @Option(help: "The picture: PNG, JPEG or WebP.")
  var image: String

  @Option(
    help: """
      How a picture of another size is shown to the model: pad shows all of it, and what the model \
      draws beside it is cut away; crop shows the middle; stretch changes its proportions.
      """)
  var fit: PictureFit = .pad
}

/// Where the line between old and new runs.
struct EdgeFlags: ParsableArguments {
  enum Edges: String, CaseIterable, ExpressibleByArgument { case hard, soft }

  @Option(
    help: """
      hard: a token is drawn or kept, as --threshold says; soft: tokens that the region cuts through \
      are mixed in proportion, at every scale.
      """)
  var edges: Edges = .hard

  @Option(
    parsing: .unconditional,
    help: """
      The share of a token's area, 0 to 1, from which on it is drawn. Coarse tokens are large: 0 draws \
      every one that the region touches and so forgets most of what was there, 1 only those inside it.
      """)
  var threshold = 0.5

  var value: MaskEdges { edges == .soft ? .soft : .hard(threshold: threshold) }

  func validate() throws {
    do { try MaskEdges.hard(threshold: threshold).validate() } catch {
      throw ValidationError(error.description)
    }
  }
}

/// What becomes of the rest of the picture.
struct KeepingFlags: ParsableArguments {
  @Flag(
    help: """
      Put the original's pixels back outside the region. The result then has the size of the original \
      (with its margins), whatever the model's is.
      """)
  var keepPixels = false

  @Option(
    parsing: .unconditional,
    help: "With --keep-pixels: over so many pixels around the region the new fades into the old.")
  var feather = 8

  func validate() throws {
    guard (0...10_000).contains(feather) else {
      throw ValidationError("feather is \(feather); use 0 to 10000 pixels")
    }
  }
}

/// How many pictures of one edit, and with which seeds.
struct EditedCountFlags: ParsableArguments {
  @Option(parsing: .unconditional, help: "How many results, each with a seed of its own.")
  var count = 1

  @Option(parsing: .unconditional, help: "The first result's seed; the others' count up from it.")
  var seed: UInt64 = 0

  func validate() throws { try checkPositive(count, "count", atMost: 100_000) }

  var seeds: [UInt64] { (0..<count).map { seed &+ UInt64($0) } }
}

/// What edits write, and where.
struct EditOutputFlags: ParsableArguments {
  @OptionGroup var destination: PictureDestinationFlags

  @Option(
    defaultAsFlag: "", parsing: .next,
    help: "Also write all results side by side. (default FILE: grid.png beside them)")
  var grid: String?

  @Flag(help: "Also write the result after every scale, as …-scale00.png and so on.")
  var previews = false

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record of every result to this file, or to standard output without one.")
  var json: String?

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  @Option(
    parsing: .unconditional, help: "Results drawn at once. (default: 4 on a CPU, 16 on a GPU)")
  var batch: Int?

  func validate() throws {
    try checkPositive(batch, "batch")
    if let grid, !grid.isEmpty {
      do { _ = try PictureFormat(endingOf: grid) } catch {
        throw ValidationError(error.description)
      }
    }
  }
}

/// The one class that an edit draws.
struct EditedClass {
  /// Nil for none in particular.
  let label: Int?
  let name: String?

  /// - Parameters:
  ///   - text: A number, a name, or "random"; nil for no class.
  ///   - model: The model that has the classes.
  /// - Throws: ``UsageError`` for text that names none or several, `ClassSelectionError` for classes
  ///   that this model has not.
  init(_ text: String?, of model: TransformerConfiguration, seed: UInt64) throws {
    guard let text else {
      (label, name) = (nil, nil)
      return
    }
    let labels = ClassLabels(classes: model.classes, names: model.classNames)
    let selected: [Int]
    do { selected = try ClassSelection.parse(text, labels: labels, seed: seed) } catch {
      throw error.isAboutText ? UsageError(error.description) : error
    }
    guard selected.count == 1 else {
      throw UsageError("class is \"\(text)\", which names \(selected.count) classes; name one")
    }
    (label, name) = (selected[0], labels.name(of: selected[0]))
  }
}
