#!/usr/bin/env bash
# Run the whole test suite in the virtual environment .venv, which is made if it is missing.
#   bash tests/run.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
source benchmark/environment.sh
exec python -m pytest tests "$@"
