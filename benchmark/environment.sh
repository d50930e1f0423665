# Sourced by the runners: make the virtual environment .venv, once for each content of requirements.txt, and enter it.
python=${PYTHON:-python3}
if [ ! -x .venv/bin/python ]; then
  echo "== making the virtual environment .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
if ! cmp -s requirements.txt .venv/installed.txt; then
  echo "== installing requirements.txt into .venv (a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed.txt
fi
export PATH="$PWD/.venv/bin:$PATH"
