#!/usr/bin/env python3
"""Loads `mvar serve` with many clients and compares it with batches drawn directly.

    apt-get install wrk
    python3 Benchmarks/server/load.py --mvar .build/release/mvar --seconds 300 --clients 64

The load comes from wrk, whose clients ask again as soon as they have an answer. Prints throughput,
percentiles of what was accepted (from the server's own log), answers by status, and how the server's
memory went; exits with 1 if anything but 200 and 429 was answered, memory grew by more than 5 %, the 99th
percentile is above 3 × queue × single latency ÷ batch gain, or throughput is more than 10 % below that of
direct batches.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time

from served import Server, add_options

ASK = """
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function init() math.randomseed(os.time() + id * 7919) end
function request()
  local body = string.format('{"class": %%d, "seed": %%d, "n": %d}', math.random(0, %d), math.random(0, 2^31 - 1))
  return wrk.format("POST", "/v1/images/generations", {["Content-Type"] = "application/json"}, body)
end
"""


def direct(options):
    """Seconds a picture, in batches of one and of the server's size."""
    seconds = {}
    for batch in sorted({1, options.batch}):
        with tempfile.TemporaryDirectory() as folder:
            command = [options.mvar, "sample", "--model", options.model, "--tokenizer",
                       options.tokenizer, "--class", "0", "--count", str(max(5 * batch, 8)),
                       "--batch", str(batch), "--out", folder, "--json", "-", "--quiet"]
            if options.threads:
                command += ["--threads", str(options.threads)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # The first batch warms up; a last one that is not full is another size.
        records = json.loads(output)[batch:]
        records = records[:len(records) // batch * batch]
        seconds[batch] = sum(record["seconds"] for record in records) / len(records)
    return seconds[1], seconds[options.batch]


def percentile(values, share):
    values = sorted(values)
    return values[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


class Memory(threading.Thread):
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.samples, self.goes_on = server, [], True

    def run(self):
        while self.goes_on:
            try:
                self.samples.append(self.server.resident())
            except OSError:
                return
            time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--count", type=int, default=1, help="pictures of a request")
    parser.add_argument("--json", help="also write the result to this file")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("load: wrk is missing; apt-get install wrk")

    single, batched = direct(options)
    print("direct: %.1f ms a picture alone, %.1f in batches of %d (%.2f pictures/s)" % (
        1e3 * single, 1e3 * batched, options.batch, 1 / batched))
    with Server(options, "--batch", options.batch, "--queue", options.queue) as server:
        classes = json.loads(server.get("/v1/models")[1])["data"][0]["classes"]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(ASK % (options.count, classes - 1))
            script.flush()
            command = ["wrk", "--threads", "1", "--connections", str(options.clients), "--timeout",
                       "600s", "--script", script.name]
            # Until memory has what it needs.
            subprocess.run(command + ["--duration", "%ds" % max(options.seconds // 6, 5), server.url],
                           check=True, stdout=subprocess.DEVNULL)
            first = len(server.requests)
            memory = Memory(server)
            memory.start()
            start = time.monotonic()
            wrk = subprocess.run(
                command + ["--duration", "%ds" % options.seconds, server.url], check=True,
                capture_output=True, text=True).stdout
            elapsed = time.monotonic() - start
        # What wrk leaves behind at its end is withdrawn, and no answer.
        finished = list(server.requests)[first:]
        memory.goes_on = False
        memory.join()
    statuses = {}
    for request in finished:
        if request["route"] == "/v1/images/generations" and request["status"] != 499:
            statuses[request["status"]] = statuses.get(request["status"], 0) + 1
    accepted = [request["seconds"] for request in finished
                if request["status"] == 200 and request["method"] == "POST"]
    quarter = max(len(memory.samples) // 4, 1)
    before = sum(memory.samples[:quarter]) / quarter
    after = sum(memory.samples[-quarter:]) / quarter
    bound = 3 * (options.queue * single / (single / batched))
    result = {
        "seconds": elapsed, "clients": options.clients, "batch": options.batch,
        "pictures_per_second": len(accepted) * options.count / elapsed,
        "direct_pictures_per_second": 1 / batched,
        "p50": percentile(accepted, 0.5), "p99": percentile(accepted, 0.99), "p99_bound": bound,
        "statuses": statuses, "memory_before": before, "memory_after": after,
        "memory_growth": after / before - 1,
    }
    print(wrk)
    print("served: %.2f pictures/s (%.0f %% of direct), p50 %.0f ms, p99 %.0f ms (bound %.0f)" % (
        result["pictures_per_second"],
        100 * result["pictures_per_second"] / result["direct_pictures_per_second"],
        1e3 * result["p50"], 1e3 * result["p99"], 1e3 * bound))
    print("answers by status: %s" % statuses)
    print("memory: %.1f MiB, then %.1f MiB (%+.1f %%)" % (
        before / 2**20, after / 2**20, 100 * result["memory_growth"]))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=2)
    failures = [
        (set(statuses) - {200, 429}, "answers other than 200 and 429"),
        (result["memory_growth"] > 0.05, "memory grew by more than 5 %"),
        (not result["p99"] <= bound, "the 99th percentile is above its bound"),
        (result["pictures_per_second"] < 0.9 / batched, "throughput is below 90 % of direct batches"),
    ]
    for failed, what in failures:
        if failed:
            print("FAILED: " + what)
    raise SystemExit(any(failed for failed, _ in failures))


if __name__ == "__main__":
    main()
