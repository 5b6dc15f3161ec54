import Testing

/// Runs of the program, one after the other: each uses all cores.
@Suite(.serialized) struct CommandTests {}
