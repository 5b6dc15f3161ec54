"""A `mvar serve` for the length of a script."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "Tests", "Fixtures", "golden")


def add_options(parser):
    parser.add_argument("--mvar", default=os.path.join(ROOT, ".build", "debug", "mvar"))
    parser.add_argument("--model", default=os.path.join(GOLDEN, "mvar-256px", "mvar.pth"))
    parser.add_argument("--tokenizer", default=os.path.join(GOLDEN, "tokenizer.pth"))
    parser.add_argument("--threads", type=int, help="threads of the model on a CPU")


class Server:
    """Starts at once; use as a context."""

    def __init__(self, options, *flags, port=0):
        command = [options.mvar, "serve", "--model", options.model, "--tokenizer",
                   options.tokenizer, "--port", str(port), "--log-json", *map(str, flags)]
        if options.threads:
            command += ["--threads", str(options.threads)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.requests = [], []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        line = self.process.stdout.readline()
        match = re.search(r"http://\S+", line)
        if not match:
            self.process.wait()
            raise SystemExit("the server did not start: %s" % "".join(self.lines[-5:]))
        self.url = match.group(0)

    def read(self):
        for line in self.process.stderr:
            try:
                record = json.loads(line)
            except ValueError:
                self.lines.append(line)
                continue
            if record["message"] == "request":
                self.requests.append(record["metadata"])
            else:
                self.lines.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Asks the server to finish; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.reader.join(5)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def resident(self):
        """Bytes of memory."""
        with open("/proc/%d/statm" % self.process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def get(self, path):
        """Status and body."""
        return self.ask(urllib.request.Request(self.url + path))

    def generate(self, timeout=300, **body):
        return self.ask(urllib.request.Request(
            self.url + "/v1/images/generations", json.dumps(body).encode(),
            {"Content-Type": "application/json"}), timeout)

    @staticmethod
    def ask(request, timeout=60):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def wait_until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("timed out: " + what)
        time.sleep(0.05)
