#!/usr/bin/env python3
"""Measures a running `mvar serve` at several numbers of clients, with Python's standard library alone.

    mvar serve --model d16.pth --tokenizer vae_ch160v4096z32.pth --port 8080 &
    python3 Benchmarks/server/latency.py --url http://127.0.0.1:8080 --clients 1 8 64 --seconds 30

Each client asks for one picture after the other. What is refused with 429 is counted, and asked for
again after the time that the answer names. Latencies are those of answers with pictures, from the
request's first byte to the answer's last.
"""

import argparse
import http.client
import json
import os
import random
import threading
import time
from urllib.parse import urlsplit


class Client(threading.Thread):
    def __init__(self, options, deadline, seed):
        super().__init__(daemon=True)
        self.options, self.deadline = options, deadline
        self.random = random.Random(seed)
        self.latencies, self.statuses, self.errors = [], {}, []
        self.finished = 0.0

    def run(self):
        url = urlsplit(self.options.url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
        while time.monotonic() < self.deadline:
            try:
                self.ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
                connection.close()
                time.sleep(0.1)
        connection.close()

    def ask(self, connection):
        body = {"class": self.random.randrange(self.options.classes), "n": self.options.count,
                "seed": self.random.randrange(1 << 32)}
        headers = {"Content-Type": "application/json"}
        if self.options.token:
            headers["Authorization"] = "Bearer " + self.options.token
        start = time.monotonic()
        connection.request("POST", "/v1/images/generations", json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        end = time.monotonic()
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        if response.status == 200:
            pictures = json.loads(answer)["data"]
            if len(pictures) != self.options.count:
                self.errors.append("%d pictures of %d" % (len(pictures), self.options.count))
            self.latencies.append(end - start)
            self.finished = end
        elif response.status == 429:
            pause = float(response.getheader("Retry-After", "1"))
            time.sleep(min(pause, max(self.deadline - time.monotonic(), 0)))
        else:
            self.errors.append("%d %s" % (response.status, answer[:200]))
            time.sleep(0.1)


def percentile(values, share):
    values = sorted(values)
    return values[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def measure(options, clients):
    start = time.monotonic()
    threads = [Client(options, start + options.seconds, seed) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies = [latency for thread in threads for latency in thread.latencies]
    statuses = {}
    for thread in threads:
        for status, count in thread.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    # What was asked for in time is waited for, and its time counts.
    seconds = max([thread.finished for thread in threads] + [start]) - start
    return {
        "clients": clients,
        "pictures": len(latencies) * options.count,
        "pictures_per_second": len(latencies) * options.count / seconds if seconds else 0.0,
        "p50": percentile(latencies, 0.50), "p95": percentile(latencies, 0.95),
        "p99": percentile(latencies, 0.99),
        "statuses": statuses,
        "errors": [error for thread in threads for error in thread.errors],
    }


def model(options):
    url = urlsplit(options.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    headers = {"Authorization": "Bearer " + options.token} if options.token else {}
    connection.request("GET", "/v1/models", headers=headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise SystemExit("latency: %s" % answer["error"]["message"])
    return answer["data"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--token", default=os.environ.get("MVAR_TOKEN"))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=30, help="for each number of clients")
    parser.add_argument("--count", type=int, default=1, help="pictures of a request")
    parser.add_argument("--json", help="also write the results to this file")
    options = parser.parse_args()
    served = model(options)
    options.classes = served["classes"]
    print("%s, %s, %s on %s" % (served["id"], served["size"], served["dtype"], served["device"]))
    print("%8s %10s %12s %9s %9s %9s %6s %7s" % (
        "clients", "pictures", "pictures/s", "p50 ms", "p95 ms", "p99 ms", "429", "errors"))
    results = []
    for clients in options.clients:
        result = measure(options, clients)
        results.append(result)
        print("%8d %10d %12.2f %9.1f %9.1f %9.1f %6d %7d" % (
            clients, result["pictures"], result["pictures_per_second"], 1e3 * result["p50"],
            1e3 * result["p95"], 1e3 * result["p99"], result["statuses"].get(429, 0),
            len(result["errors"])))
        for error in result["errors"][:3]:
            print("         " + error)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"model": served, "results": results}, file, indent=2)
    if any(result["errors"] for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
