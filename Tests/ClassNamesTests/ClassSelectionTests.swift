import Testing

@testable import ClassNames

private func parse(_ text: String, classes: Int = 1000, seed: UInt64 = 0) throws -> [Int] {
  try ClassSelection.parse(text, labels: ClassLabels(classes: classes), seed: seed)
}

/// The error for a selection, whose message must be one line that ends in advice.
private func failure(
  _ text: String, classes: Int = 1000, at location: SourceLocation = #_sourceLocation
) -> ClassSelectionError? {
  let error = #expect(throws: ClassSelectionError.self, sourceLocation: location) {
    try parse(text, classes: classes)
  }
  guard let error else { return nil }
  #expect(!error.description.contains { $0.isNewline }, sourceLocation: location)
  #expect(error.description.contains("; "), sourceLocation: location)
  return error
}

@Suite struct ClassSelectionTests {
  @Test(
    arguments: [
      ("0", [0]), ("999", [999]), ("007", [7]), ("207,macaw,88-90", [207, 88, 88, 89, 90]),
      ("5-5", [5]), (" 1 ,\t2\n,  3 - 5 ", [1, 2, 3, 4, 5]), ("3,1,3", [3, 1, 3]),
    ] as [(String, [Int])])
  func numbersAndRanges(text: String, classes: [Int]) throws {
    #expect(try parse(text) == classes)
  }

  @Test(arguments: [
    ("macaw", 88), ("MACAW", 88), ("golden_retriever", 207), ("Golden-Retriever", 207),
    ("  golden   retriever ", 207), ("Tinca tinca", 0), ("man_eater", 2), ("st bernard", 247),
    ("Saint_Bernard", 247), ("jack o lantern", 607), ("carpenters kit", 477),
    ("Cardigan Welsh corgi", 264), ("tank suit", 639),
  ])
  func names(text: String, number: Int) throws {
    #expect(try parse(text) == [number])
  }

  @Test func everyNameThatOneClassBears() throws {
    let labels = ClassLabels.imageNet
    for number in 0..<1000 {
      for name in labels.names(of: number) where labels.classes(named: name).count == 1 {
        #expect(try parse(name) == [number])
      }
    }
  }

  @Test func all() throws {
    #expect(try parse("all") == Array(0..<1000))
    #expect(try parse(" ALL ", classes: 3) == [0, 1, 2])
    #expect(try parse("2,all", classes: 3) == [2, 0, 1, 2])
  }
}

@Suite struct RandomClassesTests {
  /// Fixed numbers: a seed must give the same classes tomorrow and on every machine.
  @Test func sameSeedSameClasses() throws {
    #expect(try parse("random", seed: 0) == [883])
    #expect(try parse("random", seed: 42) == [741])
    #expect(try parse("random:3", seed: 1) == [566, 746, 971])
  }

  /// Published values of SplitMix64 for the seed 1234567.
  @Test func generator() {
    var random = SplitMix64(state: 1_234_567)
    #expect(
      (0..<3).map { _ in random.next() } == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
      ])
  }

  @Test func seedsDiffer() throws {
    let classes = try (0..<200).map { try parse("random", seed: $0)[0] }
    #expect(classes.allSatisfy { (0..<1000).contains($0) })
    #expect(Set(classes).count > 150)
  }

  @Test func eachRandomGoesOn() throws {
    let classes = try parse("random,random,random,random")
    #expect(Set(classes).count > 1)
    #expect(try parse("random,7,random")[1] == 7)
  }

  @Test func severalAreDifferent() throws {
    let classes = try parse("Random:1000", seed: 3)
    #expect(classes.sorted() == Array(0..<1000) && classes != Array(0..<1000))
    #expect(try parse("random:6", classes: 6).sorted() == Array(0..<6))
  }

  @Test(arguments: [
    "random:0", "random:7", "random:", "random:x", "random:-1", "random:1.5",
    "random:99999999999999999999",
  ])
  func impossibleCounts(text: String) {
    #expect(failure(text, classes: 6) == .randomCount(text, classes: 6))
  }
}

