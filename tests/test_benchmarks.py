"""The benchmark scripts run to their end and find every side right. No speed is asserted."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HEADER = "name,n,c,d,h,w,k,kd,kh,kw,stride,pad,dilation,groups\n"
TINY = HEADER + (
    "plane,2,4,1,9,11,6,1,3,2,2,2,2,2\n"
    "line,1,3,1,1,40,2,1,1,5,1,2,1,1\n"
    "volume,1,2,4,5,6,3,3,3,3,1,1,1,1\n"
    "picture,1,1,1,12,13,2,1,3,3,1,1,1,1\n"
)


def run(script, *arguments, expect=0):
    """Run a script with settings it must get rid of, return what it printed."""
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "1024"}
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout


@pytest.fixture
def shapes(tmp_path):
    """A list of tiny layers of every rank."""
    path = tmp_path / "tiny.csv"
    path.write_text(TINY, encoding="utf-8")
    return path


def compare(shapes, *arguments):
    """Run compare.py over the tiny layers, return its table and its CSV file's lines."""
    figures = shapes.with_name("figures.csv")
    fast = ("--repeat", 1, "--min-time", 0.0001, "--shapes-file", shapes, "--csv", figures)
    printed = run("compare.py", *fast, *arguments)
    with figures.open(encoding="utf-8", newline="") as file:
        return printed, list(csv.DictReader(file))


def test_compare_with_whatever_is_installed(shapes):
    printed, figures = compare(shapes, "--plan", "--errors", "--shapes", "plane|picture")
    assert "geomean" in printed
    assert {f["layer"] for f in figures if f["side"] == "fastconv"} == {"plane", "picture"}
    assert {f["layer"] for f in figures if f["side"] == "plan"} == {"plane", "picture"}
    # A bfloat16 side is allowed its own precision, every other one about float32's.
    for figure in figures:
        limit = 1e-2 if figure["side"] == "ov-bf16" else 2e-6
        assert float(figure["error"]) < limit, figure


def test_compare_algorithms_and_precisions(shapes):
    asked = ("--algorithm", "auto,no_such,im2col", "--precision", "highest,medium", "--plan")
    printed, figures = compare(shapes, *asked, "--shapes", "plane", "--peers", "fastconv")
    ran = ("", "-medium", "-im2col", "-im2col-medium")
    assert {f["side"] for f in figures} == {s + v for s in ("fastconv", "plan") for v in ran}
    header, line = (
        next(x for x in printed.splitlines() if x.startswith(w)) for w in ("GF", "plane")
    )
    assert "plan-no_such-medium" in header
    assert line.count("n/a") == 4  # two kinds of call, two precisions


def test_compare_only_refused(shapes):
    printed, figures = compare(shapes, "--algorithm", "no_such", "--peers", "fastconv")
    assert printed.count("n/a") >= 4
    assert not figures


def test_compare_keeps_only_heavy_layers(shapes):
    wide = "wide,1,64,1,40,40,64,1,3,3,1,1,1,1\ngrouped,1,128,1,40,40,128,1,3,3,1,1,1,4\n"
    shapes.write_text(TINY + wide, encoding="utf-8")
    _, figures = compare(shapes, "--heavy", "--peers", "fastconv")
    assert [f["layer"] for f in figures] == ["wide"]


