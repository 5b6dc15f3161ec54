import Foundation
import NIOCore
import NIOFoundationCompat

extension HubClient {
  /// All pages of a list.
  func list<Element: Decodable>(
    _ address: String, of repository: HubRepository,
    report: @escaping @Sendable (ModelHub.Event) -> Void
  ) async throws -> [Element] {
    var all: [Element] = []
    var next: String? = address
    for _ in 0..<Self.pages {
      guard let page = next else { break }
      let (part, following): ([Element], String?) = try await json(
        page, of: repository, report: report)
      all += part
      next = following
    }
    return all
  }

  private static let pages = 100
  private static let bytesAtMost = 32 << 20

  /// A record, and the address of the page after it.
  func json<Value: Decodable>(
    _ address: String, of repository: HubRepository,
    report: @escaping @Sendable (ModelHub.Event) -> Void
  ) async throws -> (Value, next: String?) {
    try await attempts(
      "\(repository)", report: { report(.retrying(reason: $0, wait: $1)) }
    ) {
      let answer = try await ask(.GET, address)
      try check(answer, "\(repository)", of: repository)
      let bytes = try await answer.body.collect(upTo: Self.bytesAtMost)
      do {
        let value = try JSONDecoder().decode(Value.self, from: Data(buffer: bytes))
        return (value, next(answer.headers.first(name: "Link")))
      } catch is DecodingError {
        throw HubError(
          .server,
          "\(settings.endpoint) does not describe \(repository) as a hub does; check HF_ENDPOINT")
      }
    }
  }

  /// The address marked `rel="next"`, if it is on the hub itself.
  private func next(_ link: String?) -> String? {
    for part in link?.split(separator: ",") ?? [] where part.contains("rel=\"next\"") {
      guard let start = part.firstIndex(of: "<"), let end = part.firstIndex(of: ">"), start < end
      else { continue }
      let address = String(part[part.index(after: start)..<end])
      if address.hasPrefix(settings.endpoint + "/") { return address }
      if address.hasPrefix("/") { return settings.endpoint + address }
    }
    return nil
  }
}
