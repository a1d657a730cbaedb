"""FastAPI and ONNX Runtime with a request model that checks what it can.

The ranges and lengths of the policy's contract stand in the model, unknown keys
are forbidden, and uvicorn runs as bench/peers has it. LIMIT_CONCURRENCY is
uvicorn's own setting against overload.
"""

import os
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

app = FastAPI()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name


class Observation(BaseModel):
    model_config = ConfigDict(extra="forbid")
    speed: float = Field(ge=0, le=200)
    steering: float = Field(ge=-1, le=1)
    sensors: list[float] = Field(min_length=5, max_length=5)


class Predict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    observations: list[Observation] = Field(min_length=1, max_length=1000)
    deterministic: bool = True


class Action(BaseModel):
    throttle: float
    brake: float
    steer: float


class Actions(BaseModel):
    actions: list[Action]


@app.post("/predict")
async def predict(request: Predict) -> Actions:
    rows = [[o.speed, o.steering, *o.sensors] for o in request.observations]
    (actions,) = session.run(None, {name: np.array(rows, np.float32)})
    return Actions(actions=[Action(throttle=t, brake=b, steer=s) for t, b, s in actions.tolist()])


if __name__ == "__main__":
    limit = int(os.environ.get("LIMIT_CONCURRENCY", "0")) or None
    uvicorn.run(
        "fastapi_checked:app", host="127.0.0.1", port=int(sys.argv[1]), workers=int(sys.argv[2]),
        loop="uvloop", http="httptools", access_log=False, log_level="warning", limit_concurrency=limit,
    )
