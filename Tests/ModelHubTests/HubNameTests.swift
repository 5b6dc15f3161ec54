import Testing

@testable import ModelHub

@Suite struct HubNameTests {
  @Test(
    arguments: [
      ("OliverRen/M-VAR", "OliverRen/M-VAR", "main", nil),
      ("OliverRen/M-VAR/d16.pth", "OliverRen/M-VAR", "main", "d16.pth"),
      ("hf://a/b.c@v1.0/x/y z.safetensors", "a/b.c", "v1.0", "x/y z.safetensors"),
      ("a/b@refs/x", "a/b", "refs", "x"),
    ] as [(String, String, String, String?)]) func namesAreRead(
      _ text: String, _ repository: String, _ revision: String, _ path: String?
    ) throws
  {
    let name = try HubName(parsing: text)
    #expect("\(name.repository)" == repository)
    #expect(name.revision == revision)
    #expect(name.file?.path == path)
  }

  @Test(arguments: [
    "", "a", "/", "a/", "/b", "a//b", "-a/b", "a./b", "a/b--c", "a/..", "../b", "a/b c", "ä/b",
    "a/b.git", "a/b@/x", "a/b/", "a/b/../c", "a/b/./c", "a/b//c", "a/b/c\\d", "a/b/c\nd",
    "a/b@../c",
    "a/" + String(repeating: "b", count: 100),
  ]) func otherTextIsRefused(_ text: String) {
    let error = #expect(throws: HubError.self) { try HubName(parsing: text) }
    #expect(error?.kind == .invalidName)
    #expect(error?.description.contains("\n") == false)
  }

  @Test func namesComeBack() throws {
    for text in ["a/b/c.pth", "a/b@v2/c/d.pth"] {
      #expect(try HubName(parsing: text).file?.description == text)
    }
  }

  @Test func addressesAreEscaped() throws {
    let file = try HubFile(
      HubRepository(owner: "a", name: "b"), "x/é y#1.pth", revision: "feature/new")
    #expect(
      HubAddress.file(file, endpoint: "http://h")
        == "http://h/a/b/resolve/feature%2Fnew/x/%C3%A9%20y%231.pth")
  }

  // MARK: Known models

  @Test func knownNamesAreDistinctAndHaveTokenizers() {
    let all = ModelCatalogue.all
    #expect(Set(all.map(\.name)).count == all.count && Set(all.map(\.file)).count == all.count)
    for model in all {
      #expect((model.tokenizer == nil) == (model.kind == .tokenizer))
      #expect(ModelCatalogue.named(model.name) == model)
    }
    #expect(ModelCatalogue.named("m-var-d16")?.file.description == "OliverRen/M-VAR/d16.pth")
    #expect(
      ModelCatalogue.named("var-d36")?.file.description == "FoundationVision/var/var_d36.pth")
    #expect(ModelCatalogue.named("m-var-d17") == nil)
  }

  @Test(
    arguments: [
      (["README.md", "d16.pth", "vae_x.pth"], "d16.pth", "vae_x.pth", 1),
      (["d16.pth", "d20.pth"], nil, nil, 2),
      (
        [
          "m.safetensors.index.json", "m-00001-of-00002.safetensors",
          "m-00002-of-00002.safetensors",
        ],
        "m.safetensors.index.json", nil, 1
      ),
      (
        ["sub/model.safetensors", "sub/tokenizer.safetensors"], "sub/model.safetensors",
        "sub/tokenizer.safetensors", 1
      ),
      (["README.md", "config.json"], nil, nil, 0),
    ] as [([String], String?, String?, Int)]) func theOneModelIsChosen(
      _ paths: [String], _ model: String?, _ tokenizer: String?, _ count: Int
    )
  {
    let choice = CheckpointChoice(among: paths)
    #expect(choice.model == model && choice.tokenizer == tokenizer)
    #expect(choice.models.count == count)
  }
}
