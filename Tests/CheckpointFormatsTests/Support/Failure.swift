import CheckpointFormats
import Testing

/// The error that a body throws, whose message must hold all the given parts on one line.
@discardableResult
func expectFailure(
  _ kind: CheckpointFormatError.Kind, _ parts: String...,
  at location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> CheckpointFormatError? {
  let error = #expect(throws: CheckpointFormatError.self, sourceLocation: location) { try body() }
  guard let error else { return nil }
  #expect(error.kind == kind, "\(error)", sourceLocation: location)
  for part in parts {
    #expect(error.description.contains(part), "\(error)", sourceLocation: location)
  }
  #expect(!error.description.contains("\n"), sourceLocation: location)
  return error
}
