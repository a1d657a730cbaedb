# Sourced by the scripts of this folder: where things are kept, and what a
# missing program is called. Nothing is written into the tree.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
state=${CARLA_RL_IMAGE_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/carla-rl/image}
# The name in the deployment guide.
image=${IMAGE:-your-registry/carla-rl-serving:latest}
mkdir -p "$state"

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

say() { echo "$(basename "$0"): $*" >&2; }

# facts sets VERSION, COMMIT, DATE and SOURCE_DATE_EPOCH from the clone, by the
# rules of the Makefile, where the caller did not.
facts() {
  COMMIT=${COMMIT:-$(git -C "$root" rev-parse --short=8 HEAD 2>/dev/null || echo unknown)}
  VERSION=${VERSION:-$(git -C "$root" describe --tags --match 'v*' --dirty 2>/dev/null || echo "v0.0.0-$COMMIT")}
  DATE=${DATE:-$(TZ=UTC git -C "$root" log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo unknown)}
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 315532800)}
  export VERSION COMMIT DATE SOURCE_DATE_EPOCH
}

# with_buildah runs buildah on the storage of these scripts, away from that of
# the user.
with_buildah() {
  BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} \
    buildah --root "$state/buildah" --runroot "$state/buildah-run" "$@"
}
