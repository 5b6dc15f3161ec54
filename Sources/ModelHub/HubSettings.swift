import Foundation

/// Where models come from and where they are kept, as Hugging Face's own tools understand it.
public struct HubSettings: Sendable {
  /// Without a slash at its end.
  public var endpoint: String
  /// The folder of `models--owner--name` folders.
  public var cacheFolder: String
  /// Sent to the endpoint, and to no other host.
  public var token: String?
  /// Whether nothing may be fetched.
  public var isOffline: Bool
  /// How long a server may say nothing.
  public var timeout: Duration
  /// How often, and after how long, what failed is tried again.
  public var retries = Retries()
  /// Through which server to go; nil for none.
  public var proxy: Proxy?

  /// Waiting times double from ``first`` to ``longest``.
  public struct Retries: Sendable, Hashable {
    /// Attempts in a row that bring not a byte.
    public var attempts = 6
    public var first = Duration.seconds(1)
    public var longest = Duration.seconds(30)
    /// The longest that a server may ask for by `Retry-After`.
    public var longestAsked = Duration.seconds(300)

    public init() {}

    /// How long to wait before attempt `number`, counted from 1.
    func wait(before number: Int) -> Duration {
      let doubled = first * (1 << min(max(number - 1, 0), 20))
      return min(doubled, longest)
    }
  }

  /// An HTTP proxy, as `https_proxy` names it.
  public struct Proxy: Sendable, Hashable {
    public let host: String
    public let port: Int
  }

  /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (or the token that `hf auth login`
  /// stored), `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and `https_proxy`.
  ///
  /// - Throws: ``HubError`` for a value that cannot be used.
  public init(environment: [String: String] = ProcessInfo.processInfo.environment)
    throws(HubError)
  {
    let variables = Variables(environment)
    endpoint = try Self.endpoint(variables)
    let home = variables["HF_HOME"].map(variables.expanded) ?? variables.defaultHome
    let cache = variables["HF_HUB_CACHE"] ?? variables["HUGGINGFACE_HUB_CACHE"]
    cacheFolder = cache.map(variables.expanded) ?? "\(home)/hub"
    token = Self.token(variables, home: home)
    isOffline = variables.isTrue("HF_HUB_OFFLINE") || variables.isTrue("TRANSFORMERS_OFFLINE")
    timeout = try Self.timeout(variables)
    proxy = try Self.proxy(variables, endpoint: endpoint)
  }

  private static func endpoint(_ variables: Variables) throws(HubError) -> String {
    let text = variables["HF_ENDPOINT"] ?? "https://huggingface.co"
    let endpoint = String(text.reversed().drop { $0 == "/" }.reversed())
    guard let url = URL(string: endpoint), ["http", "https"].contains(url.scheme),
      url.host()?.isEmpty == false
    else {
      throw HubError(
        .invalidName, "HF_ENDPOINT is \"\(text)\"; write an address such as https://host")
    }
    return endpoint
  }

  private static func token(_ variables: Variables, home: String) -> String? {
    if variables.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") { return nil }
    let path = variables["HF_TOKEN_PATH"].map(variables.expanded) ?? "\(home)/token"
    let named = variables["HF_TOKEN"] ?? variables["HUGGING_FACE_HUB_TOKEN"]
    let text = named ?? (try? String(contentsOfFile: path, encoding: .utf8))
    let token = text?.trimmingCharacters(in: .whitespacesAndNewlines)
    return token?.isEmpty == false ? token : nil
  }

  private static func timeout(_ variables: Variables) throws(HubError) -> Duration {
    guard let text = variables["HF_HUB_DOWNLOAD_TIMEOUT"] else { return .seconds(30) }
    guard let seconds = Int(text), (1...86_400).contains(seconds) else {
      throw HubError(
        .invalidName, "HF_HUB_DOWNLOAD_TIMEOUT is \"\(text)\"; write seconds, 1 or more")
    }
    return .seconds(seconds)
  }

  private static func proxy(_ variables: Variables, endpoint: String) throws(HubError) -> Proxy? {
    guard let url = URL(string: endpoint), let host = url.host() else { return nil }
    let excluded = (variables["no_proxy"] ?? variables["NO_PROXY"] ?? "").split(separator: ",")
      .map { $0.trimmingCharacters(in: .whitespaces) }
    let isExcluded = excluded.contains {
      $0 == "*" || host == $0 || host.hasSuffix($0.hasPrefix(".") ? $0 : ".\($0)")
    }
    let names =
      url.scheme == "https"
      ? ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
      : ["http_proxy", "all_proxy", "ALL_PROXY"]
    guard !isExcluded, let name = names.first(where: { variables[$0] != nil }) else { return nil }
    let text = variables[name]!
    guard let proxy = URL(string: text.contains("://") ? text : "http://\(text)"),
      proxy.scheme == "http", let proxyHost = proxy.host()
    else {
      throw HubError(
        .invalidName, "\(name) is \"\(text)\"; write an address such as http://host:3128")
    }
    return Proxy(host: proxyHost, port: proxy.port ?? 80)
  }
}

/// Environment variables, of which empty ones count as unset.
private struct Variables {
  private let values: [String: String]

  init(_ values: [String: String]) { self.values = values.filter { !$0.value.isEmpty } }

  subscript(name: String) -> String? { values[name] }

  func isTrue(_ name: String) -> Bool {
    ["1", "ON", "YES", "TRUE"].contains(values[name]?.uppercased())
  }

  var userFolder: String { values["HOME"] ?? NSHomeDirectory() }

  var defaultHome: String {
    "\(values["XDG_CACHE_HOME"].map(expanded) ?? "\(userFolder)/.cache")/huggingface"
  }

  /// A path in which `~`, `$NAME` and `${NAME}` stand for what a shell makes of them.
  func expanded(_ path: String) -> String {
    let home = path == "~" || path.hasPrefix("~/") ? userFolder + path.dropFirst() : path
    return home.replacing(/\$(?:\{(\w+)\}|(\w+))/) { match in
      let name = String(match.output.1 ?? match.output.2!)
      return values[name] ?? String(match.output.0)
    }
  }
}
