"""FastAPI and ONNX Runtime by hand, in the best form that we know.

No response model and no validation classes in the way: orjson reads and writes,
one thread computes, uvicorn runs on uvloop and httptools without an access log.
"""

import os
import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name


@app.post("/predict")
async def predict(request: Request) -> Response:
    body = orjson.loads(await request.body())
    rows = [[o["speed"], o["steering"], *o["sensors"]] for o in body["observations"]]
    (actions,) = session.run(None, {name: np.array(rows, np.float32)})
    answer = [{"throttle": t, "brake": b, "steer": s} for t, b, s in actions.tolist()]
    return Response(orjson.dumps({"actions": answer}), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_server:app", host="127.0.0.1", port=int(sys.argv[1]), workers=int(sys.argv[2]),
        loop="uvloop", http="httptools", access_log=False, log_level="warning",
    )
