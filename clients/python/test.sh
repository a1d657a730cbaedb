#!/bin/sh
# Run the package's tests: without PyTorch, or with "test.sh --torch" in the
# training environment, where those that export a network run too.
set -eu
cd "$(dirname "$0")"
root=../..
if [ "${1:-}" = --torch ]; then
    shift
    python=$($root/training/venv.sh training $root/training/requirements.txt)
else
    python=$($root/training/venv.sh client requirements-test.txt)
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=. exec "$python" -m pytest -q -p no:cacheprovider "$@"
