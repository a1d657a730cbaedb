#!/usr/bin/env bash
# Run the tests of other projects' clients against a server that runs already:
#
#   CARLA_RL_URL=http://localhost:8080 [API_KEY=...] e2e/clients/test.sh
#
# The clients come from PyPI, pinned, in a
# virtual environment outside the tree.
set -euo pipefail
cd "$(dirname "$0")"
python=$(../../training/venv.sh clients requirements.txt)
PYTHONDONTWRITEBYTECODE=1 exec "$python" -m pytest -q -p no:cacheprovider --ignore=openpi "$@"
