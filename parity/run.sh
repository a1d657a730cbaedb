#!/bin/sh
# Compare the command with torch, Stable-Baselines3, scikit-learn and ONNX Runtime
# on networks and policies that are drawn anew in every run. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${CARLA_RL_BIN:-}" ]; then
    CGO_ENABLED=0 go build -o bin/carla-rl ./cmd/carla-rl
fi
python=$(training/venv.sh training training/requirements.txt)
# ONNX, its runtime and sb3-contrib lie beside the packages of the training environment.
onnx=$(training/venv.sh parity parity/requirements.txt)
onnx=$("$onnx" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=clients/python:$onnx exec "$python" -m pytest -q -p no:cacheprovider parity "$@"
