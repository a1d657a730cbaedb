#!/bin/sh
# Run the package's tests: without PyTorch, or with "test.sh --torch" in the
# training environment, where those that need PyTorch or Stable-Baselines3 run
# too. The server is built unless CARLA_RL_BIN names one.
set -eu
cd "$(dirname "$0")"
root=../..
if [ -z "${CARLA_RL_BIN:-}" ]; then
    (cd "$root" && CGO_ENABLED=0 go build -o bin/carla-rl ./cmd/carla-rl)
fi
client=$($root/training/venv.sh client requirements-test.txt)
if [ "${1:-}" = --torch ]; then
    shift
    python=$($root/training/venv.sh training $root/training/requirements.txt)
    # The HTTP library lies beside the packages of the training environment.
    client=:$("$client" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
else
    python=$client
    client=
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=.$client exec "$python" -m pytest -q -rs -p no:cacheprovider "$@"
