"""What ``import fastconv`` does: load NumPy and the engine, and nothing else."""

from __future__ import annotations

import sys

import pytest

HEAVY = (
    "scipy",
    "torch",
    "matplotlib",
    "PIL",
    "cv2",
    "pandas",
    "onnxruntime",
    "ml_dtypes",
    "threadpoolctl",
    "skimage",
    "tqdm",
    "multiprocessing",
    "concurrent",
    "asyncio",
    "unittest",
)


def test_no_other_package_is_loaded(run_python):
    """Beyond what NumPy's own import loads."""
    out = run_python(
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import fastconv\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
    )
    loaded = set(out.split())
    assert "fastconv" in loaded
    assert not loaded & set(HEAVY)
    outside = loaded - {"fastconv"} - set(sys.stdlib_module_names)
    assert not outside, "NumPy is the only dependency"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_no_thread_is_started(run_python):
    out = run_python(
        "import os, numpy\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "import fastconv\n"
        "fastconv.show_config()\n"
        "print()\n"
        "print(len(os.listdir('/proc/self/task')) - before, fastconv._core.threads_started())\n"
    )
    assert out.splitlines()[-1].split() == ["0", "0"]


def test_nothing_is_printed_and_no_warning_is_given(run_python):
    assert run_python("import fastconv", PYTHONWARNINGS="error") == ""


def test_the_drawing_module_is_loaded_on_first_use(run_python):
    pytest.importorskip("matplotlib")
    out = run_python(
        "import sys, fastconv\n"
        "assert 'fastconv.viz' not in sys.modules\n"
        "assert 'viz' in dir(fastconv)\n"
        "fastconv.viz.animate\n"
        "print('fastconv.viz' in sys.modules)\n"
    )
    assert out == "True\n"


def test_public_names_exist(run_python):
    out = run_python(
        "import fastconv\n"
        "missing = [n for n in fastconv.__all__ if n != 'viz' and not hasattr(fastconv, n)]\n"
        "print(missing, fastconv.__version__)\n"
    )
    missing, version = out.split()
    assert missing == "[]"
    assert version[0].isdigit()


def test_reloading_the_python_modules(run_python):
    """They work on, with the extension that stays loaded."""
    run_python(
        "import importlib, fastconv, numpy as np\n"
        "importlib.reload(fastconv.conv)\n"
        "importlib.reload(fastconv)\n"
        "y = fastconv.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 2)))\n"
        "assert y.tolist() == [[[2.0, 2.0]]]\n"
    )


def test_a_denormal_still_is_one_after_the_import(run_python):
    """No part of the extension is linked so that loading it flushes subnormals to zero."""
    run_python(
        "import fastconv, numpy as np\n"
        "tiny = np.finfo(np.float64).smallest_subnormal\n"
        "assert tiny * 1 > 0 and tiny + tiny > tiny\n"
    )
