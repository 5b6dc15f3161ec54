#!/usr/bin/env python3
"""What `mvar serve` does when things go wrong: a kill, slow clients, malformed requests, Ctrl-C.

    python3 Benchmarks/server/faults.py --mvar .build/release/mvar [--fuzz 10000]

Malformed requests come from the server's own OpenAPI description, by schemathesis
(`pip install schemathesis`). Memory that runs out is tested in Tests/MVARServerTests, with an engine that
fails.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from urllib.parse import urlsplit

from served import Server, add_options, wait_until


def expect(condition, what):
    if not condition:
        raise SystemExit("FAILED: " + what)


def restart_after_kill(options):
    """After kill -9 the same port serves again, and the same seed gives the same picture."""
    server = Server(options)
    port = urlsplit(server.url).port
    status, before = server.generate(**{"class": 1, "seed": 5})
    expect(status == 200, "a picture before the kill: %d" % status)
    drawing = threading.Thread(target=swallow, args=(server,), daemon=True)
    drawing.start()
    time.sleep(0.2)
    server.kill()
    drawing.join(10)
    with Server(options, port=port) as again:
        status, after = again.generate(**{"class": 1, "seed": 5})
        expect(status == 200, "a picture after the restart: %d" % status)
        expect(json.loads(before)["data"] == json.loads(after)["data"], "the same picture again")


def swallow(server):
    try:
        server.generate(**{"class": 1, "n": 8})
    except OSError:
        pass


def interrupted(options):
    """Ctrl-C finishes what has begun and takes nothing new."""
    with Server(options, "--batch", 2) as server:
        answers = []
        drawing = threading.Thread(
            target=lambda: answers.append(server.generate(**{"class": 1, "n": 4, "seed": 1})[0]))
        drawing.start()
        wait_until("a batch begins", lambda: b"mvar_running_pictures 2" in server.get("/metrics")[1])
        server.process.send_signal(signal.SIGINT)
        drawing.join(120)
        expect(answers == [200], "what had begun was finished: %s" % answers)
        expect(server.process.wait(60) == 0, "exit code 0 after Ctrl-C")


def interrupted_twice(options):
    """A second Ctrl-C stops at once."""
    server = Server(options, "--batch", 1)
    drawing = threading.Thread(target=swallow, args=(server,), daemon=True)
    drawing.start()
    wait_until("a batch begins", lambda: b"mvar_running_pictures 1" in server.get("/metrics")[1])
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGINT)
    code = server.process.wait(10)
    expect(code == 130, "exit code 130 after two Ctrl-C: %d" % code)


def slow_clients(options):
    """Clients of one byte a second hold nobody up, and are cut off."""
    with Server(options) as server:
        url = urlsplit(server.url)
        slow = []
        for index in range(50):
            client = socket.create_connection((url.hostname, url.port))
            if index % 2 == 0:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            else:
                client.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
            slow.append(client)
        start = time.monotonic()
        cut_off, times = set(), []
        while len(cut_off) < len(slow) and time.monotonic() - start < 90:
            for client in slow:
                if client in cut_off:
                    continue
                try:
                    client.sendall(b" ")
                    client.setblocking(False)
                    try:
                        if client.recv(4096) == b"":
                            cut_off.add(client)
                    except BlockingIOError:
                        pass
                    client.setblocking(True)
                except OSError:
                    cut_off.add(client)
            asked = time.monotonic()
            status, _ = server.generate(**{"class": 2, "seed": 1})
            times.append(time.monotonic() - asked)
            expect(status == 200, "others are served: %d" % status)
            time.sleep(1)
        print("  50 slow clients cut off after %.0f s; others waited %.2f s at most" % (
            time.monotonic() - start, max(times)))
        expect(len(cut_off) == len(slow), "%d of 50 slow clients are cut off" % len(cut_off))


def fuzz(options):
    """Requests made from the description, right and wrong ones: none is answered with a 5xx."""
    tool = options.schemathesis or shutil.which("schemathesis")
    if not tool:
        raise SystemExit("faults: schemathesis is missing; pip install schemathesis")
    with Server(options, "--timeout", 60) as server:
        # Some operations have few requests to make, so that one run makes fewer than it is asked for.
        for seed in itertools.count(1):
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    tool, "run", server.url + "/openapi.json", "--checks",
                    "not_a_server_error,response_schema_conformance,content_type_conformance",
                    "--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples",
                    str(min(max(options.fuzz, 1), 1000)), "--workers", "4", "--seed", str(seed),
                    "--generation-database", "none", "--suppress-health-check", "all",
                ]
                result = subprocess.run(
                    command, capture_output=True, text=True, cwd=folder,
                    env={**os.environ, "NO_COLOR": "1"})
            if result.returncode or len(server.requests) >= options.fuzz:
                break
        statuses = {}
        for request in list(server.requests):
            statuses[request["status"]] = statuses.get(request["status"], 0) + 1
        print("  %d requests, by status: %s" % (
            sum(statuses.values()), dict(sorted(statuses.items()))))
        if result.returncode:
            print(result.stdout[-6000:] + result.stderr[-2000:])
        expect(result.returncode == 0, "schemathesis found a fault")
        expect(server.process.poll() is None, "the server still runs")
        expect(server.generate(**{"class": 1})[0] == 200, "and draws")
        expect(not any(status >= 500 for status in statuses), "no 5xx")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--fuzz", type=int, default=2000, help="malformed requests, about")
    parser.add_argument("--schemathesis", help="its program, where it is not on the path")
    parser.add_argument("--only", nargs="+", help="of " + ", ".join(FAULTS))
    options = parser.parse_args()
    for name, fault in FAULTS.items():
        if not options.only or name in options.only:
            print("%s: %s" % (name, fault.__doc__))
            fault(options)
    print("all as it should be")


FAULTS = {
    "kill": restart_after_kill, "interrupt": interrupted, "interrupt-twice": interrupted_twice,
    "slow": slow_clients, "fuzz": fuzz,
}

if __name__ == "__main__":
    main()
