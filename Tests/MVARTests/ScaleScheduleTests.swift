import MVAR
import Testing

@Suite struct ScaleScheduleTests {
  @Test(arguments: [
    ("1", "1"), ("1,2,3", "1,2,3"), ("1x1,2x3,4x6", "1,2x3,4x6"), (" 1, 2 ,3x3", "1,2,3"),
    ("3,2,2", "3,2,2"),
  ])
  func readsWhatItWrites(text: String, written: String) throws {
    let schedule = try ScaleSchedule(parsing: text)
    #expect(schedule.description == written)
    #expect(try ScaleSchedule(parsing: written) == schedule)
  }

  @Test func heightComesFirst() throws {
    let size = try ScaleSchedule(parsing: "1,2x3").final
    #expect((size.height, size.width, size.count) == (2, 3, 6))
  }

  @Test(arguments: [
    "", ",", "1,", ",1", "1,,2", "a", "1x", "x2", "x", "1x2x3", "1xx2", "1.5", "1 2", "1;2", "-1",
    "0", "1x0", "0x2", "2,-3x1", "99999999999999999999", "9999999999x9999999999",
  ])
  func refuses(_ text: String) {
    expectFailure(.invalidValue, "scales is \(text.isEmpty ? "empty" : "")", "such as 1,2,3,4") {
      _ = try ScaleSchedule(parsing: text)
    }
  }

  @Test func refusesNothing() {
    expectFailure(.invalidValue, "scales is empty") { _ = try ScaleSchedule([]) }
    expectFailure(.invalidValue, "2x0") { _ = try ScaleSchedule([.init(1, 1), .init(2, 0)]) }
    expectFailure(.invalidValue, "-2") { _ = try ScaleSchedule(squares: [1, -2]) }
  }

  @Test func rangesTileTheSequence() throws {
    let schedule = try ScaleSchedule(parsing: "1,2x3,4")
    #expect(schedule.ranges == [0..<1, 1..<7, 7..<23])
    #expect(schedule.tokenCount == 23 && schedule.count == 3)
  }

  @Test func publishedSchedules() {
    #expect(ScaleSchedule.px256.tokenCount == 680)
    #expect(ScaleSchedule.px512.tokenCount == 2240)
    #expect(ScaleSchedule.px256.final == .init(16, 16))
    #expect(ScaleSchedule.px512.final == .init(32, 32))
  }
}
