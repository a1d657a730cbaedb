#!/bin/sh
# Train the demo policy from its fixed seed, measure it and export it. Takes
# about three minutes and two processor cores; further arguments go to train.py.
set -eu
cd "$(dirname "$0")/.."
python=$(training/venv.sh training training/requirements.txt)
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=clients/python:training exec "$python" training/train.py \
    --artifact internal/demo/artifact --episodes internal/demo/testdata/episodes.json "$@"
