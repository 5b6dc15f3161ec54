/// Lanes that take turns.
///
/// A lane that becomes empty leaves; one that comes joins at the end of the round.
struct Turns<Key: Hashable, Lane: TurnTaking> {
  private var lanes: [Key: Lane] = [:]
  /// Whose turn is next, first.
  private var round: [Key] = []
  private(set) var count = 0
}

/// A queue that can be one of several that take turns.
protocol TurnTaking {
  associatedtype Element
  var count: Int { get }
  mutating func next() -> Element?
  mutating func removeAll(where isUnwanted: (Element) -> Bool)
}

extension Turns: TurnTaking {
  /// Adds to the lane of a key, which is made if it is not there.
  mutating func add(to key: Key, _ empty: @autoclosure () -> Lane, _ change: (inout Lane) -> Void) {
    if lanes[key] == nil {
      round.append(key)
      lanes[key] = empty()
    }
    let before = lanes[key]!.count
    change(&lanes[key]!)
    count += lanes[key]!.count - before
  }

  func count(of key: Key) -> Int { lanes[key]?.count ?? 0 }

  mutating func next() -> Lane.Element? {
    while !round.isEmpty {
      let key = round.removeFirst()
      guard let element = lanes[key]!.next() else {
        lanes[key] = nil
        continue
      }
      count -= 1
      if lanes[key]!.count > 0 { round.append(key) } else { lanes[key] = nil }
      return element
    }
    return nil
  }

  mutating func removeAll(where isUnwanted: (Lane.Element) -> Bool) {
    for key in round { lanes[key]!.removeAll(where: isUnwanted) }
    round.removeAll { lanes[$0]!.count == 0 }
    lanes = lanes.filter { $0.value.count > 0 }
    count = lanes.values.reduce(0) { $0 + $1.count }
  }
}

/// First in, first out.
struct Line<Element>: TurnTaking {
  private var elements: [Element] = []

  var count: Int { elements.count }

  mutating func add(_ element: Element) { elements.append(element) }

  mutating func next() -> Element? { elements.isEmpty ? nil : elements.removeFirst() }

  mutating func removeAll(where isUnwanted: (Element) -> Bool) {
    elements.removeAll(where: isUnwanted)
  }
}

/// Pictures that wait: addresses take turns, and at each address those who ask from it.
struct FairQueue<Element> {
  private var addresses = Turns<String, Turns<String, Line<Element>>>()

  var count: Int { addresses.count }

  func count(of address: String) -> Int { addresses.count(of: address) }

  mutating func add(_ element: Element, address: String, requester: String) {
    addresses.add(to: address, .init()) { requesters in
      requesters.add(to: requester, .init()) { $0.add(element) }
    }
  }

  /// Takes the next `limit` in turn.
  mutating func take(_ limit: Int) -> [Element] {
    var taken: [Element] = []
    while taken.count < limit, let element = addresses.next() { taken.append(element) }
    return taken
  }

  mutating func removeAll(where isUnwanted: (Element) -> Bool) {
    addresses.removeAll(where: isUnwanted)
  }
}
