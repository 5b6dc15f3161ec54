import Foundation
import NIOHTTP1

extension HubClient {
  /// Passes an answer of success; others become errors, those that may pass such that they are tried
  /// again.
  ///
  /// - Parameter what: What was asked for, as a user would name it.
  func check(_ answer: Answer, _ what: String, of repository: HubRepository) throws {
    let status = answer.status
    if (200..<300).contains(status) { return }
    let code = answer.headers.first(name: "X-Error-Code")
    let words = answer.headers.first(name: "X-Error-Message").map { " (\($0))" } ?? ""
    switch (status, code) {
    case (_, "GatedRepo"):
      throw HubError(
        .refused,
        "\(repository) asks its users to agree to its terms; do so at \(settings.endpoint)/"
          + "\(repository), and set HF_TOKEN to a token of yours")
    case (_, "RevisionNotFound"):
      throw HubError(.notFound, "\(repository) has no such revision as \(what) names")
    case (_, "EntryNotFound"):
      throw HubError(
        .notFound, "\(repository) has no file \(what); `mvar models \(repository)` lists them")
    case (401, _), (404, "RepoNotFound"):
      throw HubError(
        .refused,
        settings.token == nil
          ? "\(repository) does not exist at \(settings.endpoint), or is private; check the name, or set "
            + "HF_TOKEN to a token that may read it"
          : "\(repository) does not exist at \(settings.endpoint), or your token may not read it; check "
            + "the name and HF_TOKEN")
    case (403, _) where answer.isElsewhere:
      // Signed addresses expire; the next attempt gets a new one.
      throw Passing(reason: "the storage refused the request (403)")
    case (403, _):
      throw HubError(
        .refused, "\(what) is refused (403)\(words); set HF_TOKEN to a token that may read it")
    case (404, _), (410, _):
      throw HubError(.notFound, "\(settings.endpoint) has no \(what) (\(status))\(words)")
    case (429, _):
      throw Passing(
        reason: "the server has too many requests (429)", wait: Self.wait(answer.headers))
    case (408, _), (500...599, _):
      throw Passing(reason: "the server fails (\(status))", wait: Self.wait(answer.headers))
    default:
      throw HubError(.server, "\(settings.endpoint) answers \(status) for \(what)\(words)")
    }
  }

  /// `Retry-After` in seconds or as a date.
  private static func wait(_ headers: HTTPHeaders) -> Duration? {
    guard let text = headers.first(name: "Retry-After") else { return nil }
    if let seconds = Int(text) { return seconds >= 0 ? .seconds(min(seconds, 1 << 30)) : nil }
    let format = DateFormatter()
    format.locale = Locale(identifier: "en_US_POSIX")
    format.timeZone = TimeZone(secondsFromGMT: 0)
    format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
    return format.date(from: text).map { .seconds(max($0.timeIntervalSinceNow, 0)) }
  }
}
