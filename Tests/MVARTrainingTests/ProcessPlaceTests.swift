import MVARTraining
import Testing

@Suite struct ProcessPlaceTests {
  @Test func oneProcessIsAlone() throws {
    #expect(try ProcessPlace(environment: [:]) == nil)
    #expect(try ProcessPlace(environment: ["WORLD_SIZE": "1", "RANK": "0"]) == nil)
    #expect(try ProcessPlace(environment: ["SLURM_NTASKS": "1", "SLURM_PROCID": "0"]) == nil)
  }

  @Test func readsTorchrunsVariables() throws {
    let place = try #require(
      try ProcessPlace(environment: [
        "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "MASTER_ADDR": "node0",
        "MASTER_PORT": "1234", "TORCHELASTIC_USE_AGENT_STORE": "True",
      ]))
    #expect(place.ranks == 8 && place.rank == 5 && place.localRank == 1)
    #expect(place.host == "node0" && place.port == 1234 && place.storeIsElsewhere)
  }

  @Test func readsSlurmsVariables() throws {
    let place = try #require(
      try ProcessPlace(environment: [
        "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NNODES": "1",
      ]))
    #expect(place.rank == 1 && place.host == "127.0.0.1" && !place.storeIsElsewhere)
  }

  @Test(arguments: [
    (["WORLD_SIZE": "2"], "RANK is not set"),
    (
      ["WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a"], "RANK is 2, and should be one of 0...1"
    ),
    (["WORLD_SIZE": "x"], "WORLD_SIZE is x"),
    (["WORLD_SIZE": "2", "RANK": "0"], "MASTER_ADDR is not set"),
    (
      ["WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "99999"],
      "MASTER_PORT is 99999"
    ),
  ]) func saysWhatIsWrong(_ environment: [String: String], _ message: String) {
    let error = #expect(throws: TrainingError.self) { try ProcessPlace(environment: environment) }
    #expect(error?.description.hasPrefix(message) == true)
  }
}
