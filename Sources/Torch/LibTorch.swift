import CTorch
import Foundation
import Synchronization

/// libtorch, opened at run time.
///
/// Nothing links against libtorch, so a program starts at once and a missing library is an error
/// that it can report. ``load(cuda:)`` has to succeed before the first ``Tensor`` is made.
public enum LibTorch {
  /// Set once, under the lock, before any tensor exists; read without it afterwards.
  nonisolated(unsafe) static var table: UnsafePointer<CTorchAPI>!
  private static let lock = Mutex<Void>(())

  /// Opens libtorch and the shim over it; does nothing when that was done before.
  ///
  /// libtorch is looked for in `$LIBTORCH` and `$LIBTORCH/lib`, beside the program (`../lib`), where
  /// `make setup` put it when the program was built, and last where the system's loader looks.
  ///
  /// - Parameter cuda: Whether to open libtorch's CUDA half too, where there is one.
  /// - Throws: ``TorchError`` naming what could not be opened.
  public static func load(cuda: Bool = hasNVIDIADriver) throws(TorchError) {
    try lock.withLock { _ throws(TorchError) in
      guard table == nil else { return }
      let message = withCStrings(torchDirectories(besides: ownDirectory)) { torch in
        withShimDirectories { ct_load(torch, $0, cuda, &table) }
      }
      if let message { throw loadingError(takeString(message)) }
    }
  }

  /// The version of the libtorch that was opened, for example "2.11.0".
  public static var version: String { String(cString: table.pointee.torch_version) }

  /// Whether an NVIDIA driver is installed, so that opening the CUDA half can be of use.
  public static var hasNVIDIADriver: Bool { access("/dev/nvidiactl", F_OK) == 0 }

  static func withShimDirectories<R>(_ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R) -> R {
    let program = ownDirectory
    return withCStrings([program, program + "/../lib", program + "/../lib/mvar"], body)
  }

  private static var ownDirectory: String {
    ct_own_directory().map(takeString) ?? "."
  }

  private static func torchDirectories(besides program: String) -> [String] {
    let chosen = ProcessInfo.processInfo.environment["LIBTORCH"].map { [$0 + "/lib", $0] } ?? []
    let built = String(cString: ct_build_torch_directory()) + "/lib"
    return chosen + [program + "/../lib/mvar/torch/lib", built]
  }

  private static func loadingError(_ detail: String) -> TorchError {
    TorchError(
      kind: .libraryNotFound, operation: "opening libtorch",
      message: "\(detail); run `make setup` in the project's folder, or name a PyTorch 2.11 "
        + "with LIBTORCH=<folder with lib/>")
  }
}

/// Copies a string of the shim and frees it.
func takeString(_ text: UnsafeMutablePointer<CChar>) -> String {
  defer { free(text) }
  return String(cString: text)
}

private func withCStrings<R>(
  _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R
) -> R {
  let copies = strings.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return (copies.map { UnsafePointer($0) } + [nil]).withUnsafeBufferPointer {
    body($0.baseAddress!)
  }
}
