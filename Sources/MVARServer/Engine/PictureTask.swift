import MVAR

/// One picture that a client asks for.
public enum PictureTask: Sendable, Hashable {
  /// A new picture.
  case draw(ImageRequest)

  /// The class and the seed.
  public var request: ImageRequest {
    switch self {
    case .draw(let request): request
    }
  }
}
