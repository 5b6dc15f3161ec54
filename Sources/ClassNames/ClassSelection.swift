/// Reads which classes to draw, as they are written on a command line.
///
/// A selection is a list of items with commas between them. Each item is one of
///
/// - a number, `207`, or a range of numbers, `88-92`;
/// - a name, `macaw`, `golden_retriever`, if the classes have names;
/// - `all`, every class in turn;
/// - `random`, one class by chance, or `random:5`, five different ones.
///
/// The classes come in the order written, and as often.
public enum ClassSelection {
  /// The classes that a selection names.
  ///
  /// - Parameters:
  ///   - text: The selection.
  ///   - labels: The classes that the model has.
  ///   - seed: What `random` depends on: the same seed gives the same classes, on every machine.
  /// - Throws: ``ClassSelectionError`` if an item is none of the above, or names no class or more than one.
  public static func parse(
    _ text: String, labels: ClassLabels, seed: UInt64 = 0
  ) throws(ClassSelectionError) -> [Int] {
    guard labels.count > 0 else { throw .noClasses }
    guard text.contains(where: { !$0.isWhitespace }) else { throw .empty }
    var parser = ClassItemParser(labels: labels, random: SplitMix64(state: seed))
    var classes: [Int] = []
    for (index, item) in text.split(separator: ",", omittingEmptySubsequences: false).enumerated() {
      guard let item = trimmed(item) else { throw .emptyItem(position: index + 1) }
      classes += try parser.classes(item)
      // Many times `all` in one text would fill the memory.
      guard classes.count <= countLimit else { throw .tooMany(limit: countLimit) }
    }
    return classes
  }

  private static let countLimit = 1_000_000

  /// The item without the spaces around it, or nil if nothing else is there.
  private static func trimmed(_ item: Substring) -> String? {
    guard let first = item.firstIndex(where: { !$0.isWhitespace }),
      let last = item.lastIndex(where: { !$0.isWhitespace })
    else { return nil }
    return String(item[first...last])
  }
}
