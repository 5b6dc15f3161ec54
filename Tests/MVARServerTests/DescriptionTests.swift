import Foundation
import HTTPTypes
import Pictures
import Testing

@testable import MVARServer

/// The page and the description against what the server does.
struct DescriptionTests {
  @Test func theDescriptionHasEveryRouteAndNoOther() async throws {
    try await withServer(FakeEngine(edits: true)) { client in
      let description = try await client.get("/openapi.json").json()
      #expect(description["openapi"].text == "3.1.0")
      let paths = description["paths"].object
      let described = Set(
        paths.flatMap { path, operations in
          operations.object.keys.map { "\($0.uppercased()) \(path)" }
        })
      // The page is for people.
      let page: Set = ["GET /", "GET /page.css", "GET /page.js"]
      #expect(described.union(page) == client.server.routes.routes)
    }
  }

  @Test func theDescriptionHasEveryParameterAndNoOther() async throws {
    try await withServer { client in
      let schemas = try await client.get("/openapi.json").json()["components"]["schemas"]
      let generation = Set(schemas["GenerationRequest"]["properties"].object.keys)
      #expect(generation == ImageParameters.names.union(ImageParameters.ignored))
      for name in ["EditRequest", "EditForm"] {
        let edit = Set(schemas[name]["properties"].object.keys)
        // Some clients write it so.
        #expect(edit == generation.union(EditParameters.names).subtracting(["image[]"]))
      }
      let defaults = schemas["GenerationRequest"]["properties"]
      #expect(defaults["guidance"]["default"] == .number(ImageParameters.defaults.guidance))
      #expect(defaults["top_k"]["default"] == .integer(ImageParameters.defaults.topK))
      #expect(defaults["top_p"]["default"] == .number(ImageParameters.defaults.topP))
    }
  }

  @Test func theDescriptionHasTheSeedsThatAreTaken() async throws {
    try await withServer { client in
      let schemas = try await client.get("/openapi.json").json()["components"]["schemas"]
      for name in ["GenerationRequest", "EditRequest", "EditForm"] {
        let (number, text) = (
          schemas[name]["properties"]["seed"]["oneOf"][0],
          schemas[name]["properties"]["seed"]["oneOf"][1]
        )
        #expect(number["minimum"] == .integer(0) && number["maximum"] == .large(.max))
        let pattern = try Regex(text["pattern"].text ?? "")
        for seed in ["0", "7", "9999999999999999999", "18446744073709551615"] {
          #expect(seed.wholeMatch(of: pattern) != nil, "\(seed)")
          #expect(try await client.generate(#"{"class": 1, "seed": "\#(seed)"}"#).status == 200)
        }
        for seed in ["", "x", "1.5", "-1", "999999999999999999999"] {
          #expect(seed.wholeMatch(of: pattern) == nil, "\(seed)")
          #expect(try await client.generate(#"{"class": 1, "seed": "\#(seed)"}"#).status == 400)
        }
      }
    }
  }

