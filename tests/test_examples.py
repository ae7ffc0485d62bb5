"""Every example runs as a program of its own, warnings being errors, and makes its picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name, directory, *arguments):
    """Run examples/NAME.py and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", directory, *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def picture(path):
    """Return a picture's pixels, having checked that something is drawn on it."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) >= 300
    assert pixels.std() > 10
    return pixels


def test_every_example_is_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(re.findall(r'run_example\("(\w+)"', text))


def test_gallery(tmp_path):
    pytest.importorskip("scipy")
    printed = run_example("gallery", tmp_path)
    picture(tmp_path / "gallery.png")
    assert re.search(r"all filters: fastconv [\d.]+ ms .*scipy.ndimage.correlate \d+ ms", printed)
    # Both add in an order of their own; a sum close to one half may round either way.
    assert re.search(r"largest difference of the two: [01] of 255", printed)


def test_correlation_vs_convolution(tmp_path):
    printed = run_example("correlation_vs_convolution", tmp_path)
    picture(tmp_path / "correlation_vs_convolution.png")
    assert printed.count("correlation with the turned kernel: True") == 2


def test_first_network(tmp_path):
    printed = run_example("first_network", tmp_path)
    picture(tmp_path / "first_network.png")
    lines = [line.split() for line in printed.splitlines()]
    assert lines[1] == ["vertical", "0.25", "0.43", "0.818", "0.000"]
    assert lines[2] == ["horizontal", "0.25", "0.43", "0.000", "0.818"]


def test_ranks(tmp_path):
    printed = run_example("ranks", tmp_path)
    picture(tmp_path / "ranks.png")
    errors = re.findall(r"RMS error ([\d.]+) -> ([\d.]+)", printed)
    assert len(errors) == 3
    assert all(float(after) < 0.5 * float(before) for before, after in errors)


def test_sliding(tmp_path):
    from PIL import Image

    run_example("sliding", tmp_path)
    picture(tmp_path / "sliding.png")
    with Image.open(tmp_path / "sliding.gif") as animation:
        assert animation.n_frames >= 9


def test_networks(tmp_path):
    printed = run_example("networks", tmp_path, "32")
    picture(tmp_path / "networks.png")
    assert printed.count("conv 3x3") == 13
    assert printed.count("conv 5x5") == 3
    if "PyTorch: not installed" not in printed:
        assert printed.count("within the float32 bound of PyTorch's: True") == 2
