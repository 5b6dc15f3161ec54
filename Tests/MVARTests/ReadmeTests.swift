import Foundation
import Testing

/// The README's example is the snippet that the build compiles.
@Test func readmeShowsTheSnippet() throws {
  let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
  let snippet = try String(
    contentsOf: root.appending(path: "Snippets/Generate.swift"), encoding: .utf8)
  let code = snippet.split(separator: "\n", omittingEmptySubsequences: false).dropFirst()
    .joined(separator: "\n")
  #expect(code.contains("ImageGenerator"))
  #expect(readme.contains("```swift\n" + code + "```"))
}
