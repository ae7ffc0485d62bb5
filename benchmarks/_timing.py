"""What the benchmark scripts share: a clean process, interleaved timing, cases, tables.

Two sides of a comparison are only comparable when both were timed in the same minute, in the same
process, on the same core clock. So every script here runs its sides in rounds: each round times one
short block of each side, in another order, and a side's figure is the median over its rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

# Settings that make OpenBLAS (inside NumPy and SciPy) run as if on another machine.
FOREIGN_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# One for all layers: were their rounds in the same few orders, one side would often follow the same
# other one, whose idle threads may still spin.
_ORDERS = random.Random(0)

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def clean_process(threads: int, **settings: str) -> None:
    """Start the script again when its environment would bend the result.

    The libraries read their environment as they load, and NumPy is loaded by then, so changing
    ``os.environ`` in place comes too late. Must be called before anything is printed.
    """
    wanted = {name: value for name, value in os.environ.items() if name not in FOREIGN_SETTINGS}
    wanted.update(dict.fromkeys(BLAS_THREADS, str(threads)))
    wanted.update(settings)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


@dataclass
class Timing:
    """Seconds per call of one side, one entry a round."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


Statement = str | Callable[[], Any]


def interleave(
    sides: Mapping[str, Statement],
    *,
    repeat: int,
    min_time: float,
    threads: int = 1,
    clock: str = "wall",
    names: dict[str, Any] | None = None,
    slow_call: float = 0.5,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time every side in `repeat` interleaved rounds.

    Parameters
    ----------
    sides : mapping
        What to time: a function without arguments, or a statement that sees `names`. A statement
        saves the 50 ns of the extra call, which matters when the whole call takes a microsecond.
        A slow side must have been called before, so that its first call here can be counted.
    min_time : float
        A block repeats its call until it lasts about this many seconds.
    threads : int
        Above one, each block waits first until the previous side's idle threads stop spinning.
    slow_call : float
        A side whose one call lasts longer than this runs in every third round only.
    """
    blocks: dict[str, tuple[Callable[[int], float], int]] = {}
    timings = {side: Timing() for side in sides}
    slow: set[str] = set()
    for side, statement in sides.items():
        timer = timeit.Timer(statement, timer=CLOCKS[clock], globals=names)
        number = 1
        while (elapsed := timer.timeit(number)) < min_time / 4:
            number *= 4
        if elapsed / number > slow_call:
            slow.add(side)
            timings[side].seconds.append(elapsed / number)
        blocks[side] = timer.timeit, max(1, round(number * min_time / max(elapsed, 1e-9)))

    order = list(sides)
    for round_index in range(repeat):
        _ORDERS.shuffle(order)
        for side in order:
            block, number = blocks[side]
            if side in slow and round_index % 3 != 2:
                continue
            if threads > 1:
                time.sleep(0.05)
                if side not in slow:
                    block(1)  # wakes the side's own threads again
            timings[side].seconds.append(block(number) / number)
        progress()
    return timings


class Progress:
    """A progress bar where tqdm is installed and standard error is a terminal, else silent."""

    def __init__(self, total: int) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(total=total, unit="round", leave=False, disable=None)

    def step(self, rounds: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(rounds)

    def label(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description(text)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add what `time_cases` goes by, and how to print it."""
    add = parser.add_argument
    add("--threads", type=int, default=1)
    add("--repeat", type=int, default=5, help="rounds (default: %(default)s)")
    add("--min-time", type=float, default=0.03, help="seconds a block lasts")
    add("--drop-above", type=float, default=0.5, metavar="SECONDS")
    add("--markdown", action="store_true")


Case = TypeVar("Case")
Sides = Iterator[tuple[str, Callable[[], Any]]]  # names, and what to time


def time_cases(
    families: Sequence[Sequence[tuple[str, Callable[[], Case]]]],
    libraries: Sequence[Callable[[Case], Sides]],
    check: Callable[[Case, str, Any], None],
    options: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Median seconds of each side of each case, by the case's label.

    Parameters
    ----------
    families : sequence of sequences
        Labels, and what makes each case. A side that took longer than --drop-above is left out of
        the rest of its family.
    libraries : sequence of callables
        What makes the sides of a case. One whose import fails is left out, and named in the end.
    check : callable
        Gets a case, the name of a side and its first result, and raises where that is wrong.
    """
    progress = Progress(options.repeat * sum(map(len, families)))
    found: dict[str, dict[str, float]] = {}
    missing: set[str] = set()
    for family in families:
        dropped: set[str] = set()
        for label, make in family:
            progress.label(label)
            case = make()
            sides: dict[str, Callable[[], Any]] = {}
            for library in libraries:
                try:
                    sides.update(side for side in library(case) if side[0] not in dropped)
                except ImportError as error:
                    missing.add(str(error))
            for name, side in sides.items():
                check(case, name, side())
            timings = interleave(
                sides,
                repeat=options.repeat,
                min_time=options.min_time,
                threads=options.threads,
                progress=progress.step,
            )
            found[label] = {name: timing.median for name, timing in timings.items()}
            dropped |= {name for name, t in found[label].items() if t > options.drop_above}
    progress.close()
    for reason in sorted(missing):
        print(f"left out: {reason}", file=sys.stderr)
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool = False) -> str:
    """Aligned columns: the first to the left, the others to the right.

    >>> print(table(["shape", "ms"], [["3x3", "1.25"], ["11x11", "12.00"]]))
    shape     ms
    3x3     1.25
    11x11  12.00
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def aligned(line: Sequence[str]) -> list[str]:
        return [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]

    if not markdown:
        return "\n".join("  ".join(aligned(line)).rstrip() for line in lines)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [aligned(lines[0]), rule, *map(aligned, lines[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, never in exponent form; a dash for ``None``.

    >>> significant(1234.5), significant(1.2345), significant(0.01234), significant(None)
    ('1234', '1.23', '0.0123', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def geomean(values: Iterable[float]) -> float | None:
    """The geometric mean, ``None`` of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logs)) if logs else None


def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next((ln.split(":")[1].strip() for ln in lines if "model name" in ln), name)
    except OSError:
        pass
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        cores = os.cpu_count() or 1
    return f"{name}, {cores} cores"
