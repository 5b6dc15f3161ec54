/// - Throws: ``TrainingError`` naming a setting that does not hold, its value and the mend.
func checkSetting(_ holds: Bool, _ name: String, _ value: some Any, _ mend: String)
  throws(TrainingError)
{
  guard holds else { throw TrainingError(.setting, "\(name) is \(value); \(mend)") }
}

/// - Parameter limit: Leaves room for every product of what is counted.
/// - Throws: ``TrainingError`` for less than one, or more than the limit.
func checkSetting(_ name: String, _ count: Int, atMost limit: Int) throws(TrainingError) {
  try checkSetting(
    (1...limit).contains(count), name, count, count < 1 ? "use 1 or more" : "use 1 to \(limit)")
}
