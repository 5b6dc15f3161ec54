/// Reads one item of a selection after the other; each `random` goes on where the one before it stopped.
struct ClassItemParser {
  let labels: ClassLabels
  var random: SplitMix64

  mutating func classes(_ item: String) throws(ClassSelectionError) -> [Int] {
    let word = item.lowercased()
    if word == "all" { return Array(0..<labels.count) }
    if word == "random" { return random.distinct(1, below: labels.count) }
    if word.hasPrefix("random:") { return try randomClasses(item) }
    if let range = try range(item) { return range }
    return [try named(item)]
  }

  private mutating func randomClasses(_ item: String) throws(ClassSelectionError) -> [Int] {
    let count = item.dropFirst("random:".count)
    guard isDigits(count), let count = Int(count), (1...labels.count).contains(count) else {
      throw .randomCount(item, classes: labels.count)
    }
    return random.distinct(count, below: labels.count)
  }
}

/// Numbers and ranges.
extension ClassItemParser {
  /// The classes of a number or a range, or nil if the item does not look like one.
  private func range(_ item: String) throws(ClassSelectionError) -> [Int]? {
    guard item.contains(where: { isDigit($0) }), item.allSatisfy({ isNumeric($0) }) else {
      return nil
    }
    if isDigits(item) || isDigits(item.dropFirst()) && item.hasPrefix("-") {
      return [try number(item)]
    }
    let ends = item.split(separator: "-", omittingEmptySubsequences: false)
      .map { $0.filter { !$0.isWhitespace } }
    guard ends.count == 2, ends.allSatisfy({ isDigits($0) }), !hasGap(item) else {
      throw .malformedNumber(item)
    }
    let (first, last) = (try number(ends[0]), try number(ends[1]))
    guard first <= last else { throw .reversedRange(item, first: first, last: last) }
    return Array(first...last)
  }

  /// Whether two numbers are apart by nothing but space, as in `1 2`.
  private func hasGap(_ item: String) -> Bool {
    item.split(separator: "-").contains { $0.split(whereSeparator: \.isWhitespace).count > 1 }
  }

  private func number(_ text: String) throws(ClassSelectionError) -> Int {
    guard let number = Int(text), (0..<labels.count).contains(number) else {
      throw .outOfRange(text, classes: labels.count)
    }
    return number
  }

  private func isNumeric(_ character: Character) -> Bool {
    isDigit(character) || character == "-" || character.isWhitespace
  }

  private func isDigits(_ text: some StringProtocol) -> Bool {
    !text.isEmpty && text.allSatisfy { isDigit($0) }
  }

  private func isDigit(_ character: Character) -> Bool {
    ("0"..."9").contains(character)
  }
}

/// Names.
extension ClassItemParser {
  private func named(_ item: String) throws(ClassSelectionError) -> Int {
    guard labels.hasNames else { throw .namesUnknown(item, classes: labels.count) }
    let classes = labels.classes(named: item)
    guard classes.count <= 1 else {
      throw .ambiguous(item, classes.map { .init(number: $0, name: explanation(of: $0)) })
    }
    guard let only = classes.first else {
      let near = NameSearch(labels: labels).nearest(to: item)
      throw .unknownName(
        item, nearest: near.map { .init(number: $0.number, name: $0.name) }, classes: labels.count)
    }
    return only
  }

  /// What tells a class from another of its name.
  private func explanation(of number: Int) -> String {
    let names = labels.names(of: number)
    if names.count == 1, let gloss = ImageNetNames.glosses[number] {
      return "\(names[0]): \(gloss)"
    }
    return names.joined(separator: ", ")
  }
}
