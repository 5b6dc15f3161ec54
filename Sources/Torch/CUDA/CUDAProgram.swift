import CTorch
import Foundation

/// Kernels in CUDA C++, compiled for the GPU at hand when first used. Compiled code is kept on disk.
public final class CUDAProgram {
  private let module: ct_module

  /// - Parameter definitions: macros, as `NAME` → `value`.
  /// - Throws: ``TorchError`` with the compiler's messages.
  public init(source: String, name: String, definitions: [String: String] = [:]) throws {
    let capability = try CUDA.properties().computeCapability
    let macros = definitions.sorted { $0.key < $1.key }.map { "-D\($0.key)=\($0.value)" }
    let options =
      [
        "-arch=\(Self.architecture(capability))", "-std=c++17", "-default-device", "-use_fast_math",
        // Optimised by as many threads; the code depends on whether this is more than one, not on how many cores there are.
        "--split-compile=8",
      ] + macros
    let cubin = try CompiledKernels.code(key: [source] + options) {
      try Self.compile(source, name, options)
    }
    // Never unloaded: programs live as long as the process.
    module = try cubin.withUnsafeBufferPointer { bytes throws(TorchError) in
      try CUDA.call("module_load", ct_module?.none) { $0.module_load(bytes.baseAddress, &$1) }!
    }
  }

  /// What code is made for: on Hopper with what only Hopper has.
  private static func architecture(_ capability: Int) -> String {
    capability == 90 ? "sm_90a" : "sm_\(capability)"
  }

  /// - Parameter sharedBytes: dynamic shared memory that every launch gets.
  public func kernel(_ name: String, sharedBytes: Int = 0) throws(TorchError) -> CUDAKernel {
    let handle = try CUDA.call("module_kernel", ct_kernel?.none) {
      $0.module_kernel(module, name, UInt32(sharedBytes), &$1)
    }!
    return CUDAKernel(handle: handle, name: name, sharedBytes: sharedBytes)
  }

  private static func compile(_ source: String, _ name: String, _ options: [String]) throws
    -> [UInt8]
  {
    let copies = options.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    let pointers = copies.map { UnsafePointer($0) }
    let cubin = try CUDA.call("compile", ct_cubin()) { api, out in
      api.compile(source, name, pointers, pointers.count, &out)
    }
    defer { free(cubin.bytes) }
    return Array(UnsafeBufferPointer(start: cubin.bytes, count: cubin.count))
  }
}

/// Compiled kernels on disk, under names made of what they were compiled from.
private enum CompiledKernels {
  static func code(key: [String], _ compile: () throws -> [UInt8]) throws -> [UInt8] {
    let file = folder.appending(path: fingerprint(key) + ".cubin")
    if let stored = try? Data(contentsOf: file), !stored.isEmpty { return Array(stored) }
    let code = try compile()
    // Without a place to write, the next start compiles again; nothing else is lost.
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try? Data(code).write(to: file, options: .atomic)
    return code
  }

  private static var folder: URL {
    let environment = ProcessInfo.processInfo.environment
    let caches =
      environment["XDG_CACHE_HOME"].map { URL(filePath: $0) }
      ?? URL(filePath: environment["HOME"] ?? NSTemporaryDirectory()).appending(path: ".cache")
    return caches.appending(path: "swift-mvar/kernels")
  }

  /// 128 bits of FNV-1a, in two halves that start differently.
  private static func fingerprint(_ parts: [String]) -> String {
    func hash(_ start: UInt64) -> UInt64 {
      parts.joined(separator: "\0").utf8.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
    return [0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4].map { String(hash($0), radix: 16) }
      .joined()
  }
}