@Suite struct ClassSelectionErrorTests {
  @Test(arguments: [
    ("", "no class is named"), (" \n", "no class is named"),
    (",", "item 1 of the class list is empty"),
    ("1,,2", "item 2 of the class list is empty"), ("1,2, ", "item 3 of the class list is empty"),
    ("1000", "class 1000 does not exist; give a number in 0...999"),
    ("-1", "class -1 does not exist; give a number in 0...999"),
    ("5-1000", "class 1000 does not exist"),
    ("99999999999999999999", "class 99999999999999999999 does not exist"),
    ("92-88", "the range \"92-88\" is reversed; write 88-92"),
    ("1-", "a number or a range"), ("1-2-3", "a number or a range"), ("1 2", "a number or a range"),
    ("1 2-3", "a number or a range"), ("--1", "a number or a range"),
    ("1.5", "no class is called \"1.5\"; give an ImageNet name, or a number in 0...999"),
    ("-", "no class is called \"-\""),
    ("xyzzy", "no class is called \"xyzzy\"; give an ImageNet name"),
    ("ma\ncaw\u{202E}\u{7}", "\"ma\\u{a}caw\\u{202e}\\u{7}\""),
  ])
  func messages(text: String, part: String) throws {
    let error = try #require(failure(text))
    #expect(error.description.contains(part), "\(error)")
  }

  @Test func aModelsOwnNamesAreNotImageNets() throws {
    let labels = ClassLabels(classes: 2, names: ["cat face", "fruit"])
    let error = #expect(throws: ClassSelectionError.self) {
      try ClassSelection.parse("xyzzy", labels: labels, seed: 0)
    }
    let message = try #require(error).description
    #expect(message.contains("give a name of the model's own, or a number in 0...1"), "\(message)")
  }

  @Test(arguments: [
    ("crane", "2 classes; give a number: 134 (crane: a bird), 517 (crane: a machine)"),
    ("Maillot", "638 (maillot: tights for dancers), 639 (maillot, tank suit)"),
    ("cardigan", "264 (Cardigan, Cardigan Welsh corgi), 474 (cardigan: a knitted jacket)"),
    ("panda", "387 (lesser panda"),
  ])
  func namesOfSeveralClasses(text: String, part: String) throws {
    let error = try #require(failure(text))
    #expect(error.description.contains(part), "\(error)")
  }

  @Test(arguments: [
    ("goldn retriever", "did you mean 207 (golden retriever)?"), ("maccaw", "88 (macaw)"),
    ("golden_retreiver", "207 (golden retriever)"), ("volcanoe", "980 (volcano)"),
    ("retriever", "207 (golden retriever)"), ("shepherd", "235 (German shepherd)"),
    ("burger", "933 (cheeseburger)"),
  ])
  func nearestNames(text: String, part: String) throws {
    let error = try #require(failure(text))
    #expect(error.description.contains(part), "\(error)")
  }

  @Test func atMostFiveNamesAreOffered() throws {
    guard case .unknownName("dog", let nearest, 1000) = failure("dog") else {
      Issue.record("another error")
      return
    }
    #expect(nearest.count == 5)
    #expect(Set(nearest.map(\.number)).count == 5)
  }

  @Test func namesForAModelWithoutThem() {
    #expect(failure("macaw", classes: 6) == .namesUnknown("macaw", classes: 6))
    #expect(
      failure("macaw", classes: 6)?.description
        == "\"macaw\" is a name, but this model's 6 classes have no names; give a number in 0...5")
    #expect(failure("6", classes: 6) == .outOfRange("6", classes: 6))
  }

  @Test func modelWithoutClasses() {
    for text in ["0", "all", "random", "macaw"] { #expect(failure(text, classes: 0) == .noClasses) }
  }

  @Test func longTexts() throws {
    let error = try #require(failure(String(repeating: "x", count: 1_000_000)))
    #expect(error.description.count < 200)
    let all = Array(repeating: "all", count: 1001).joined(separator: ",")
    #expect(failure(all) == .tooMany(limit: 1_000_000))
  }
}
