/// What the arrays of a `.npz` file are, told by their names and shapes as OpenAI's evaluator and
/// pytorch-fid write them.
struct NumPyContents {
  /// `[N, H, W, 3]` uint8
  let pictures: NumPyArchive.Entry?
  /// `[N, D]` of floats
  let features: NumPyArchive.Entry?
  /// mu `[D]` and sigma `[D, D]`
  let pooled: (mean: NumPyArchive.Entry, covariance: NumPyArchive.Entry)?
  /// mu_s and sigma_s
  let spatial: (mean: NumPyArchive.Entry, covariance: NumPyArchive.Entry)?

  init(_ archive: NumPyArchive) {
    pictures = archive.entries.first {
      $0.header.element == .uint8 && $0.header.shape.count == 4 && $0.header.shape[3] == 3
        && $0.header.shape.allSatisfy { $0 > 0 }
    }
    let statistics: Set<String> = ["mu", "sigma", "mu_s", "sigma_s"]
    features = archive.entries.first {
      !statistics.contains($0.name) && $0.header.shape.count == 2 && $0.header.elementCount > 0
        && [.float16, .float32, .float64].contains($0.header.element)
    }
    func pair(_ mean: String, _ covariance: String) -> (
      mean: NumPyArchive.Entry, covariance: NumPyArchive.Entry
    )? {
      guard let mean = archive[mean], let covariance = archive[covariance],
        mean.header.shape.count == 1,
        covariance.header.shape == [mean.header.shape[0], mean.header.shape[0]]
      else { return nil }
      return (mean, covariance)
    }
    pooled = pair("mu", "sigma")
    spatial = pair("mu_s", "sigma_s")
  }
}

extension NumPyArchive {
  /// The names, types and shapes of the arrays, for a message.
  var summary: String {
    let listed =
      entries.map { "\($0.name) \($0.header.shape) \($0.header.element)" }
      + unread
    if listed.isEmpty { return "no arrays" }
    return listed.prefix(6).joined(separator: ", ") + (listed.count > 6 ? " and more" : "")
  }
}
