#!/bin/sh
# Run the package's tests: without PyTorch, or with "test.sh --torch" in the
# training environment, where those that need PyTorch, Stable-Baselines3 or
# environments run too. "test.sh --loops" prints the table of closed loops. The
# server is built unless CARLA_RL_BIN names one.
set -eu
cd "$(dirname "$0")"
root=../..
if [ -z "${CARLA_RL_BIN:-}" ]; then
    (cd "$root" && CGO_ENABLED=0 go build -o bin/carla-rl ./cmd/carla-rl)
fi
packages() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
client=$($root/training/venv.sh client requirements-test.txt)
case "${1:-}" in
--torch | --loops)
    python=$($root/training/venv.sh training $root/training/requirements.txt)
    # The HTTP library and the environments lie beside the packages of the training environment.
    path=:$(packages "$client"):$(packages "$($root/training/venv.sh loops requirements-loops.txt)")
    ;;
*)
    python=$client
    path=
    ;;
esac
# What reads exports of recorded steps, which one test has in a process of its own.
CARLA_RL_RECORDED_PACKAGES=$(packages "$($root/training/venv.sh recorded requirements-recorded.txt)")
export CARLA_RL_RECORDED_PACKAGES
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=.$path
case "${1:-}" in
--loops)
    shift
    exec "$python" tests/loops.py "$@"
    ;;
--torch) shift ;;
esac
exec "$python" -m pytest -q -rs -p no:cacheprovider "$@"
