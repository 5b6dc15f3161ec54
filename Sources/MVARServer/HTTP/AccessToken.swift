import CDigest

/// A secret that clients present.
public struct AccessToken: Sendable {
  /// Digests have one length, so that comparing them tells nothing about the secret's.
  private let digest: [UInt8]

  /// Nil for a token that is too short to be one.
  public init?(_ secret: String) {
    guard secret.utf8.count >= Self.shortest else { return nil }
    digest = Self.sha256(secret)
  }

  public static let shortest = 8

  /// Takes the same time whatever is given.
  public func matches(_ given: String) -> Bool {
    CRYPTO_memcmp(digest, Self.sha256(given), digest.count) == 0
  }

  private static func sha256(_ text: String) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    let bytes = Array(text.utf8)
    EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return digest
  }
}
