import CDigest

/// A digest by OpenSSL, piece by piece.
public final class MessageDigest {
  public enum Function: Sendable {
    case sha1
    case sha256
  }

  private let context = EVP_MD_CTX_new()

  public init(_ function: Function) {
    let kind = function == .sha1 ? EVP_sha1() : EVP_sha256()
    EVP_DigestInit_ex(context, kind, nil)
  }

  deinit { EVP_MD_CTX_free(context) }

  public func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  public func update(_ text: String) { Array(text.utf8).withUnsafeBytes(update) }

  /// The digest of all that was given, once.
  public func hexadecimal() -> String {
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    EVP_DigestFinal_ex(context, &digest, &count)
    return digest.prefix(Int(count)).map { byte in
      let text = String(byte, radix: 16)
      return byte < 16 ? "0" + text : text
    }.joined()
  }
}
