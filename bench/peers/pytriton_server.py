"""PyTriton: Triton's HTTP front with its Python backend, which is all that its
package holds. As many instances of the function as there are workers."""

import logging
import os
import sys
import sysconfig

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

logging.basicConfig(level=logging.WARNING)
# The backend is linked against this Python as a shared library.
os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
port, workers = int(sys.argv[1]), int(sys.argv[2])


def instance():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    @batch
    def infer(input):
        return session.run(None, {name: input})

    return infer


config = TritonConfig(
    http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2,
    allow_grpc=False, allow_metrics=False, log_verbose=0,
)
with Triton(config=config, workspace=os.path.join(os.environ["BENCH_SCRATCH"], f"triton-{port}")) as triton:
    triton.bind(
        model_name="driving",
        infer_func=[instance() for _ in range(workers)],
        inputs=[Tensor(name="input", dtype=np.float32, shape=(7,))],
        outputs=[Tensor(name="action", dtype=np.float32, shape=(3,))],
        config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        strict=False,
    )
    triton.serve()
