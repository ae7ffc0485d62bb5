#!/usr/bin/env python3
"""One kernel over a 1080 x 1920 picture: fastconv, OpenCV, SciPy and PyTorch, in milliseconds.

    python benchmarks/image_filters.py --threads 1 --kernels 3 7 15

float32 pictures have one channel, uint8 pictures three. A side that took more than --drop-above
seconds on one kernel is left out of the larger ones.
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

Result = NDArray[Any]
KERNELS = (3, 5, 7, 11, 15, 31, 63)
OURS = ("filter2d", "conv2d")


@dataclass(frozen=True)
class Case:
    """A picture and its kernel; `column` outer `row` is the kernel when it is separable."""

    image: Result
    kernel: Result
    column: Result
    row: Result
    threads: int


def copy_sides(case: Case) -> Sides:
    yield "copy", case.image.copy


def fastconv_sides(case: Case) -> Sides:
    import fastconv

    fastconv.set_num_threads(case.threads)
    yield "filter2d", partial(fastconv.image.filter2d, case.image, case.kernel)
    if case.image.ndim == 2:
        padding = len(case.kernel) // 2
        x, w = case.image[None], case.kernel[None, None]
        yield "conv2d", lambda: fastconv.conv2d(x, w, None, 1, padding)[0]


def opencv_sides(case: Case) -> Sides:
    import cv2

    cv2.setNumThreads(case.threads)
    yield "cv2.filter2D", partial(cv2.filter2D, case.image, -1, case.kernel)
    yield "cv2.sepFilter2D", partial(cv2.sepFilter2D, case.image, -1, case.row, case.column)


def scipy_sides(case: Case) -> Sides:
    import scipy.ndimage
    import scipy.signal

    if case.image.ndim == 3:
        flat = case.kernel[:, :, None]
        yield "ndimage", partial(scipy.ndimage.correlate, case.image, flat, mode="mirror")
        return
    yield "ndimage", partial(scipy.ndimage.correlate, case.image, case.kernel, mode="mirror")
    yield "correlate2d", partial(scipy.signal.correlate2d, case.image, case.kernel, "same")
    flipped = case.kernel[::-1, ::-1]
    yield "fftconvolve", partial(scipy.signal.fftconvolve, case.image, flipped, "same")
    yield "oaconvolve", partial(scipy.signal.oaconvolve, case.image, flipped, "same")


def torch_sides(case: Case) -> Sides:
    import torch

    if case.image.ndim == 3:
        return
    torch.set_num_threads(case.threads)
    torch.set_grad_enabled(False)
    x = torch.from_numpy(case.image)[None, None]
    w = torch.from_numpy(case.kernel)[None, None]
    padding = len(case.kernel) // 2
    yield "torch", lambda: torch.nn.functional.conv2d(x, w, None, 1, padding)[0, 0]


LIBRARIES = (copy_sides, fastconv_sides, opencv_sides, scipy_sides, torch_sides)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kernels", type=int, nargs="+", default=KERNELS, help="odd sizes (default: all)")
    add("--dtypes", nargs="+", choices=("float32", "uint8"), default=("float32", "uint8"))
    add("--size", type=int, nargs=2, default=(1080, 1920), metavar=("HEIGHT", "WIDTH"))
    add("--separable", action="store_true", help="every side filters with a rank-1 kernel")
    add_case_options(parser)
    options = parser.parse_args(argv)
    if any(size % 2 == 0 or size < 1 for size in options.kernels):
        parser.error("--kernels must be odd: the libraries centre even ones differently")
    options.kernels = sorted(options.kernels)
    return options


def make_case(dtype: str, size: int, options: argparse.Namespace) -> Case:
    rng = np.random.default_rng(size)
    # Positive weights that sum to one keep uint8 from saturating, which would hide errors.
    column, row = rng.random((2, size)).astype(np.float32) + 0.1
    column, row = column / column.sum(), row / row.sum()
    kernel = rng.random((size, size)).astype(np.float32) + 0.1
    kernel = np.outer(column, row) if options.separable else kernel / kernel.sum()
    shape = tuple(options.size)
    if dtype == "uint8":
        image: Result = rng.integers(0, 256, (*shape, 3), np.uint8)
    else:
        image = rng.standard_normal(shape, np.float32)
    return Case(image, kernel, column, row, options.threads)


def check(case: Case, name: str, result: Any) -> None:
    """Compare some inner pixels with float64: the libraries differ at the borders."""
    separable = np.allclose(np.outer(case.column, case.row), case.kernel)
    if name == "copy" or (name == "cv2.sepFilter2D" and not separable):
        return
    got = np.asarray(result)
    size = len(case.kernel)
    limits = [n - size + 1 for n in case.image.shape[:2]]
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, limits, (32, 2)):
        window = case.image[row : row + size, column : column + size].astype(np.float64)
        kernel = case.kernel.astype(np.float64)
        expected = np.tensordot(kernel, window, 2)
        scale = np.tensordot(np.abs(kernel), np.abs(window), 2)
        error = np.abs(got[row + size // 2, column + size // 2] - expected)
        # Some libraries round integers down, so a level is allowed; Fourier methods have larger
        # errors than direct ones, but far below this.
        allowed = 1.0 if case.image.dtype == np.uint8 else 1e-4 * scale
        if not np.all(error <= allowed):
            raise AssertionError(f"{name} is wrong for a kernel of size {size}: off by {error}")


def label(dtype: str, size: int) -> str:
    return f"{size}x{size} {dtype}{' x3' if dtype == 'uint8' else ''}"


def main() -> int:
    options = arguments()
    clean_process(options.threads)
    families = [
        [(label(dtype, size), partial(make_case, dtype, size, options)) for size in options.kernels]
        for dtype in options.dtypes
    ]
    print(report(time_cases(families, LIBRARIES, check, options), options))
    return 0


def report(found: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """The table, in milliseconds, with what it was measured on above it."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    # On a kernel of full rank sepFilter2D solves an easier problem, so it is shown but not a rival.
    rivals = [name for name in names if name not in (*OURS, "copy")]
    if not options.separable:
        rivals = [name for name in rivals if name != "cv2.sepFilter2D"]
    lines = []
    for label, row in found.items():
        best = min((n for n in rivals if n in row), key=row.__getitem__, default=None)
        line = [label, *(significant(row[n] * 1e3) if n in row else "-" for n in names)]
        if "filter2d" in names:
            own = row["filter2d"]
            line += [best or "-", significant(row[best] / own) if best else "-"]
            line.append(significant(row["ndimage"] / own) if "ndimage" in row else "-")
        lines.append(line)
    header = ["ms", *names]
    header += ["best peer", "ratio", "ratio ndimage"] if "filter2d" in names else []
    kind = "rank-1 kernels" if options.separable else "full-rank kernels (sepFilter2D: rank 1)"
    height, width = options.size
    title = f"{processor()}\n{height} x {width}, {kind}, {options.threads} thread(s), medians\n\n"
    return title + table(header, lines, markdown=options.markdown)


if __name__ == "__main__":
    sys.exit(main())
