"""Start MLServer with a port and a number of workers.

One worker computes in the process that serves, which spares it the way to
another; more are its parallel workers.
"""

import json
import os
import sys
import tempfile

port, workers = int(sys.argv[1]), int(sys.argv[2])
here = os.path.dirname(os.path.abspath(__file__))
folder = tempfile.mkdtemp(prefix="mlserver-", dir=os.environ["BENCH_SCRATCH"])
settings = {
    "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
    "parallel_workers": 0 if workers == 1 else workers, "debug": False, "use_structured_logging": False,
    "metrics_endpoint": None, "gzip_enabled": False, "environments_dir": folder,
}
with open(os.path.join(folder, "settings.json"), "w") as f:
    json.dump(settings, f)
with open(os.path.join(folder, "model-settings.json"), "w") as f:
    json.dump({"name": "driving", "implementation": "driving.Driving"}, f)
os.environ["PYTHONPATH"] = here
os.environ["MLSERVER_LOGGING_SETTINGS"] = ""
os.chdir(folder)
os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", folder])
