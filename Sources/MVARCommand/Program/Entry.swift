import Foundation

/// Where the program begins and ends.
@main enum Entry {
  static func main() async {
    let arguments = Array(CommandLine.arguments.dropFirst())
    let work = Task { await Program.run(arguments) }
    let interruption = Interruption { work.cancel() }
    let status = await work.value
    exit(status == .interrupted ? 128 + (interruption.signal ?? SIGINT) : status.code)
  }
}
