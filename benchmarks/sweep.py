#!/usr/bin/env python3
"""Look for cliffs: shapes that are much slower than their neighbours, or than other libraries.

    python benchmarks/sweep.py --seconds 600 --peers torch,onnxruntime --csv sweep.csv
    python benchmarks/sweep.py --again sweep.csv --peers torch,onnxruntime

The shapes lie on walks: all parameters of a layer but one stay, and the one runs through its
values. After the walks of a fixed list come random ones, until the time is up. README.md beside
this file says what is flagged.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from _layers import DTYPES, Layer, data_type, random_data
from _timing import (
    CLOCKS,
    Timing,
    clean_process,
    geomean,
    interleave,
    processor,
    significant,
    table,
)
from peers import Side, Task, collect

OURS = ("fastconv", "plan")
PEERS = ("torch", "onnxruntime", "openvino")
# A peer given another layout than fastconv is not asked the same question.
LEFT_OUT = {"NCHW": {"torch-nhwc"}, "NHWC": set[str]()}

CLIFF = 2.0  # times as slow, for its work, as a neighbour
EXCESS = 3e-6  # and slower by so many seconds: below, the call decides
PEER = 0.8  # of the best peer's speed
PEER_EXCESS = 0.5e-6


@dataclass(frozen=True)
class Point:
    """A layer whose axes are all alike, padded to keep its size at stride 1."""

    rank: int
    batch: int
    channels: int
    filters: int
    size: int
    kernel: int
    stride: int
    dilation: int
    groups: int

    def layer(self) -> Layer | None:
        """The layer, or None where there is none of these numbers."""
        if self.channels % self.groups or self.filters % self.groups:
            return None
        span = (self.kernel - 1) * self.dilation
        name = " ".join(f"{f.name[0]}{getattr(self, f.name)}" for f in fields(self))
        size, kernel = (self.size,) * self.rank, (self.kernel,) * self.rank
        stride, groups = self.stride, self.groups
        padding = span // 2
        layer = Layer(
            *(name, self.batch, self.channels, size, self.filters, kernel),
            *(stride, padding, self.dilation, groups),
        )
        return layer if min(layer.output_shape) > 0 else None


def around(*centres: int, last: int) -> list[int]:
    """1 to 20, then the numbers beside each centre: where vectors, tiles and lines fill up."""
    near = {c + d for c in centres for d in (-1, 0, 1, 2)}
    return sorted(n for n in {*range(1, 21), *near, last} if n <= last)


CHANNELS = around(24, 32, 48, 64, 96, 128, last=130)
SIZES = around(28, 32, 56, 64, 100, 128, 224, 256, last=300)
VALUES = {
    "channels": CHANNELS,
    "filters": CHANNELS,
    "width": CHANNELS,  # channels and filters alike
    "depthwise": CHANNELS,  # and groups too
    "size": SIZES,
    "kernel": list(range(1, 16)),
    "stride": list(range(1, 6)),
    "dilation": list(range(1, 6)),
    "groups": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128],
    "batch": list(range(1, 9)),
}
BASES = (
    # rank, batch, channels, filters, size, kernel, stride, dilation, groups
    Point(2, 1, 32, 32, 28, 3, 1, 1, 1),
    Point(2, 1, 3, 64, 64, 7, 2, 1, 1),
    Point(2, 1, 48, 48, 14, 1, 1, 1, 1),
    Point(2, 1, 96, 96, 7, 3, 1, 1, 1),
    Point(2, 1, 32, 32, 56, 3, 1, 1, 32),
    Point(2, 1, 1, 1, 100, 5, 1, 1, 1),
    Point(2, 1, 1, 8, 64, 3, 1, 1, 1),
    Point(2, 1, 16, 3, 33, 5, 1, 1, 1),
    Point(2, 1, 24, 24, 19, 3, 2, 2, 4),
    Point(1, 1, 1, 1, 300, 9, 1, 1, 1),
    Point(1, 1, 32, 32, 250, 5, 1, 1, 1),
    Point(1, 1, 64, 64, 200, 9, 1, 1, 64),
    Point(3, 1, 1, 1, 32, 3, 1, 1, 1),
    Point(3, 1, 8, 8, 16, 3, 1, 1, 1),
    Point(3, 1, 16, 16, 12, 3, 1, 1, 16),
)


Walk = tuple[str, list[Point]]


def times(walks: Iterable[Walk], batch: int, most: int) -> Iterator[Walk]:
    """The walks with so many times as many images, without what is too much work."""
    for parameter, points in walks:
        many = (replace(point, batch=point.batch * batch) for point in points)
        layers = ((point, point.layer()) for point in many)
        yield parameter, [p for p, la in layers if la and la.multiplications <= most]


def moved(base: Point, parameter: str, value: int) -> Point:
    if parameter == "width":
        return replace(base, channels=value, filters=value)
    if parameter == "depthwise":
        return replace(base, channels=value, filters=value, groups=value)
    return replace(base, **{parameter: value})


def walk(base: Point, parameter: str, values: Sequence[int], most: int) -> Walk:
    """The points that are layers, and not too much work."""
    points = [moved(base, parameter, value) for value in values]
    layers = ((point, point.layer()) for point in points)
    return parameter, [p for p, la in layers if la and 0 < la.multiplications <= most]


def fixed_walks(most: int) -> list[Walk]:
    """Every parameter of every base."""
    pairs = [(base, parameter) for base in BASES for parameter in VALUES]
    plain = [(b, p) for b, p in pairs if b.groups == 1 or p not in ("channels", "filters", "width")]
    return [walk(base, parameter, VALUES[parameter], most) for base, parameter in plain]


def random_walks(generator: random.Random, most: int) -> Iterator[Walk]:
    """Three neighbouring values of one parameter, everything else drawn at random."""

    def log_uniform(last: int) -> int:
        return round(math.exp(generator.uniform(0, math.log(last))))

    while True:
        rank = generator.choice((1, 2, 2, 2, 3))
        channels, filters = log_uniform(130), log_uniform(130)
        groups = generator.choice((1, 1, 1, math.gcd(channels, filters)))
        if generator.random() < 0.2:
            filters = groups = channels
        size = log_uniform(300 if rank < 3 else 40)
        shape = (log_uniform(4), channels, filters, size, min(log_uniform(15), size))
        stride, dilation = generator.choice((1, 1, 1, 2, 3)), generator.choice((1, 1, 1, 2, 3))
        base = Point(rank, *shape, stride, dilation, groups)
        parameter = generator.choice(["channels", "filters", "size", "size", "kernel", "depthwise"])
        first = asdict(base).get(parameter, channels)
        step = groups if parameter in ("channels", "filters") else 1
        found = walk(base, parameter, [first, first + step, first + 2 * step], most)
        if len(found[1]) > 1:
            yield found


@dataclass
class Measured:
    """What was found at one point."""

    point: Point
    kernel: str
    work: tuple[float, float]  # operations, bytes
    seconds: dict[str, float]
    beside: list[tuple[str, Point]] = field(default_factory=list)  # neighbours, and along what

    def best_peer(self) -> str | None:
        peers = (name for name in self.seconds if name not in OURS)
        return min(peers, key=lambda name: self.seconds[name], default=None)

    def ratio(self) -> float | None:
        """The speed of the one-shot call as a share of the best peer's."""
        peer = self.best_peer()
        return self.seconds[peer] / self.seconds["fastconv"] if peer else None


