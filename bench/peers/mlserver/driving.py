"""An MLServer runtime that runs the policy's ONNX file."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Driving(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = payload.inputs[0]
        rows = np.array(x.data.root, np.float32).reshape(x.shape)
        (actions,) = self.session.run(None, {self.input: rows})
        out = ResponseOutput(name="action", shape=list(actions.shape), datatype="FP32", data=actions.ravel().tolist())
        return InferenceResponse(model_name=self.name, outputs=[out])
