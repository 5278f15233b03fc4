#!/usr/bin/env bash
# Makes two environments of other tools, which are no dependencies of phs_mpi and must not change its
# own: one in which scripts/bench/search_methods.py finds other searches, and, with -mpi after its name,
# one of tools that scripts/bench/run.py measures beside phs_mpi (Propulate takes an older NumPy).
#
#   PEERS=.venv-peers   the first of them
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${PEERS:-.venv-peers}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

pip install -q numpy scipy scikit-learn threadpoolctl h5py tqdm cloudpickle optuna
# A wheel of PyTorch that this machine has itself (PIP_FIND_LINKS), else what PyPI has.
"$venv/bin/python" -c 'import torch' 2>/dev/null ||
    { pip install -q --no-index --no-deps torch 2>/dev/null; pip install -q torch; }
pip install -q botorch
pip install -q scikit-optimize || echo "scikit-optimize cannot be installed here: it is left out" >&2
pip install -q --no-deps --no-build-isolation -e . || pip install -q --no-deps -e .
pip list 2>/dev/null | grep -iE '^(optuna|torch|botorch|gpytorch|scikit-optimize|numpy|scipy) '

# All at once, so that they agree on a NumPy; one that cannot be installed is left out. mpi4py must find
# the MPI of the mpirun that starts it.
venv=$venv-mpi
tools=(mpi4py schwimmbad libensemble propulate deephyper)
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip install -q "${tools[@]}" || for tool in "${tools[@]}"; do
    pip install -q "$tool" || echo "$tool cannot be installed here: it is left out" >&2
done
pip list 2>/dev/null | grep -iE '^(numpy|mpi4py|schwimmbad|libensemble|propulate|deephyper) '
