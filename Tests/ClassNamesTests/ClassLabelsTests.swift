import Testing

@testable import ClassNames

@Suite struct ClassLabelsTests {
  private let labels = ClassLabels.imageNet

  @Test(arguments: [
    (0, "tench"), (1, "goldfish"), (88, "macaw"), (134, "crane"), (207, "golden retriever"),
    (281, "tabby"), (417, "balloon"), (437, "beacon"), (517, "crane"), (620, "laptop"),
    (638, "maillot"), (817, "sports car"), (933, "cheeseburger"), (980, "volcano"),
    (999, "toilet tissue"),
  ])
  func classesStandWhereEveryoneHasThem(number: Int, name: String) {
    #expect(labels.name(of: number) == name)
  }

  @Test func everyClassHasCleanNames() {
    #expect(labels.count == 1000 && labels.hasNames)
    let all = (0..<1000).map(labels.names)
    #expect(all.allSatisfy { !$0.isEmpty })
    #expect(all.joined().count == 1860)
    for name in all.joined() {
      #expect(!name.isEmpty && name.first != " " && name.last != " ")
      #expect(name.unicodeScalars.allSatisfy { $0.isASCII && $0.value >= 32 && $0 != "," })
    }
  }

  @Test func synonyms() {
    #expect(labels.names(of: 0) == ["tench", "Tinca tinca"])
    #expect(
      labels.names(of: 281) == ["tabby", "tabby cat"]
        && labels.names(of: 999) == ["toilet tissue", "toilet paper", "bathroom tissue"])
  }

  @Test func everyNameFindsItsClass() {
    for number in 0..<1000 {
      for name in labels.names(of: number) {
        #expect(labels.classes(named: name).contains(number), "\(name)")
      }
    }
  }

  /// Looser spelling must not make two names one; these are shared in the list itself.
  @Test func namesOfSeveralClasses() {
    let keys = Set((0..<1000).flatMap(labels.names).map(nameKey))
    #expect(
      Set(keys.filter { labels.classes(named: $0).count > 1 }) == [
        "sand viper", "grass snake", "partridge", "crawfish", "crayfish", "crane", "cardigan",
        "catamount", "panther", "sus scrofa", "polecat", "panda", "tub", "wagon", "gong", "horn",
        "harp", "maillot", "missile",
      ])
    #expect(keys.allSatisfy { labels.classes(named: $0).count <= 2 })
  }

  /// Such a name could never be given in a selection.
  @Test func noNameIsAWordOfTheSelection() {
    let keys = Set((0..<1000).flatMap(labels.names).map(nameKey))
    #expect(keys.isDisjoint(with: ["all", "random"]))
    #expect(!keys.contains { $0.first?.isNumber ?? true })
  }

  @Test func classesOutsideTheList() {
    for number in [-1, 1000, Int.min, Int.max] {
      #expect(labels.name(of: number) == nil && labels.names(of: number).isEmpty)
    }
  }

  @Test func modelsWithOtherClasses() {
    #expect(ClassLabels(classes: 1000).name(of: 88) == "macaw")
    let few = ClassLabels(classes: 6)
    #expect(few.count == 6 && !few.hasNames && few.name(of: 0) == nil)
    #expect(few.classes(named: "macaw").isEmpty)
    #expect(!ClassLabels(unnamed: 1000).hasNames)
    #expect(ClassLabels(unnamed: -1).count == 0)
  }
}

@Suite struct NameKeyTests {
  @Test(arguments: [
    "golden retriever", "Golden_Retriever", " GOLDEN-retriever ", "golden \t\n retriever",
    "golden--retriever",
  ])
  func spellings(name: String) {
    #expect(nameKey(name) == "golden retriever")
  }

  @Test func marks() {
    #expect(nameKey("St. Bernard") == "st bernard")
    #expect(nameKey("jack-o'-lantern") == nameKey("Jack o’ Lantern"))
    #expect(nameKey("-_ ") == "")
  }
}

@Suite struct EditDistanceTests {
  @Test(arguments: [
    ("", "", 0), ("a", "", 1), ("", "abc", 3), ("macaw", "macaw", 0), ("macaw", "maccaw", 1),
    ("kitten", "sitting", 3), ("retriever", "retreiver", 1), ("ab", "ba", 1), ("abc", "xyz", 3),
  ])
  func distances(first: String, second: String, distance: Int) {
    #expect(editDistance(Array(first), Array(second)) == distance)
    #expect(editDistance(Array(second), Array(first)) == distance)
  }
}
