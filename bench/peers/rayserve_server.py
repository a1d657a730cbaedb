"""Ray Serve with ONNX Runtime: as many replicas as there are workers."""

import os
import sys
import time

os.environ.setdefault("RAY_SERVE_ENABLE_TASK_EVENTS", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import onnxruntime
import json
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

workers = int(sys.argv[2])


@serve.deployment(num_replicas=workers, ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=256, logging_config={"enable_access_log": False})
class Driving:
    def __init__(self, model: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    async def __call__(self, request: Request) -> Response:
        body = json.loads(await request.body())
        rows = [[o["speed"], o["steering"], *o["sensors"]] for o in body["observations"]]
        (actions,) = self.session.run(None, {self.input: np.array(rows, np.float32)})
        answer = [{"throttle": t, "brake": b, "steer": s} for t, b, s in actions.tolist()]
        return Response(json.dumps({"actions": answer}), media_type="application/json")


ray.init(include_dashboard=False, logging_level="warning", log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False})
serve.run(Driving.bind(os.environ["BENCH_MODEL"]), route_prefix="/predict")
while True:
    time.sleep(3600)
