import Foundation

/// Runs `body` without the superuser's right to write anywhere, should the tests have it.
///
/// Linux keeps the user whose files may be touched for each thread, and only that of this one
/// changes. The C library's module does not declare the call.
func asAnOrdinaryUser<Result>(_ body: () throws -> Result) rethrows -> Result {
  #if os(Linux)
    typealias SetUser = @convention(c) (UInt32) -> Int32
    if geteuid() == 0, let symbol = dlsym(nil, "setfsuid") {
      let setUser = unsafeBitCast(symbol, to: SetUser.self)
      _ = setUser(65_534)
      defer { _ = setUser(0) }
      return try body()
    }
  #endif
  return try body()
}

/// A disk in memory that is full after a few kilobytes.
struct SmallDisk {
  private let path: String

  init?(at path: String, kilobytes: Int, options: String = "rw") {
    let size = "size=\(kilobytes)k,\(options)"
    guard Self.run("mount", "-t", "tmpfs", "-o", size, "tmpfs", path) else { return nil }
    self.path = path
  }

  func unmount() { _ = Self.run("umount", path) }

  /// Whether this system lets the tests mount one; containers often do not, even for the superuser.
  static let canBeMounted: Bool = {
    guard geteuid() == 0 else { return false }
    let folder = FileManager.default.temporaryDirectory.appending(path: "disk-\(UUID())")
    let manager = FileManager.default
    do { try manager.createDirectory(at: folder, withIntermediateDirectories: true) } catch {
      return false
    }
    defer { try? manager.removeItem(at: folder) }
    guard let disk = SmallDisk(at: folder.path, kilobytes: 64) else { return false }
    disk.unmount()
    return true
  }()

  private static func run(_ command: String...) -> Bool {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    process.standardError = FileHandle.nullDevice
    do { try process.run() } catch { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }
}
