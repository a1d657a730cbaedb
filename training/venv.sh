#!/bin/sh
# Make (once) a pinned virtual environment and print the path of its python.
#
#   python=$(training/venv.sh NAME REQUIREMENTS)
#
# The environment lives outside the tree, in
# ${XDG_CACHE_HOME:-$HOME/.cache}/carla-rl/venv-NAME-HASH, where HASH is that of
# the requirements file, so a changed pin makes a new environment and an
# unchanged one costs nothing. The requirements file is a complete lock (it is
# installed without resolving dependencies) and its first line names the
# versions of Python that it was made for: "# python: 3.11 3.12".
#
# PyTorch's wheels for Linux on x86-64 link the CUDA libraries even where no GPU
# is used. The lock files list exactly those that "import torch" opens, and
# leave out the rest (Triton, cuSOLVER, profilers).
set -eu

if [ $# -ne 2 ]; then
    echo "usage: venv.sh NAME REQUIREMENTS" >&2
    exit 2
fi
name=$1
requirements=$2
uv_version=0.13.9

cache=${XDG_CACHE_HOME:-$HOME/.cache}/carla-rl
hash=$( (sha256sum "$requirements" 2>/dev/null || shasum -a 256 "$requirements") | cut -c1-12)
venv=$cache/venv-$name-$hash
if [ -f "$venv/.complete" ]; then
    echo "$venv/bin/python"
    exit 0
fi

wanted=$(sed -n '1s/^# python: *//p' "$requirements")
python=
for version in $wanted; do
    for candidate in "python$version" python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python3; do
        found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if [ "$found" = "$version" ]; then
            python=$("$candidate" -c 'import sys; print(sys.executable)')
            break 2
        fi
    done
done
if [ -z "$python" ]; then
    echo "venv.sh: $requirements needs Python ${wanted:-3}: none of these is on PATH or under pyenv; install one and run this again" >&2
    exit 1
fi

mkdir -p "$cache"
# Two runs at once: the second waits, and finds the first one's.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$venv.lock"
    flock 9
    if [ -f "$venv/.complete" ]; then
        echo "$venv/bin/python"
        exit 0
    fi
fi
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=$cache/uv-$uv_version/bin/uv
    if [ ! -x "$uv" ]; then
        "$python" -m venv "$cache/uv-$uv_version" >&2
        "$cache/uv-$uv_version/bin/python" -m pip install --quiet "uv==$uv_version" >&2
    fi
fi
rm -rf "$venv"
"$uv" venv --quiet --no-project --python "$python" "$venv" >&2
"$uv" pip install --quiet --no-deps --python "$venv/bin/python" --requirement "$requirements" >&2
touch "$venv/.complete"
echo "$venv/bin/python"
