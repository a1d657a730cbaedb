"""The built server, started on files of a test's choice.

CARLA_RL_BIN names the command (bin/carla-rl without it, which test.sh builds).
CARLA_RL_CORPUS names the folder of recorded policies; without it the policies
of that folder are left out, and the header says so.
"""

import json
import os
import pathlib
import re
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
            if found := re.search(r"serving .* at (http://[0-9.:]+)", line):
                self.url = found[1]
                break
        timer.cancel()
        if self.url is None:
            self.process.wait()
            raise AssertionError(f"{arguments}: {''.join(self.lines)}")
        # What it writes from here on must not fill the pipe.
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

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
