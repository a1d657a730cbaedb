# What the scripts of this folder share. Sourced by bash, after `set -euo pipefail`.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions
. "$HERE/versions"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/carla-rl
# Each tool lies in a folder of its own, named by its version; the folder of a
# set of versions holds links to them, so a changed version builds one tool.
TOOLS=$CACHE/cluster-tools
SET=$CACHE/cluster-$KUBERNETES_VERSION-$(cat "$HERE/versions" "$HERE/images" "$HERE/crds" "$HERE"/_modules/*/* 2>/dev/null | sha256sum | cut -c1-8)
BIN=$SET/bin
CRDS=$SET/crds
REGISTRY=$SET/registry # the storage of the registry, with the images that every cluster needs

# The files of one cluster, in no folder of the checkout.
STATE=${STATE:-${TMPDIR:-/tmp}/carla-rl-cluster}

die() {
  echo "tools/cluster/$(basename "$0"): $*" >&2
  exit 1
}

# cluster_pid prints the process id of the cluster's first process.
cluster_pid() {
  [ -s "$STATE/pid" ] || die "no cluster is up in $STATE (STATE names another folder; tools/cluster/up starts one)"
  cat "$STATE/pid"
}
