#!/usr/bin/env bash
# Sets up what is missing and runs the tests, two at a time; arguments go to pytest (-n 0: one at
# a time; -m slow: the many that need minutes; -m slurm: those on a SLURM, which has to be
# installed). Options: see setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

setup test
exec "$VENV/bin/python" -m pytest -n 2 --dist worksteal "$@"
