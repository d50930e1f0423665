#!/usr/bin/env bash
# Run the whole test suite in the virtual environment .venv, which is made if it is missing.
#   bash tests/run.sh [arguments of pytest, such as -n 0 for one process, which a debugger needs]
#   TEST_CUDA=1 bash tests/run.sh -k test_cuda    what needs a GPU; all else trains on the CPU
set -euo pipefail
cd "$(dirname "$0")/.."
source benchmark/environment.sh
exec python -m pytest tests -n 2 --dist worksteal "$@"
