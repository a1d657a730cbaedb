"""A BentoML service that runs the policy's ONNX file."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(traffic={"timeout": 60}, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Driving:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    @bentoml.api
    async def predict(self, observations: list, deterministic: bool = True) -> dict:
        rows = [[o["speed"], o["steering"], *o["sensors"]] for o in observations]
        (actions,) = self.session.run(None, {self.input: np.array(rows, np.float32)})
        return {"actions": [{"throttle": t, "brake": b, "steer": s} for t, b, s in actions.tolist()]}
