import MVAR

/// One picture that a client asks for.
public enum PictureTask: Sendable, Hashable {
  /// A new picture.
  case draw(ImageRequest)
  /// A picture of which a part is drawn anew.
  case edit(EditRequest)

  /// What to draw; nil for nothing in particular.
  public var label: Int? {
    switch self {
    case .draw(let request): request.label
    case .edit(let request): request.label
    }
  }

  public var seed: UInt64 {
    switch self {
    case .draw(let request): request.seed
    case .edit(let request): request.seed
    }
  }

  public var settings: SamplingSettings? {
    switch self {
    case .draw(let request): request.settings
    case .edit(let request): request.settings
    }
  }
}
