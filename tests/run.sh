#!/usr/bin/env bash
# Builds the wheel, installs it with its test extra into a fresh virtual environment and runs the
# tests and the docstring examples on the installed package, never on the source tree.
#
#   bash tests/run.sh           # all but the tests that take minutes or gigabytes
#   bash tests/run.sh --slow    # those too: arguments go to pytest
#
# PYTHON picks the interpreter (python3); FASTCONV_TEST_EXTRAS the wheel's extras (test), for example
# "test,peers" to compare with OpenCV and PyTorch too.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/venv"
python="$work/venv/bin/python"
[ -x "$python" ] || python="$work/venv/Scripts/python.exe"  # Windows
echo "Building the wheel (a few minutes) ..."
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$work" "$root"
ls -l "$work"/*.whl
wheel=("$work"/fastconv-*.whl)
"$python" -m pip --disable-pip-version-check install --quiet \
  "${wheel[0]}[${FASTCONV_TEST_EXTRAS:-test}]"

cd -- "$work"
unset PYTHONPATH
"$python" - "$root" <<'PY'
import pathlib
import sys

import fastconv

found, root = pathlib.Path(fastconv.__file__).resolve(), pathlib.Path(sys.argv[1]).resolve()
if root in found.parents:
    sys.exit(f"the tests would run on the source tree: {found}")
print(f"testing fastconv {fastconv.__version__} from {found.parent}")
PY
workers=(-n auto --maxprocesses 8 --dist worksteal)
for argument; do
  [ "$argument" != --slow ] || workers=() # some take gigabytes
done
"$python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" ${workers[@]+"${workers[@]}"} \
  --doctest-modules --pyargs fastconv "$root/tests" "$@"
