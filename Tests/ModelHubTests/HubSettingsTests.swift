import Foundation
import Testing

@testable import ModelHub

@Suite struct HubSettingsTests {
  private func settings(_ variables: [String: String]) throws -> HubSettings {
    try HubSettings(environment: ["HOME": "/h"].merging(variables) { $1 })
  }

  @Test(
    arguments: [
      ([:], "/h/.cache/huggingface/hub"), (["XDG_CACHE_HOME": "/x"], "/x/huggingface/hub"),
      (["HF_HOME": "~/models"], "/h/models/hub"),
      (["HF_HOME": "$HOME/a/${D}", "D": "b"], "/h/a/b/hub"),
      (["HF_HOME": "/a", "HF_HUB_CACHE": "/c"], "/c"), (["HUGGINGFACE_HUB_CACHE": "/old"], "/old"),
      (["HF_HOME": ""], "/h/.cache/huggingface/hub"),
    ] as [([String: String], String)]) func foldersAreFound(
      _ variables: [String: String], _ folder: String
    ) throws
  {
    #expect(try settings(variables).cacheFolder == folder)
  }

  @Test func defaultsAreTheHubs() throws {
    let settings = try settings([:])
    #expect(settings.endpoint == "https://huggingface.co")
    #expect(settings.token == nil && !settings.isOffline && settings.proxy == nil)
    #expect(settings.timeout == .seconds(30))
  }

  @Test func valuesAreRead() throws {
    let settings = try settings([
      "HF_ENDPOINT": "https://mirror.example//", "HF_TOKEN": " hf_x\n", "HF_HUB_OFFLINE": "yes",
      "HF_HUB_DOWNLOAD_TIMEOUT": "7", "https_proxy": "proxy.example:3128",
    ])
    #expect(settings.endpoint == "https://mirror.example")
    #expect(settings.token == "hf_x" && settings.isOffline)
    #expect(settings.timeout == .seconds(7))
    #expect(settings.proxy == .init(host: "proxy.example", port: 3128))
  }

  @Test(arguments: [
    ("0", false), ("", false), ("false", false), ("1", true), ("true", true), ("ON", true),
  ]) func offlineIsSaidInManyWays(_ text: String, _ isOffline: Bool) throws {
    #expect(try settings(["HF_HUB_OFFLINE": text]).isOffline == isOffline)
    #expect(try settings(["TRANSFORMERS_OFFLINE": text]).isOffline == isOffline)
  }

  @Test func aStoredTokenIsFound() throws {
    let folder = try TemporaryFolder()
    _ = try folder.write(Data("hf_stored\n".utf8), to: "token")
    let home = ["HF_HOME": folder.path]
    #expect(try settings(home).token == "hf_stored")
    #expect(try settings(home.merging(["HF_TOKEN": "hf_named"]) { $1 }).token == "hf_named")
    let none = home.merging(["HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"]) { $1 }
    #expect(try settings(none).token == nil)
    #expect(
      try settings(["HF_TOKEN_PATH": folder.file("token")]).token == "hf_stored")
  }

  @Test(arguments: [
    ("HF_ENDPOINT", "huggingface.co"), ("HF_ENDPOINT", "ftp://host"), ("HF_ENDPOINT", "https://"),
    ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"), ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
    ("https_proxy", "socks5://host"),
  ]) func mistakesAreNamed(_ name: String, _ value: String) {
    let error = #expect(throws: HubError.self) { try settings([name: value]) }
    #expect(error?.kind == .invalidName)
    #expect(error?.description.contains(name) == true && error?.description.contains(value) == true)
  }

  @Test(arguments: [
    ("localhost,mirror.example", false), ("*", false), (".example", false), ("other.example", true),
  ]) func proxiesHaveExceptions(_ exceptions: String, _ isUsed: Bool) throws {
    let settings = try settings([
      "HF_ENDPOINT": "https://mirror.example", "HTTPS_PROXY": "http://p:1", "NO_PROXY": exceptions,
    ])
    #expect((settings.proxy != nil) == isUsed)
  }

  @Test func waitsDoubleUpToALimit() {
    var retries = HubSettings.Retries()
    retries.first = .seconds(1)
    retries.longest = .seconds(6)
    #expect((1...5).map { retries.wait(before: $0) } == [1, 2, 4, 6, 6].map { .seconds($0) })
    #expect(retries.wait(before: 1000) == .seconds(6))
  }
}
