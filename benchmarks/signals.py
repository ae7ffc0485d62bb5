#!/usr/bin/env python3
"""The convolution of a long signal with kernels of any length, beside NumPy and SciPy, in ms.

    python benchmarks/signals.py --threads 1 --taps 64 1024 65536

"direct" is fastconv with method="direct": what transforms are worth. A side that took more than
--drop-above seconds on one kernel is left out of the longer ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _timing import (
    Sides,
    add_case_options,
    clean_process,
    processor,
    significant,
    table,
    time_cases,
)

TAPS = (16, 64, 256, 1024, 8192, 65536)
OURS = ("fastconv", "direct")


@dataclass(frozen=True)
class Case:
    signal: NDArray[Any]
    kernel: NDArray[Any]
    mode: str
    threads: int


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--taps", type=int, nargs="+", default=TAPS, help="lengths of the kernel (default: all)")
    add("--samples", type=int, default=1 << 20, help="of the signal (default: %(default)s)")
    add("--dtypes", nargs="+", choices=("float32", "float64"), default=("float32", "float64"))
    add("--mode", choices=("full", "same", "valid"), default="full")
    add_case_options(parser)
    options = parser.parse_args(argv)
    if min(options.taps) < 1 or options.samples < max(options.taps):
        parser.error("--taps must be from 1 to --samples")
    options.taps = sorted(options.taps)
    return options


def fastconv_sides(case: Case) -> Sides:
    import fastconv

    fastconv.set_num_threads(case.threads)
    yield "fastconv", partial(fastconv.convolve, case.signal, case.kernel, case.mode)
    yield "direct", partial(fastconv.convolve, case.signal, case.kernel, case.mode, "direct")


def numpy_sides(case: Case) -> Sides:
    yield "np.convolve", partial(np.convolve, case.signal, case.kernel, case.mode)


def scipy_sides(case: Case) -> Sides:
    import scipy.signal

    for name in ("oaconvolve", "fftconvolve"):
        yield name, partial(getattr(scipy.signal, name), case.signal, case.kernel, case.mode)


def make_case(dtype: str, taps: int, options: argparse.Namespace) -> Case:
    rng = np.random.default_rng(taps)
    signal = rng.standard_normal(options.samples).astype(dtype)
    return Case(signal, rng.standard_normal(taps).astype(dtype), options.mode, options.threads)


def check(case: Case, name: str, got: Any) -> None:
    """Compare some outputs with sums in float64."""
    n, k = len(case.signal), len(case.kernel)
    start = {"full": 0, "same": (k - 1) // 2, "valid": k - 1}[case.mode]
    tolerance = 1e-5 if case.signal.dtype == np.float32 else 1e-13
    for i in np.random.default_rng(0).integers(0, len(got), 32):
        last = i + start
        window = case.signal[max(last - k + 1, 0) : last + 1].astype(np.float64)
        first = last - min(last, n - 1)
        taps = case.kernel[first : first + len(window)][::-1].astype(np.float64)
        # Transforms of float32 follow the loudest part.
        scale = np.abs(window) @ np.abs(taps) + np.sqrt(float(k))
        if abs(got[i] - window @ taps) > tolerance * scale:
            raise AssertionError(f"{name} is wrong with {k} taps at output {i}")


def main() -> int:
    options = arguments()
    clean_process(options.threads)
    families = [
        [(f"{taps} {dtype}", partial(make_case, dtype, taps, options)) for taps in options.taps]
        for dtype in options.dtypes
    ]
    found = time_cases(families, (fastconv_sides, numpy_sides, scipy_sides), check, options)
    print(report(found, options))
    return 0


def report(found: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """The table, in milliseconds, with what it was measured on above it."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    lines = []
    for label, row in found.items():
        best = min((name for name in row if name not in OURS), key=row.__getitem__, default=None)
        line = [label, *(significant(row[name] * 1e3) if name in row else "-" for name in names)]
        ratio = None if best is None else row[best] / row["fastconv"]
        lines.append([*line, best or "-", significant(ratio)])
    title = (
        f"{processor()}\n{options.samples} samples, {options.mode!r}, "
        f"{options.threads} thread(s), medians\n\n"
    )
    return title + table(
        ["taps, ms", *names, "best peer", "ratio"], lines, markdown=options.markdown
    )


if __name__ == "__main__":
    sys.exit(main())