  /// What depends on the model is told by `/v1/models`, and the description says so.
  @Test func theDescriptionSaysWhereTheLargestNumbersStand() async throws {
    try await withServer { client in
      let schemas = try await client.get("/openapi.json").json()["components"]["schemas"]
      for name in ["GenerationRequest", "EditRequest", "EditForm"] {
        let properties = schemas[name]["properties"]
        for (parameter, told) in [("n", "max_count"), ("partial_images", "scales")] {
          #expect(properties[parameter]["description"].text?.contains("`\(told)`") == true)
          #expect(properties[parameter]["description"].text?.contains("`/v1/models`") == true)
          #expect(schemas["Model"]["properties"][told] != .null)
        }
      }
      let model = try await client.get("/v1/models").json()["data"][0]
      let (count, scales) = (model["max_count"].integer ?? 0, model["scales"].list.count)
      for (name, most) in [("n", count), ("partial_images", scales)] {
        #expect(try await client.generate(#"{"class": 1, "\#(name)": \#(most)}"#).status == 200)
        let refused = try await client.generate(#"{"class": 1, "\#(name)": \#(most + 1)}"#)
        #expect(refused.status == 400 && refused.error.parameter == name)
      }
    }
  }

  @Test func theDescriptionHasTheAnswersThatAnyRouteMayGive() async throws {
    try await withServer(FakeEngine(edits: true)) { client in
      let paths = try await client.get("/openapi.json").json()["paths"].object
      for (path, operations) in paths {
        let answer = try await client.send(.delete, path)
        #expect(answer.status == 405 && answer.headers[.allow] != nil, "\(path)")
        for (method, operation) in operations.object {
          for status in ["403", "405", "421", "500"] {
            #expect(operation["responses"][status] != .null, "\(method) \(path) \(status)")
          }
        }
      }
    }
  }

  /// A variation has no class.
  @Test func theDescriptionHasWhatEveryPictureHas() async throws {
    try await withServer(FakeEngine(edits: true)) { client in
      let schema = try await client.get("/openapi.json").json()["components"]["schemas"]["Image"]
      let required = Set(schema["required"].list.compactMap(\.text))
      let picture = Data(
        try Picture(width: 8, height: 8, filledWith: .neutral).encoded(as: .png))
      let image = #"{"image": "\#(picture.base64EncodedString())", "strength": 0.5}"#
      let drawn = try await client.generate(#"{"class": 1}"#)
      for answer in [drawn, try await client.post("/v1/images/edits", image)] {
        let keys = Set(try answer.json()["data"][0].object.keys)
        #expect(required.isSubset(of: keys) && keys.isSubset(of: schema["properties"].object.keys))
      }
    }
  }

  /// Every reference leads somewhere, every operation has an answer and a name of its own.
  @Test func theDescriptionHoldsTogether() async throws {
    try await withServer { client in
      let description = try await client.get("/openapi.json").json()
      func references(_ value: JSONValue) -> [String] {
        switch value {
        case .object(let object):
          (object["$ref"]?.text.map { [$0] } ?? []) + object.values.flatMap(references)
        case .list(let list): list.flatMap(references)
        default: []
        }
      }
      for reference in Set(references(description)) {
        let steps = reference.split(separator: "/").dropFirst().map(String.init)
        #expect(steps.reduce(description) { $0[$1] } != .null, "\(reference)")
      }
      let operations = description["paths"].object.values.flatMap { $0.object.values }
      #expect(Set(operations.map { $0["operationId"].text }).count == operations.count)
      for operation in operations {
        #expect(operation["summary"].text != nil && operation["responses"]["200"] != .null)
      }
    }
  }

  @Test func modelsAndClasses() async throws {
    try await withServer { client in
      let model = try await client.get("/v1/models").json()["data"][0]
      #expect(model["id"].text == "fake" && model["classes"].integer == 1000)
      #expect(model["size"].text == "8x8" && model["named_classes"].flag == true)
      #expect(model["max_count"].integer == 16)
      #expect(try await client.get("/v1/models/fake").json() == model)
      #expect(try await client.get("/v1/models/other").status == 404)
      let classes = try await client.get("/v1/classes").json()["data"].list
      #expect(classes.count == 1000)
      #expect(classes[207]["name"].text == "golden retriever")
      #expect(classes[207]["class"].integer == 207)
    }
    try await withServer(try await goldenEngine()) { client in
      let classes = try await client.get("/v1/classes").json()["data"].list
      #expect(classes.count == 5 && classes[4]["name"] == .null && classes[4]["names"].list == [])
    }
  }

  @Test func healthAndReadiness() async throws {
    try await withServer { client in
      #expect(try await client.get("/healthz").json()["status"].text == "ok")
      #expect(try await client.get("/readyz").status == 200)
      await client.server.scheduler.stop()
      #expect(try await client.get("/readyz").status == 503)
      #expect(try await client.get("/healthz").status == 200)
      let answer = try await client.generate(#"{"class": 1}"#)
      #expect(answer.status == 503 && answer.error.code == "shutting_down")
    }
  }

  // MARK: The page

  @Test func thePageNeedsNothingFromElsewhere() async throws {
    try await withServer { client in
      let types = ["/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"]
      for (path, type) in types {
        let answer = try await client.get(path)
        #expect(answer.status == 200)
        #expect(answer.headers[.contentType]?.hasPrefix(type) == true)
        let elsewhere = answer.text.matches(of: /(https?:)?\/\/[a-z0-9.-]+\.[a-z]{2,}/)
          .map { String($0.output.0) }.filter { !$0.hasSuffix("www.w3.org") }
        #expect(elsewhere == [], "\(path)")
      }
    }
  }

  /// The content security policy forbids scripts and styles inside the page.
  @Test func thePageHasNoScriptOrStyleInside() async throws {
    try await withServer { client in
      let page = try await client.get("/").text
      #expect(page.matches(of: /<script(?![^>]*\ssrc=)/).isEmpty)
      #expect(page.matches(of: /<style|\sstyle=|\son[a-z]+=|javascript:/).isEmpty)
    }
  }

  @Test func whatTheScriptReachesForIsThere() async throws {
    try await withServer { client in
      let page = try await client.get("/").text
      let script = try await client.get("/page.js").text
      let ids = page.matches(of: /\sid="([^"]+)"/).map { String($0.output.1) }
      #expect(Set(ids).count == ids.count, "an id stands twice")
      for id in script.matches(of: /\$\('([a-z-]+)'\)/).map({ String($0.output.1) }) {
        #expect(ids.contains(id), "\(id)")
      }
      for attribute in ["aria-labelledby", "aria-describedby", "aria-controls", "for"] {
        let pattern = try Regex("\\s\(attribute)=\"([^\"]+)\"", as: (Substring, Substring).self)
        for id in page.matches(of: pattern).map({ String($0.output.1) }) {
          #expect(ids.contains(id), "\(attribute)=\(id)")
        }
      }
    }
  }

  @Test func everyInputHasAName() async throws {
    try await withServer { client in
      let page = try await client.get("/").text
      let labels = Set(page.matches(of: /\sfor="([^"]+)"/).map { String($0.output.1) })
      for input in page.matches(of: /<input[^>]*>/).map({ String($0.output) }) {
        let id = input.firstMatch(of: /\sid="([^"]+)"/).map { String($0.output.1) } ?? ""
        #expect(input.contains("hidden") || labels.contains(id), "\(input)")
      }
    }
  }
}
