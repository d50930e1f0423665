# Sourced by the runners: make the virtual environment .venv, once for each content of requirements.txt, and enter it.
# PYTHON=python3.12 bash ... takes that Python.
python=${PYTHON:-python3}
if [ ! -e .venv ]; then
  if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'; then
    echo "error: $python is not Python 3.10 to 3.13: choose one with PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  echo "== making the virtual environment .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
if ! .venv/bin/python -m pip --version &> /dev/null; then
  echo "error: .venv has no pip, or its Python is gone: rm -r .venv, then the same command again" >&2
  exit 1
fi
if ! cmp -s requirements.txt .venv/installed.txt; then
  echo "== installing requirements.txt into .venv (a few minutes the first time)"
  PIP_USER=0 .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
export PATH="$PWD/.venv/bin:$PATH"
