#!/usr/bin/env bash
# Installs fastconv with what the examples need into a fresh virtual environment, then filters a
# photograph with every kernel of the gallery and times that against SciPy.
#
#   bash examples/quickstart.sh [DIR]    # DIR (quickstart) receives the environment and gallery.png
#
# PYTHON picks the interpreter (python3).
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-quickstart}

"${PYTHON:-python3}" -m venv --clear -- "$out/venv"
python="$out/venv/bin/python"
[ -x "$python" ] || python="$out/venv/Scripts/python.exe"  # Windows
echo "Compiling and installing fastconv into $out/venv (a few minutes) ..."
"$python" -m pip --disable-pip-version-check install --quiet "${root}[examples]"
"$python" "$root/examples/gallery.py" "$out"
