"""The main differential test: small integers must come out bit for bit, on every path.

Inputs are integers so small that every partial sum is exact in every float type (integer types
may hold anything: they wrap exactly).  Then each path, whatever its order of summation, must
give the reference's bits.  A few thousand random calls run always; all of them with

    FASTCONV_FUZZ_CALLS=100000 pytest --slow tests/test_integer_exact.py -s
    python tests/test_integer_exact.py 100000
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import numpy as np
import pytest

import fastconv as fc
from reference import conv
from strategies import DTYPES, RandomChooser, call, make_case, values

ALGORITHMS = ("auto", "direct", "im2col", "reference")
ACTIVATIONS = (None, None, "relu", "relu6")
QUICK, FULL = 3000, 100_000


def same_bits(a, b):
    """Equal in shape, dtype and every bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def one_call(seed, isas):
    """Draw call number ``seed`` and run it; what was drawn, and how it went."""
    choose = RandomChooser(seed)
    case = make_case(choose, activations=ACTIVATIONS, mixed=True)
    algorithm, isa, threads = choose.of(ALGORITHMS), choose.of(isas), choose.of((1, 2, 3))
    fc.set_isa(isa)
    fc.set_num_threads(threads)
    drawn = (algorithm, isa, threads, seed, case)
    try:
        y = call(fc, case, algorithm=algorithm)
    except ValueError as error:
        if algorithm == "auto" or algorithm not in str(error):
            raise AssertionError(f"{drawn} raised {error!r}") from error
        return drawn, "refused"
    return drawn, "same" if same_bits(y, case.expected()) else "different"


def sweep(first, calls, progress=None):
    """Run calls ``first`` to ``first + calls``; counts by algorithm, and those that differ."""
    isas = fc.available_isas()
    counts, differing = Counter(), []
    for seed in range(first, first + calls):
        drawn, outcome = one_call(seed, isas)
        counts[drawn[0], outcome] += 1
        if outcome == "different":
            differing.append(drawn)
        if progress and (seed + 1) % 1000 == 0:
            progress(seed + 1 - first, len(differing))
    return counts, differing


def check(counts, differing, calls):
    """Fail on any difference, and where an algorithm refused so much that it was not tested."""
    print(f"{calls} random calls, {len(differing)} bit differences; {dict(counts)}")
    assert not differing, "\n".join(map(str, differing[:10]))
    assert sum(counts.values()) == calls
    for algorithm in ALGORITHMS:
        assert counts[algorithm, "same"] > 0.1 * calls, f"{algorithm} hardly ran: {dict(counts)}"
    assert counts["reference", "refused"] == 0


def test_a_quick_sample_of_random_calls():
    check(*sweep(0, QUICK), QUICK)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_random_calls():
    calls = int(os.environ.get("FASTCONV_FUZZ_CALLS", FULL))
    check(*sweep(QUICK, calls), calls)


# Larger than one tile in every direction, with remainders, so that the main loops run too.
GRID = (
    ("conv1d", (2, 9, 300), (37, 9, 5), {"padding": 2}),
    ("conv2d", (2, 19, 13, 41), (37, 19, 3, 3), {"padding": 1}),
    ("conv2d", (1, 64, 9, 33), (64, 64, 1, 1), {}),
    ("conv2d", (1, 5, 31, 45), (18, 5, 5, 4), {"stride": (2, 3), "dilation": (2, 1)}),
    ("conv2d", (2, 33, 12, 35), (33, 1, 3, 3), {"groups": 33, "padding": "same"}),
    ("conv2d", (2, 110, 7, 7), (41, 110, 7, 7), {}),
    ("conv2d", (3, 300, 1, 1), (5, 300, 3, 3), {"padding": 1}),
    ("conv1d", (2, 90, 2), (25, 90, 3), {"padding": 1}),
    ("conv3d", (1, 7, 9, 10, 19), (12, 7, 3, 2, 3), {"padding": 1, "padding_mode": "wrap"}),
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("function", "x_shape", "w_shape", "options"), GRID, ids=lambda v: str(v).replace(" ", "")
)
def test_every_dtype_isa_and_thread_count(function, x_shape, w_shape, options, layout, algorithm):
    for dtype in DTYPES:
        rng = np.random.default_rng(len(dtype))
        x = values(x_shape, dtype, rng, "exact")
        w, b = values(w_shape, dtype, rng, "exact"), values(w_shape[:1], dtype, rng, "exact")
        expected = expected_once(x, w, b, options)
        if layout == "NHWC":
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
            expected = np.moveaxis(expected, 1, -1)
        # The plain loop is slow and knows neither instruction sets nor vectors.
        isas = fc.available_isas() if algorithm != "reference" else ["scalar"]
        for isa in isas:
            for threads in (1, 2, 3) if algorithm != "reference" else (2,):
                with fc.isa(isa), fc.num_threads(threads):
                    y = getattr(fc, function)(
                        x, w, b, layout=layout, algorithm=algorithm, **options
                    )
                assert same_bits(y, expected), f"{dtype} {isa} {threads} threads"


_expected = {}


def expected_once(x, w, b, options):
    """The reference is slower than what it judges: compute each result once."""
    key = (x.dtype.str, x.shape, w.shape)
    if key not in _expected:
        _expected[key] = conv(x, w, b, **options)
    return _expected[key]


def test_the_comparison_can_fail():
    """One unit in one output is a difference; so is another dtype, shape or sign of zero."""
    y = np.zeros((2, 3), np.float32)
    for other in (y + np.float32(1e-45), y.astype(np.float64), y.T, -y):
        assert not same_bits(y, other)
    assert same_bits(y, y.copy())


def main(calls):
    """Run the sweep from the command line with a line of progress."""
    start = time.monotonic()

    def progress(done, different):
        rate = done / (time.monotonic() - start)
        print(f"\r{done}/{calls} calls, {rate:.0f}/s, {different} differ", end="", flush=True)

    counts, differing = sweep(0, calls, progress)
    print()
    check(counts, differing, calls)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FULL)
