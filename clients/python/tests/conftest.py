"""The built server, started on files of a test's choice.

CARLA_RL_BIN names the command (bin/carla-rl without it, which test.sh builds).
CARLA_RL_CORPUS names the folder of recorded policies; without it the policies
of that folder are left out, and the header says so.
"""

import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("CARLA_RL_BIN", ROOT / "bin" / "carla-rl"))
CORPUS = os.environ.get("CARLA_RL_CORPUS")
START_SECONDS = 60


def pytest_report_header():
    corpus = CORPUS or "CARLA_RL_CORPUS is not set: recorded policies are not run"
    return [f"server: {BINARY}, corpus: {corpus}"]


class Server:
    """One process, and where it listens."""

    def __init__(self, path=None, **environment):
        arguments = [str(BINARY), "serve", *([] if path is None else [str(path)]), "--port", "0"]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"LOG_LEVEL": "error"} | environment
        )
        self.lines, self.url = [], None
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"serving .* at (http://[0-9.:]+|unix://[^ ]+)", line):
                self.url = found[1]
                break
        timer.cancel()
        if self.url is None:
            self.process.wait()
            raise AssertionError(f"{arguments}: {''.join(self.lines)}")
        # What it writes from here on must not fill the pipe.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def pause(self):
        """Stop the process as it is, as a machine that hangs. It has stopped when this returns; SIGCONT wakes it."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.reader.join(5)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def serve():
    """A function that starts a server; all end with the module."""
    servers = []

    def start(path=None, **environment):
        servers.append(Server(path, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def demo(serve):
    """The URL of a server with the demo policy."""
    return serve().url


METADATA = {
    "modelName": "m",
    "version": "v1",
    "observation": [{"name": "obs", "shape": [2]}],
    "action": [{"name": name, "shape": [], "low": -1, "high": 1} for name in ("throttle", "brake", "steer")],
    "named": False,
    "stochastic": False,
    "deterministicDefault": True,
}
ANSWER = {
    "actions": [{"throttle": 0.25, "brake": 0.0, "steer": 0.75}],
    "model": "m",
    "version": "v1",
    "deterministic": True,
    "timingMs": 0.5,
}


class Script:
    """A server whose bodies a test writes: lists of them in turn, the last one again and again.

    Bytes are sent as they are; a pair is a status and a body. ``asked`` has the paths and
    ``told`` the bodies that came. ``echo`` makes the id of an answer from that of its request.
    """

    def __init__(self):
        self.metadata, self.answers, self.asked, self.told = [METADATA], [ANSWER], [], []
        self.echo = lambda request_id: request_id
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.give(script.metadata)

            def do_POST(self):
                script.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.give(script.answers)

            def do_DELETE(self):
                self.give([(204, b"")])

            def give(self, bodies):
                script.asked.append(self.path)
                body = bodies.pop(0) if len(bodies) > 1 else bodies[0]
                status, body = body if isinstance(body, tuple) else (200, body)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if (echo := script.echo(self.headers["X-Request-ID"])) is not None:
                    self.send_header("X-Request-ID", echo)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pause(self):
        """Stop the process as it is, as a machine that hangs. It has stopped when this returns; SIGCONT wakes it."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def script():
    made = Script()
    yield made
    made.stop()


def corpus_cases(*names):
    """Parameters for recorded policies by their folder; none without a corpus."""
    return [pytest.param(pathlib.Path(CORPUS) / name, id=name) for name in names] if CORPUS else []


def recorded(folder):
    """A case's raw observations and what the trainer's library answered."""
    case = json.loads((folder / "cases.json").read_text())

    def values(value):
        if isinstance(value, dict) and "npy" in value:
            return np.load(folder / value["npy"])
        if isinstance(value, dict):
            return {name: values(part) for name, part in value.items()}
        return np.asarray(value)

    return case, values(case["input"]["obs"]), np.asarray(case["expect"]["action"])
