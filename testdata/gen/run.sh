#!/bin/sh
# Write the corpus again: testdata/torch with five versions of PyTorch,
# testdata/preprocess, and internal/format/sb3/testdata with three versions of
# Stable-Baselines3. "run.sh torch 2.8.0" writes one version, "run.sh modules"
# testdata/modules alone, "run.sh programs" testdata/programs, "run.sh
# preprocess" the preprocessors alone, "run.sh conformance" testdata/conformance,
# "run.sh distributions" testdata/distributions, "run.sh frames" testdata/frames, "run.sh sb3" the agents alone.
#
# TorchScript files name the source files of the network. The packages and
# these scripts are therefore reached through links in a neutral folder, and
# the corpus is the same on every machine but for state_dict_legacy.pth, which
# names its storages by their addresses.
set -eu
cd "$(dirname "$0")"
here=$PWD
out=$(cd .. && pwd)
venv=../../training/venv.sh
stage=/tmp/carla-rl-testdata
versions="1.13.1 2.1.2 2.5.1 2.8.0 2.15.0"
PYTHONDONTWRITEBYTECODE=1
PYTHONHASHSEED=0 # the order of sets shows in the files
export PYTHONDONTWRITEBYTECODE PYTHONHASHSEED

environment() { # NAME REQUIREMENTS: sets python, and links its packages
    python=$($venv "$1" "$2")
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$stage"
    ln -sfn "$site" "$stage/site-packages"
    ln -sfn "$here" "$stage/gen"
}

write() { # MODULE OUT [ARGUMENT...]; from the root folder, so that no name of this one gets in
    (cd / && PYTHONPATH=$stage/gen:$stage/site-packages "$python" -W ignore -c "import $1; $1.main()" "$2" ${3+"$3"})
}

torch_environment() {
    if [ "$1" = 2.15.0 ]; then
        environment training ../../training/requirements.txt
    else
        environment "torch-$1" "requirements-torch-$1.txt"
    fi
}

# The library of safetensors lies beside the packages of the newest version.
write_modules() {
    torch_environment "$1"
    rm -rf "$out/modules/$1"
    more=
    if [ "$1" = 2.15.0 ]; then
        more=$($venv safetensors requirements-safetensors.txt)
        more=:$("$more" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    fi
    (cd / && PYTHONPATH=$stage/gen:$stage/site-packages$more "$python" -W ignore -c "import make_modules; make_modules.main()" "$out/modules")
}

write_torch() {
    torch_environment "$1"
    rm -rf "$out/torch/$1" "$out/torch_ops/$1" "$out/scripts/$1"
    write make_torch "$out/torch"
    write make_ops "$out/torch_ops"
    write make_scripts "$out/scripts"
    write_modules "$1"
}

# Programs with state and control flow; torch.cond can be saved from 2.15 on.
write_programs() {
    rm -rf "$out"/programs/2.5* "$out"/programs/2.8* "$out"/programs/2.15* # 2.1.2 is one archive of the older layout, made by torch.export.save of Sequential(Linear(3, 2), Tanh()) with seed 0
    for version in 2.5.1 2.8.0 2.15.0; do
        torch_environment "$version"
        write make_programs "$out/programs"
    done
}

# One graph for each operator, with the answers of the newest version.
write_conformance() {
    torch_environment 2.15.0
    write make_conformance "$out/conformance"
}

write_preprocess() {
    rm -rf "$out/preprocess"
    environment training ../../training/requirements.txt
    write make_preprocess "$out/preprocess"
    # NumPy 1 names its modules differently in a pickle.
    environment torch-2.1.2 requirements-torch-2.1.2.txt
    write make_preprocess "$out/preprocess"
    for version in 0.24.2 1.0.2 1.3.2 1.7.2; do
        environment "sklearn-$version" "requirements-sklearn-$version.txt"
        write make_preprocess "$out/preprocess" version
    done
}

write_frames() {
    environment sb3 requirements-sb3.txt
    write make_frames "$out/frames"
}

write_distributions() {
    environment training ../../training/requirements.txt
    write make_distributions "$out/distributions"
}

write_libraries() {
    environment training ../../training/requirements.txt
    write make_libraries "$out/libraries"
}

# Agents hold times, random states and addresses, so that no two runs are alike.
write_sb3() {
    agents=$here/../../internal/format/sb3/testdata
    rm -rf "$agents"
    environment sb3 requirements-sb3.txt
    write make_sb3 "$agents"
    for version in 1.7.0 1.0; do
        environment "sb3-$version" "requirements-sb3-$version.txt"
        write make_sb3 "$agents"
    done
}

case ${1:-all} in
torch)
    shift
    for version in ${*:-$versions}; do write_torch "$version"; done
    ;;
modules)
    shift
    for version in ${*:-$versions}; do write_modules "$version"; done
    ;;
programs) write_programs ;;
preprocess) write_preprocess ;;
conformance) write_conformance ;;
libraries) write_libraries ;;
distributions) write_distributions ;;
frames) write_frames ;;
sb3) write_sb3 ;;
all)
    write_conformance
    for version in $versions; do write_torch "$version"; done
    write_programs
    write_preprocess
    write_libraries
    write_distributions
    write_frames
    write_sb3
    ;;
*)
    echo "usage: run.sh [torch [VERSION...] | modules [VERSION...] | programs | preprocess | libraries | distributions | frames | sb3]" >&2
    exit 2
    ;;
esac