def test_medium_is_measured_against_bfloat16_alone():
    """Float32 peers count for float32, and bfloat16 ones for precision "medium"."""
    code = (
        "import compare as c\n"
        "def side(name, seconds, full=True):\n"
        "    return name, c.Measured(c.Side(name, None, None, full), c.Timing([seconds]), 0)\n"
        "row = c.Row(None, 1, dict([side('fastconv', 8.0), side('fastconv-high', 4.0),\n"
        "    side('plan-medium', 2.0, False), side('ort', 16.0), side('ov-bf16', 1.0, False)]))\n"
        "assert row.ratio('fastconv') == 2 and row.ratio('fastconv-high') == 4\n"
        "assert row.ratio('plan-medium') == 0.5 and row.ratio('no side') is None\n"
        "assert row.best_peer('fastconv') == 'ort' and row.best_peer('plan-medium') == 'ov-bf16'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_compare_integers(shapes):
    """Our sums are exact. Peers round to 8 bits, and without VNNI some saturate."""
    printed, figures = compare(shapes, "--dtype", "int8", "--plan", "--errors")
    assert "uint8 by int8" in printed
    for figure in figures:
        if figure["side"] in ("fastconv", "plan"):
            assert float(figure["error"]) == 0
        if figure["side"].startswith("ov-"):
            assert "i8" in figure["kernel"].lower()


@pytest.mark.parametrize(
    ("layout", "dtype", "limit"), [("NCHW", "complex64", 2e-6), ("NHWC", "float64", 1e-14)]
)
def test_compare_options(shapes, layout, dtype, limit):
    options = ("--layout", layout, "--dtype", dtype, "--algorithm", "im2col", "--threads", 2)
    printed, figures = compare(shapes, *options, "--peers", "fastconv,scipy", "--markdown")
    assert "| geomean" in printed
    assert {f["layer"] for f in figures} == {"plane", "line", "volume", "picture"}
    assert all(float(figure["error"]) < limit for figure in figures)


def test_accuracy(shapes):
    figures = shapes.with_name("errors.csv")
    asked = ("--algorithm", "auto,no_such", "--precision", "highest,high", "--csv", figures)
    printed = run("accuracy.py", "--shapes-file", shapes, "--points", 20, *asked)
    for kind in ("normal", "relu", "wide"):
        assert f"{kind}: RMS error / RMS result" in printed
    with figures.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert {f["side"] for f in found} == {"in order", "fastconv", "fastconv-high"}
    assert len(found) == 3 * 3 * 4
    assert all(float(f["rms"]) < 1e-6 and float(f["bound"]) <= 1 for f in found)


def test_accuracy_finds_an_error():
    """A value in order has its own rounding; one that is off by twice what is allowed says 2."""
    code = (
        "import numpy as np, _layers, accuracy as a\n"
        "layer = _layers.read_layers('resnet50_18_3x3')[0]\n"
        "some = a.Sample(layer, *a.random_data(layer, np.dtype('f4')), 10)\n"
        "rms, bound = some.figures(some.in_order())\n"
        "assert 0 < rms < 1e-5 and 0 < bound < 0.1, (rms, bound)\n"
        "rms, bound = some.figures(some.values + 2 * some.allowed)\n"
        "assert rms > 1e-4 and abs(bound - 2) < 1e-6, (rms, bound)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_compare_plots(shapes, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    picture = tmp_path / "ratios.png"
    compare(shapes, "--shapes", "picture", "--peers", "fastconv,scipy", "--plan", "--png", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_compare_needs_a_layer():
    run("compare.py", "--shapes", "no such layer", expect=2)


@pytest.mark.parametrize("name", ["shapes.csv", "networks.csv"])
def test_every_listed_shape_is_read(name):
    listed = (BENCHMARKS / name).read_text(encoding="utf-8").splitlines()[1:]
    code = (
        "import _layers, pathlib; "
        f"print(len([l.output_shape for l in _layers.read_layers(path=pathlib.Path('{name}'))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == len(listed)


def test_image_filters():
    fast = ("--repeat", 1, "--min-time", 0.0001, "--kernels", 3, "--size", 24, 33)
    printed = run("image_filters.py", *fast, "--separable")
    assert "3x3 float32" in printed
    assert "3x3 uint8 x3" in printed
    assert "filter2d" in printed


def test_signals():
    fast = ("--repeat", 1, "--min-time", 0.0001, "--taps", 16, 300, "--samples", 3000)
    printed = run("signals.py", *fast)
    assert "300 float64" in printed
    assert "ratio" in printed


def test_call_overhead():
    printed = run("call_overhead.py", "--repeat", 1, "--min-time", 0.0001)
    assert "fastconv.Conv2d plan" in printed


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_choices(layout, tmp_path):
    figures = tmp_path / "choices.csv"
    options = ("--layers", 3, "--most", 1e4, "--rows", "short", "--seed", 2, "--layout", layout)
    printed = run("choices.py", *options, "--csv", figures)
    assert "3 layers, float32" in printed
    with figures.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert sum(f["asked"] == "auto" for f in found) == 3
    forced = [f for f in found if f["asked"] != "auto"]
    assert len({f["asked"] for f in forced}) > 1
    assert all(f["kernel"] == f["asked"] and float(f["call"]) > 0 for f in forced)


def test_sweep(tmp_path):
    figures = tmp_path / "sweep.csv"
    options = ("--quick", "--seconds", 2, "--most", 1e5, "--threads", 1, "--seed", 3)
    printed = run("sweep.py", *options, "--csv", figures)
    assert "slower than 2 times" in printed
    with figures.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert {f["side"] for f in found} == {"fastconv", "plan"}
    assert all(float(f["seconds"]) > 0 for f in found)

    # A peer twice as fast at the first point, and as fast at the second.
    points = [f for f in found if f["side"] == "fastconv"][1:3]
    with figures.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        for i, point in enumerate(points):
            seconds = float(point["seconds"]) / (2 - i)
            writer.writerows([point, {**point, "side": "peer", "seconds": seconds}])
    again = tmp_path / "again.csv"
    run("sweep.py", "--again", figures, "--threads", 1, "--csv", again)
    with again.open(encoding="utf-8", newline="") as file:
        points[1:] = csv.DictReader(file)
    shape = list(points[0])[: list(points[0]).index("ran")]
    seen = {tuple(p[name] for name in shape) for p in points}
    assert len(seen) == 2  # the first, and the one that every run begins with


SWEEP = """
import argparse, sweep
options = argparse.Namespace(
    seconds=0.5, most=1e4, seed=0, dtype="float32", layout="NHWC", batch=2, threads=1,
    precision=None, clock="wall",
    peers=("fake",))
bench = sweep.Bench(options)
slow = sweep.Point(1, 1, 1, 1, 40, 3, 1, 1, 1)
def interleaved(calls, careful):
    ours = 50e-6 if bench.now == slow else 5e-6
    return {name: ours * {"fake": 0.5}.get(name, 1.0) for name in calls}
def sides(point):
    bench.now = point
    layer, task, found = original(point)
    return layer, task, [*found, sweep.Side("fake", found[0].call)]
original, bench.sides, bench.interleaved = bench.sides, sides, interleaved
bench.measure_both = lambda a, b: tuple(bench.found[p].seconds["fastconv"] for p in (a, b))
before = None
for size in (38, 39, 40, 41):
    own = bench.measure(sweep.moved(slow, "size", size))
    if before:
        own.beside.append(("size", before.point))
        before.beside.append(("size", own.point))
    before = own
cliffs = sweep.find_cliffs(bench, 1e-6)
assert [c.own.point for c in cliffs] == [slow, slow], cliffs
assert len(sweep.find_slow(bench)) == 4
print(sweep.cliff_table(cliffs), sweep.slow_table(sweep.find_slow(bench)))
"""


def test_sweep_finds_what_is_slow():
    """A shape of ten times its neighbours' time, and a peer of half the time everywhere."""
    done = subprocess.run(
        [sys.executable, "-c", SWEEP], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "size=39" in done.stdout
    assert "size=41" in done.stdout
