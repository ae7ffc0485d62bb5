#!/usr/bin/env python3
"""The convolution of a long signal with kernels of any length, beside NumPy and SciPy, in ms.

    python benchmarks/signals.py --threads 1 --taps 64 1024 65536

"direct" is fastconv with method="direct": what transforms are worth. A side that took more than
--drop-above seconds on one kernel is left out of the longer ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _timing import Progress, clean_process, medians, processor, significant, table

TAPS = (16, 64, 256, 1024, 8192, 65536)
OURS = ("fastconv", "direct")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--taps", type=int, nargs="+", default=TAPS, help="lengths of the kernel (default: all)")
    add("--samples", type=int, default=1 << 20, help="of the signal (default: %(default)s)")
    add("--dtypes", nargs="+", choices=("float32", "float64"), default=("float32", "float64"))
    add("--mode", choices=("full", "same", "valid"), default="full")
    add("--threads", type=int, default=1)
    add("--repeat", type=int, default=5, help="rounds (default: %(default)s)")
    add("--min-time", type=float, default=0.03, help="seconds a block lasts")
    add("--drop-above", type=float, default=0.5, metavar="SECONDS")
    add("--markdown", action="store_true")
    options = parser.parse_args(argv)
    if min(options.taps) < 1 or options.samples < max(options.taps):
        parser.error("--taps must be from 1 to --samples")
    options.taps = sorted(options.taps)
    return options


def sides_of(
    signal: NDArray[Any], kernel: NDArray[Any], mode: str, threads: int, missing: set[str]
) -> dict[str, Callable[[], Any]]:
    import fastconv

    fastconv.set_num_threads(threads)
    sides: dict[str, Callable[[], Any]] = {
        "fastconv": partial(fastconv.convolve, signal, kernel, mode),
        "direct": partial(fastconv.convolve, signal, kernel, mode, "direct"),
        "np.convolve": partial(np.convolve, signal, kernel, mode),
    }
    try:
        import scipy.signal
    except ImportError as error:
        missing.add(str(error))
        return sides
    for name in ("oaconvolve", "fftconvolve"):
        sides[name] = partial(getattr(scipy.signal, name), signal, kernel, mode)
    return sides


def check(signal: NDArray[Any], kernel: NDArray[Any], mode: str, name: str, got: Any) -> None:
    """Compare some outputs with sums in float64."""
    n, k = len(signal), len(kernel)
    start = {"full": 0, "same": (k - 1) // 2, "valid": k - 1}[mode]
    tolerance = 1e-5 if signal.dtype == np.float32 else 1e-13
    for i in np.random.default_rng(0).integers(0, len(got), 32):
        last = i + start
        window = signal[max(last - k + 1, 0) : last + 1].astype(np.float64)
        first = last - min(last, n - 1)
        taps = kernel[first : first + len(window)][::-1].astype(np.float64)
        # Transforms of float32 follow the loudest part.
        scale = np.abs(window) @ np.abs(taps) + np.sqrt(float(k))
        if abs(got[i] - window @ taps) > tolerance * scale:
            raise AssertionError(f"{name} is wrong with {k} taps at output {i}")


def main() -> int:
    options = arguments()
    clean_process(options.threads)
    progress = Progress(len(options.dtypes) * len(options.taps) * options.repeat)
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    missing: set[str] = set()
    for dtype in options.dtypes:
        dropped: set[str] = set()
        signal = rng.standard_normal(options.samples).astype(dtype)
        for taps in options.taps:
            label = f"{taps} {dtype}"
            progress.label(label)
            kernel = rng.standard_normal(taps).astype(dtype)
            sides = sides_of(signal, kernel, options.mode, options.threads, missing)
            sides = {name: side for name, side in sides.items() if name not in dropped}
            for name, side in sides.items():
                check(signal, kernel, options.mode, name, side())
            found[label] = medians(sides, options, progress)
            dropped |= {name for name, t in found[label].items() if t > options.drop_above}
    progress.close()
    for reason in sorted(missing):
        print(f"left out: {reason}", file=sys.stderr)
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
