import ClassNames
import Foundation
import HTTPTypes
import Hummingbird

/// Tells what the server has: its model and the classes.
struct ModelRoutes: Sendable {
  let facts: EngineFacts
  let labels: ClassLabels
  let configuration: ServerConfiguration
  private let started = Int(Date.now.timeIntervalSince1970)

  init(_ facts: EngineFacts, _ labels: ClassLabels, _ configuration: ServerConfiguration) {
    self.facts = facts
    self.labels = labels
    self.configuration = configuration
  }

  struct List<Element: Encodable>: Encodable {
    let object = "list"
    let data: [Element]

    enum CodingKeys: String, CodingKey { case object, data }
  }

  struct Model: Encodable {
    let id: String
    let object = "model"
    let created: Int
    let ownedBy = "mvar"
    let classes: Int
    let namedClasses: Bool
    let size: String
    let scales: [Int]
    let dtype: String
    let device: String
    let edits: Bool
    let maxCount: Int
    let defaults: Defaults

    struct Defaults: Encodable {
      let guidance: Double
      let topK: Int
      let topP: Double

      enum CodingKeys: String, CodingKey {
        case guidance
        case topK = "top_k"
        case topP = "top_p"
      }
    }

    enum CodingKeys: String, CodingKey {
      case id, object, created, classes, size, scales, dtype, device, edits, defaults
      case ownedBy = "owned_by"
      case namedClasses = "named_classes"
      case maxCount = "max_count"
    }
  }

  struct Class: Encodable {
    let number: Int
    let name: String?
    let names: [String]

    enum CodingKeys: String, CodingKey {
      case name, names
      case number = "class"
    }
  }

  private var model: Model {
    let settings = ImageParameters.defaults
    return Model(
      id: facts.name, created: started, classes: facts.classes, namedClasses: labels.hasNames,
      size: facts.size, scales: facts.scales, dtype: facts.dtype, device: facts.device,
      edits: facts.edits, maxCount: configuration.maxCount,
      defaults: .init(guidance: settings.guidance, topK: settings.topK, topP: settings.topP))
  }

  /// `GET /v1/models`
  @Sendable func models(_ request: Request, _ context: ServerContext) -> Response {
    .json(List(data: [model]))
  }

  /// `GET /v1/models/{model}`
  @Sendable func model(_ request: Request, _ context: ServerContext) throws -> Response {
    let id = (context.parameters.get("model") ?? "").removingPercentEncoding ?? ""
    guard id == facts.name else {
      throw APIError(
        status: .notFound, kind: .notFound,
        message: "model is \(quoted(id)); this server has \(quoted(facts.name))",
        parameter: "model", code: "model_not_found")
    }
    return .json(model)
  }

  /// `GET /v1/classes`
  @Sendable func classes(_ request: Request, _ context: ServerContext) -> Response {
    .json(
      List(
        data: (0..<facts.classes).map {
          Class(number: $0, name: labels.name(of: $0), names: labels.names(of: $0))
        }))
  }
}
