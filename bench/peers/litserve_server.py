"""LitServe with ONNX Runtime: its fast queue, one device, no batching."""

import os
import sys

import litserve
import numpy as np
import onnxruntime


class Driving(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def decode_request(self, request):
        return np.array([[o["speed"], o["steering"], *o["sensors"]] for o in request["observations"]], np.float32)

    def predict(self, rows):
        return self.session.run(None, {self.input: rows})[0]

    def encode_response(self, actions):
        return {"actions": [{"throttle": t, "brake": b, "steer": s} for t, b, s in actions.tolist()]}


if __name__ == "__main__":
    server = litserve.LitServer(Driving(), accelerator="cpu", workers_per_device=int(sys.argv[2]), fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