def lower_quartile(timing: Timing) -> float:
    """A noisy neighbour only ever makes a round longer."""
    if len(timing.seconds) < 2:
        return timing.best
    return statistics.quantiles(timing.seconds, n=4, method="inclusive")[0]


class Bench:
    """Times points, each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.found: dict[Point, Measured] = {}
        self.refusals: set[tuple[str, str]] = set()

    def sides(self, point: Point) -> tuple[Layer, Task, list[Side]]:
        layer = point.layer()
        assert layer is not None
        x, w = random_data(layer, data_type(self.options.dtype))
        variants = {"": {"precision": self.options.precision}}
        last = self.options.layout == "NHWC"
        task = Task(layer, x, w, self.options.threads, last, plan=True, variants=variants)
        sides, reasons = collect(task, ("fastconv", *self.options.peers))
        self.refusals |= set(reasons.items())
        return layer, task, [s for s in sides if s.name not in LEFT_OUT[self.options.layout]]

    def interleaved(self, calls: dict[str, Callable[[], Any]], careful: bool) -> dict[str, float]:
        for call in calls.values():
            call()
        timings = interleave(
            calls,
            repeat=15 if careful else 5,
            min_time=0.004 if careful else 0.0015,
            threads=self.options.threads,
            clock=self.options.clock,
        )
        return {name: lower_quartile(timing) for name, timing in timings.items()}

    def measure(self, point: Point) -> Measured:
        if point not in self.found:
            import fastconv

            layer, task, sides = self.sides(point)
            seconds = self.interleaved({side.name: side.call for side in sides}, careful=False)
            positional = (None, layer.stride, layer.padding, layer.dilation, layer.groups)
            x, layout = task.x, self.options.layout
            if task.channels_last:
                x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
            result = np.int32 if x.dtype == np.uint8 else None
            told = fastconv.explain(x, task.w, *positional, layout=layout, dtype=result)
            work = float(told.flops), float(told.bytes)
            self.found[point] = Measured(point, told.kernel or told.algorithm, work, seconds)
        return self.found[point]

    def measure_again(self, point: Point) -> None:
        _, _, sides = self.sides(point)
        self.found[point].seconds = self.interleaved({s.name: s.call for s in sides}, careful=True)

    def measure_both(self, a: Point, b: Point) -> tuple[float, float]:
        """The one-shot calls of two points in the same rounds."""
        calls = {str(i): self.sides(point)[2][0].call for i, point in enumerate((a, b))}
        seconds = self.interleaved(calls, careful=True)
        return seconds["0"], seconds["1"]


def expected(own: Measured, other: Measured, seconds: float, overhead: float) -> float:
    """What a point should take by what its neighbour took.

    The call costs the same, and what it does grows with the operations or with the bytes, whichever
    grows more.
    """
    growth = max(mine / theirs for mine, theirs in zip(own.work, other.work, strict=True))
    return overhead + max(seconds - overhead, 0.0) * growth


@dataclass(frozen=True)
class Cliff:
    """A point that is slow for its work beside a neighbour."""

    own: Measured
    other: Measured
    parameter: str
    seconds: float
    expected: float


def find_cliffs(bench: Bench, overhead: float) -> list[Cliff]:
    """The points that are slow beside a neighbour, when both are timed together, too."""

    def is_cliff(seconds: float, due: float) -> bool:
        return seconds > CLIFF * due and seconds - due > EXCESS

    cliffs = []
    for own in bench.found.values():
        for parameter, neighbour in own.beside:
            other = bench.found[neighbour]
            due = expected(own, other, other.seconds["fastconv"], overhead)
            if not is_cliff(own.seconds["fastconv"], due):
                continue
            seconds, others = bench.measure_both(own.point, neighbour)
            due = expected(own, other, others, overhead)
            if is_cliff(seconds, due):
                cliffs.append(Cliff(own, other, parameter, seconds, due))
    return sorted(cliffs, key=lambda c: c.seconds / c.expected, reverse=True)


def find_slow(bench: Bench) -> list[Measured]:
    """The points that are slow beside a peer, when measured with care, too."""

    def is_slow(m: Measured) -> bool:
        peer = m.best_peer()
        if peer is None:
            return False
        ours, theirs = m.seconds["fastconv"], m.seconds[peer]
        return theirs < PEER * ours and ours - theirs > PEER_EXCESS

    slow = [m for m in bench.found.values() if is_slow(m)]
    for measured in slow:
        bench.measure_again(measured.point)
    return sorted((m for m in slow if is_slow(m)), key=lambda m: m.ratio() or 0)


def microseconds(seconds: float) -> str:
    return significant(seconds * 1e6)


def values(point: Point) -> list[str]:
    return [str(v) for v in astuple(point)]


def cliff_table(cliffs: Iterable[Cliff]) -> str:
    header = [*(f.name for f in fields(Point)), "kernel", "us", "due", "times", "neighbour", "its"]
    rows = []
    for c in cliffs:
        a, b = c.own.point, c.other.point
        changed = (f.name for f in fields(Point) if getattr(a, f.name) != getattr(b, f.name))
        neighbour = " ".join(f"{name}={getattr(b, name)}" for name in changed)
        figures = [microseconds(c.seconds), microseconds(c.expected)]
        times = significant(c.seconds / c.expected)
        rows.append([*values(a), c.own.kernel, *figures, times, neighbour, c.other.kernel])
    return table(header, rows)


def slow_table(slow: Iterable[Measured]) -> str:
    header = [*(f.name for f in fields(Point)), "kernel", "us", "plan", "peer", "its us", "ratio"]
    rows = []
    for m in slow:
        peer = m.best_peer()
        assert peer is not None
        figures = [microseconds(m.seconds[name]) for name in OURS]
        its = [peer, microseconds(m.seconds[peer]), significant(m.ratio(), 2)]
        rows.append([*values(m.point), m.kernel, *figures, *its])
    return table(header, rows)


def write_csv(found: Iterable[Measured], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f.name for f in fields(Point)), "ran", "flops", "side", "seconds"])
        for m in found:
            for side, seconds in m.seconds.items():
                row = [*astuple(m.point), m.kernel, int(m.work[0]), side, f"{seconds:.6g}"]
                writer.writerow(row)


def slow_before(path: Path) -> list[Point]:
    """The points of an earlier run's table that were below PEER of the best peer's speed."""
    seconds: dict[Point, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            point = Point(*(int(row[f.name]) for f in fields(Point)))
            seconds.setdefault(point, {})[row["side"]] = float(row["seconds"])
    measured = (Measured(point, "", (0, 0), sides) for point, sides in seconds.items())
    return [m.point for m in measured if (ratio := m.ratio()) and ratio < PEER]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="some seconds, small layers only")
    add("--seconds", type=float, default=600, help="for the first pass (default: %(default)g)")
    add("--seed", type=int, default=0, help="of the random walks")
    add("--peers", default="", help=f"some of {','.join(PEERS)}; none by default")
    add("--threads", type=int, default=1, help="threads of every side (default: 1)")
    add("--dtype", choices=DTYPES, default="float32", help="int8: inputs of uint8, sums of int32")
    add("--layout", choices=tuple(LEFT_OUT), default="NCHW", help="layout fastconv is given")
    add("--batch", type=int, default=1, help="times as many images (default: 1)")
    add("--isa", help="cap fastconv's instruction set; avx2 caps torch's oneDNN as well")
    add("--precision", choices=("highest", "high", "medium"), help="fastconv's precision=")
    add("--most", type=float, default=5e7, help="products of a layer (default: %(default)g)")
    add("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: for one thread, busy machine")
    add("--csv", type=Path, metavar="FILE", help="write every figure, one line a side")
    again = "no walks: the points of this table that were slow beside a peer"
    add("--again", type=Path, metavar="CSV", help=again)
    options = parser.parse_args()
    options.peers = tuple(filter(None, options.peers.split(",")))
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))} not among {', '.join(PEERS)}")
    if options.threads < 1 or options.seconds <= 0:
        parser.error("--threads must be at least 1, --seconds above 0")
    if options.clock == "cpu" and options.threads > 1:
        parser.error("--clock cpu adds up all threads: it needs --threads 1")
    if options.quick:
        options.seconds, options.most = min(options.seconds, 8), min(options.most, 3e6)
    return options


def sweep(bench: Bench, options: argparse.Namespace) -> int:
    """Measure until the time is up; how many of the fixed walks were left out."""
    bench.measure(BASES[0])  # imports the libraries
    if options.again:
        for point in slow_before(options.again):
            bench.measure(point)
        return 0
    until = time.monotonic() + options.seconds
    fixed = fixed_walks(int(options.most))
    # In a random order, so that a short run sees something of everything.
    generator = random.Random(options.seed)
    generator.shuffle(fixed)
    most = int(options.most)
    walks: Iterable[Walk] = itertools.chain(fixed, random_walks(generator, most))
    if options.batch > 1:
        walks = times(walks, options.batch, most)
    left = len(fixed)
    for index, (parameter, points) in enumerate(walks):
        for i, point in enumerate(points):
            if time.monotonic() > until:
                return left
            own = bench.measure(point)
            if i:
                before = bench.found[points[i - 1]]
                own.beside.append((parameter, before.point))
                before.beside.append((parameter, point))
        left -= index < len(fixed)
    return left


def main() -> int:
    options = arguments()
    settings = {"FASTCONV_ISA": options.isa} if options.isa else {}
    if options.isa == "avx2":
        settings["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    clean_process(options.threads, **settings)
    bench = Bench(options)
    left = sweep(bench, options)
    found = bench.found.values()
    for name, reason in sorted(bench.refusals):
        print(f"without {name} somewhere: {reason}", file=sys.stderr)
    overhead = min(m.seconds["fastconv"] for m in found)
    print(
        f"{processor()}\n{len(found)} shapes, {options.dtype}, {options.threads} threads;", end=" "
    )
    print(f"{left} of the fixed walks left out; a call takes {microseconds(overhead)} us or more")
    ratios = [ratio for m in found if (ratio := m.ratio())]
    if ratios:
        print(f"best peer's time / fastconv's: geometric mean {significant(geomean(ratios))}")
    cliffs = find_cliffs(bench, overhead)
    print(f"\n{len(cliffs)} slower than {CLIFF:g} times what a neighbour's time makes due")
    if cliffs:
        print(cliff_table(cliffs))
    if options.peers:
        slow = find_slow(bench)
        print(f"\n{len(slow)} below {PEER:g} of the best peer's speed")
        if slow:
            print(slow_table(slow))
    if options.csv:
        write_csv(found, options.csv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
