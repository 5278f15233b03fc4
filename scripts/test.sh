#!/usr/bin/env bash
# Sets up what is missing and runs the tests; arguments go to pytest. Options: see setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

setup test
exec "$VENV/bin/python" -m pytest "$@"
