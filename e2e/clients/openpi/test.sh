#!/usr/bin/env bash
# Run the tests of openpi's client against a server that runs already:
#
#   CARLA_RL_URL=http://localhost:8080 [API_KEY=...] e2e/clients/openpi/test.sh
#
# The client comes from PyPI, pinned, in a virtual environment outside the tree,
# apart from that of the other clients: it needs an older numpy.
set -euo pipefail
cd "$(dirname "$0")"
python=$(../../../training/venv.sh clients-openpi requirements.txt)
PYTHONDONTWRITEBYTECODE=1 exec "$python" -m pytest -q -p no:cacheprovider "$@"
