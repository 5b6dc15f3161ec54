import Foundation
import Testing

@testable import MVARServer

/// Forms with files, as browsers and curl send them.
struct FormTests {
  private func fields(_ body: String, boundary: String = "XX") throws -> RequestFields {
    try MultipartForm.fields(
      Data(body.utf8), contentType: "multipart/form-data; boundary=\(boundary)")
  }

  @Test func partsBecomeFields() throws {
    var fields = try fields(
      "--XX\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n"
        + "--XX \r\ncontent-disposition: form-data; name=image; filename=\"a;b\\\".png\"\r\n"
        + "Content-Type: image/png\r\n\r\n\r\n--X\r\n\r\n"
        + "\r\n--XX\r\nContent-Disposition: form-data; name=\"class\"\r\n\r\ntabby\r\n--XX--\r\n")
    #expect(fields.names == ["n", "image", "class"])
    #expect(try fields.integer("n", in: 1...4) == 2)
    #expect(try fields.file("image") == Array("\r\n--X\r\n\r\n".utf8))
    #expect(try fields.text("class", limit: 10) == "tabby")
  }

  @Test func anEmptyFormHasNoFields() throws {
    #expect(try fields("--XX--\r\n").names.isEmpty)
  }

  @Test(arguments: [
    "", "XX", "--XX", "--XX\r\n", "--XX\r\n\r\n", "--XX\r\nContent-Disposition: form-data\r\n\r\nx",
    "--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--",
    "--XX\r\nContent-Disposition: form-data; name=a\r\nx\r\n--XX--",
    "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--XX",
  ]) func aFormThatCannotBeRead(_ body: String) {
    let error = #expect(throws: APIError.self) { try fields(body) }
    #expect(error?.code == "invalid_form" && error?.status == .badRequest)
  }

  @Test func aFormWithoutABoundary() {
    for type in [
      "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; b=XX",
    ] {
      #expect(throws: APIError.self) {
        try MultipartForm.fields(Data("--XX--".utf8), contentType: type)
      }
    }
  }

  @Test func aNameThatIsThereTwice() {
    let part = "--XX\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n"
    let error = #expect(throws: APIError.self) { try fields(part + part + "--XX--") }
    #expect(error?.message.contains("twice") == true)
  }

  /// Clients of other images APIs send lists of pictures so.
  @Test(arguments: [["image", "image[]"], ["image[]", "image"], ["image[]", "image[]"]])
  func onlyOnePictureIsEdited(_ names: [String]) throws {
    let parts = names.map {
      "--XX\r\nContent-Disposition: form-data; name=\"\($0)\"; filename=\"a.png\"\r\n\r\n\($0)\r\n"
    }
    let one = "--XX\r\nContent-Disposition: form-data; name=n\r\n\r\n1\r\n" + parts[0] + "--XX--"
    var single = try fields(one)
    #expect(try EditParameters.picture(of: &single) == Array(names[0].utf8))
    let error = #expect(throws: APIError.self) {
      var fields = try fields(parts.joined() + "--XX--")
      _ = try EditParameters.picture(of: &fields)
    }
    #expect(error?.status == .badRequest && error?.code == "too_many_images")
    #expect(error?.parameter == "image")
    #expect(error?.message.contains("one at a time") == true, "\(error?.message ?? "")")
  }

  @Test(arguments: [
    "[[[[", String(repeating: "[", count: 60_000),
    #"{"a": "\\","# + String(repeating: #""b": [0, 1], "#, count: 100),
    "{" + (0..<101).map { #""k\#($0)": 1"# }.joined(separator: ",") + "}",
  ]) func valuesWithoutEndAreNotRead(_ json: String) {
    let error = #expect(throws: APIError.self) { try RequestFields(json: Data(json.utf8)) }
    #expect(error?.code == "invalid_json")
    #expect(error?.message.contains("values") == (json.count > 4))
  }

  @Test func whatTextsHoldAreNoValues() throws {
    let text = String(repeating: #"[{,\"\\"#, count: 200)
    var fields = try RequestFields(json: Data(#"{"a": "\#(text)", "b": 1}"#.utf8))
    #expect(try fields.text("a", limit: 2000) == String(repeating: #"[{,"\"#, count: 200))
    #expect(try fields.integer("b", in: 0...1) == 1)
  }

  @Test func filesInJSON() throws {
    let json =
      #"{"a": "aGk=", "b": "data:image/png;base64,aGk=", "c": "h!", "d": "data:,hi", "e": 1}"#
    var fields = try RequestFields(json: Data(json.utf8))
    #expect(try fields.file("a") == Array("hi".utf8))
    #expect(try fields.file("b") == Array("hi".utf8))
    #expect(throws: APIError.self) { try fields.file("c") }
    #expect(throws: APIError.self) { try fields.file("d") }
    #expect(throws: APIError.self) { try fields.file("e") }
    #expect(try fields.file("absent") == nil)
  }
}
