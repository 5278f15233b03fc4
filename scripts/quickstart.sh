#!/usr/bin/env bash
# From a bare machine to a first parallel search: sets up, runs the paper's Griewank example on
# four MPI ranks, and draws it. Options: see setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

setup
mkdir -p quickstart
results=quickstart/griewank.h5
say "mpirun -n 4 python -m phs_mpi scripts/examples/griewank.py --output $results"
mpirun_here -n 4 "$VENV/bin/python" -m phs_mpi scripts/examples/griewank.py --output "$results"
plots=$("$VENV/bin/python" -m phs_mpi plot "$results")
say "results: $results"
say "plots:   ${plots//$'\n'/ }"
say "to go on: . ${VENV#"$ROOT"/}/bin/activate, and the README's first search"
