import Foundation
import MVAR

/// The folder of a run: its checkpoints, its log, and in the end its model.
///
///     runs/d16/
///       checkpoints/step-0001200/     the newest of a few; one is whole or not there
///         model.safetensors           under the published names
///         average.safetensors         the averaged weights, likewise
///         optimizer.safetensors
///         state.json                  settings, position in the data, class names
///       log.jsonl
///       model.safetensors             when the run is over
public final class RunFolder {
  public let path: String
  private let lock: Int32

  /// A checkpoint that can be resumed from.
  public struct SavedStep: Sendable, Equatable {
    public let step: Int
    public let path: String
  }

  /// Makes the folder where it is missing, and keeps other processes from training in it.
  ///
  /// - Throws: ``TrainingError`` where it cannot be made, or another process trains in it.
  public init(_ path: String) throws(TrainingError) {
    let checkpoints = path + "/checkpoints"
    do {
      try FileManager.default.createDirectory(
        atPath: checkpoints, withIntermediateDirectories: true)
    } catch {
      throw TrainingError(
        .file,
        "\(path) cannot be used as a run's folder (\(Self.reason(error))); choose another --out")
    }
    let descriptor = open(path + "/.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let busy = descriptor >= 0 && errno == EWOULDBLOCK
      if descriptor >= 0 { close(descriptor) }
      throw TrainingError(
        .file,
        busy
          ? "\(path) is in use by another process that trains; wait for it or choose another --out"
          : "\(path) cannot be written; choose another --out")
    }
    // Only now, as `deinit` closes the lock of whatever is set.
    (self.path, lock) = (path, descriptor)
    removeLeftovers()
  }

  deinit { close(lock) }

  public var logPath: String { path + "/log.jsonl" }

  /// Checkpoints, oldest first.
  public var saved: [SavedStep] { Self.saved(in: path) }

  /// The checkpoints in a run's folder, oldest first; none where there is no such folder.
  public static func saved(in path: String) -> [SavedStep] {
    let checkpoints = path + "/checkpoints"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: checkpoints)) ?? []
    return names.compactMap { name in
      guard name.hasPrefix("step-"), let step = Int(name.dropFirst(5)) else { return nil }
      return SavedStep(step: step, path: "\(checkpoints)/\(name)")
    }.sorted { $0.step < $1.step }
  }

  /// Whether a folder has what `resumes` says.
  ///
  /// - Throws: ``TrainingError`` where a run is there and is not gone on with, or the other way round.
  static func check(_ path: String, resumes: Bool) throws(TrainingError) {
    let last = saved(in: path).last
    if let last, !resumes {
      throw TrainingError(
        .resume,
        "\(path) has a run at step \(last.step); go on with it by --resume, or "
          + "choose another --out")
    }
    if last == nil, resumes {
      throw TrainingError(
        .resume, "\(path) has no checkpoint to go on from; leave --resume out to begin")
    }
  }

  /// Saves a checkpoint under its name once it is whole, then removes the oldest.
  ///
  /// - Parameters:
  ///   - keeping: How many checkpoints stay.
  ///   - write: Fills the folder that it is given.
  /// - Throws: What `write` threw, or ``TrainingError``; the checkpoints before are untouched.
  public func save(step: Int, keeping: Int, _ write: (String) throws -> Void) throws -> SavedStep {
    let name = "step-" + String(repeating: "0", count: max(7 - "\(step)".count, 0)) + "\(step)"
    let (final, temporary) = ("\(checkpoints)/\(name)", "\(checkpoints)/.\(name).tmp")
    do {
      try? FileManager.default.removeItem(atPath: temporary)
      try FileManager.default.createDirectory(
        atPath: temporary, withIntermediateDirectories: false)
      try write(temporary)
      try? FileManager.default.removeItem(atPath: final)
      guard rename(temporary, final) == 0 else {
        throw TrainingError(
          .file, "\(final) cannot be made (\(String(cString: strerror(errno)))); make room for it")
      }
      Self.synchronize(checkpoints)
    } catch {
      try? FileManager.default.removeItem(atPath: temporary)
      throw error
    }
    for old in saved.dropLast(max(keeping, 1)) {
      try? FileManager.default.removeItem(atPath: old.path)
    }
    return SavedStep(step: step, path: final)
  }

  private var checkpoints: String { path + "/checkpoints" }

  /// What a crash in the middle of saving left.
  private func removeLeftovers() {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: checkpoints)) ?? []
    for name in names where name.hasSuffix(".tmp") {
      try? FileManager.default.removeItem(atPath: "\(checkpoints)/\(name)")
    }
  }

  /// Writes a small file, and does not return before it is safe on the disk.
  static func write(_ data: Data, to path: String) throws(TrainingError) {
    do {
      try data.write(to: URL(filePath: path))
      let file = try FileHandle(forUpdating: URL(filePath: path))
      try file.synchronize()
      try file.close()
    } catch {
      throw TrainingError(
        .file, "\(path) cannot be written (\(reason(error))); make room on the disk")
    }
  }

  /// Makes the names in a folder last; not every file system can.
  private static func synchronize(_ folder: String) {
    let descriptor = open(folder, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }

  static func reason(_ error: any Error) -> String {
    let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
    if let underlying, underlying.domain == NSPOSIXErrorDomain {
      return String(cString: strerror(Int32(underlying.code)))
    }
    return (error as NSError).localizedFailureReason ?? error.localizedDescription
  }
}
