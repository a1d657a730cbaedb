"""Start BentoML with a port and a number of workers."""

import os
import sys

os.chdir(os.path.dirname(os.path.abspath(__file__)))
# Its home holds a store that is made on the first start.
os.environ["BENTOML_HOME"] = os.path.join(os.environ["BENCH_SCRATCH"], "bentoml")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
program = "from bentoml_cli.cli import cli; cli()"
os.execv(sys.executable, [
    sys.executable, "-c", program, "serve", "service:Driving",
    "--host", "127.0.0.1", "--port", sys.argv[1], "--api-workers", sys.argv[2],
])
