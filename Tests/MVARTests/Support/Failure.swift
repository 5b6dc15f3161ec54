import MVAR
import Testing

/// Whether an error is one line that has all the given parts.
func expectLine(
  _ error: (any Error)?, _ parts: String..., at location: SourceLocation = #_sourceLocation
) {
  guard let error else { return }
  let line = "\(error)"
  for part in parts { #expect(line.contains(part), "\(line)", sourceLocation: location) }
  #expect(!line.contains("\n"), "\(line)", sourceLocation: location)
}

/// The error that a body throws, whose message must hold all the given parts on one line.
func expectFailure(
  _ kind: MVARError.Kind, _ parts: String..., at location: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  let error = #expect(throws: MVARError.self, sourceLocation: location) { try body() }
  guard let error else { return }
  #expect(error.kind == kind, "\(error)", sourceLocation: location)
  for part in parts {
    #expect(error.description.contains(part), "\(error)", sourceLocation: location)
  }
  #expect(!error.description.contains("\n"), "\(error)", sourceLocation: location)
}
