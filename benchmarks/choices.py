#!/usr/bin/env python3
"""Is the kernel that estimates choose the fastest one?

    python benchmarks/choices.py --layers 300
    python benchmarks/choices.py --layers 300 --layout NHWC --rows short --csv choices.csv

Every kernel is made to run every layer that it can, each in a process of its own. README.md beside
this file says what the tables hold.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _layers import DTYPES, data_type, random_data
from _timing import clean_process, geomean, interleave, processor, significant, table
from sweep import Point, random_walks

# Those of floating-point layers that estimates compare.
KERNELS = (
    *("tap_product", "column_product", "outer_product", "flat_lanes", "group_lanes", "plane"),
    *("pointwise_lanes", "pixel_dots", "pixel_quads", "row_stencil", "pixel_lanes", "winograd"),
    "fft",
)
LAYOUTS = {"NCHW": ("NCW", "NCHW", "NCDHW"), "NHWC": ("NWC", "NHWC", "NDHWC")}
SHORT = 16  # outputs of a row, one vector of float32
LOSS = 1.1  # from here on a layer is listed


@dataclass(frozen=True)
class Ran:
    """What one process found for one layer."""

    kernel: str
    call: float  # seconds
    layer: float
    estimates: dict[str, float]  # vector operations a term and pixel, by kernel


def points(options: argparse.Namespace) -> Iterator[Point]:
    """The middle one of each random walk of sweep.py."""
    for _, walk in random_walks(random.Random(options.seed), int(options.most)):
        point = walk[len(walk) // 2]
        layer = point.layer()
        if layer is not None and (options.rows == "all" or layer.output_shape[-1] < SHORT):
            yield point


def time_points(options: argparse.Namespace) -> None:
    """Of one kernel, or as estimates choose: points from standard input, figures to its output."""
    import fastconv
    from fastconv import _core

    if options.run != "auto":
        _core.prefer_kernel(options.run)
    for record in json.load(sys.stdin):
        point = Point(*record)
        layer = point.layer()
        assert layer is not None
        x, w = random_data(layer, data_type(options.dtype))
        if options.layout == "NHWC":
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        names = dict(zip(("stride", "padding", "dilation", "groups"), settings, strict=True))
        names["layout"] = LAYOUTS[options.layout][point.rank - 1]
        told = fastconv.explain(x, w, **names)
        if options.run not in ("auto", told.kernel):
            continue
        found = re.findall(r"\((\w+)\)[^\n]*?estimate,? ?([\d.]+) vector", str(told))
        function = getattr(fastconv, f"conv{point.rank}d")
        bound = getattr(fastconv, f"Conv{point.rank}d")(w, **names)

        def call(f: Any = function, x: Any = x, w: Any = w, names: Any = names) -> Any:
            return f(x, w, **names)

        def plan(f: Any = bound, x: Any = x) -> Any:
            return f(x)

        sides = {"call": call, "layer": plan}
        call(), plan()
        timings = interleave(sides, repeat=5, min_time=0.002)
        seconds = (timings["call"].best, timings["layer"].best)
        ran = Ran(told.kernel, *seconds, {k: float(v) for k, v in found})
        print(json.dumps([astuple(point), *astuple(ran)]), flush=True)


def run_all(wanted: list[Point], options: argparse.Namespace) -> dict[str, dict[Point, Ran]]:
    """By kernel, "auto" for the choice."""
    found: dict[str, dict[Point, Ran]] = {}
    for kernel in ("auto", *KERNELS):
        done = subprocess.run(
            [sys.executable, *sys.orig_argv[1:], "--run", kernel],
            input=json.dumps([astuple(p) for p in wanted]),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        records = (json.loads(line) for line in done.stdout.splitlines())
        found[kernel] = {Point(*point): Ran(*rest) for point, *rest in records}
    return found


def cycles(point: Point, estimate: float) -> float:
    """What an estimate comes to, in vector operations of the whole layer."""
    layer = point.layer()
    assert layer is not None
    pixels = math.prod(layer.output_shape[2:])
    return estimate * point.batch * point.groups * layer.terms * pixels


def losses(found: dict[str, dict[Point, Ran]]) -> list[tuple[float, Point, Ran, Ran]]:
    """How much longer the choice took than the fastest, most first."""
    rows = []
    for point, chosen in found["auto"].items():
        others = [found[kernel][point] for kernel in KERNELS if point in found[kernel]]
        best = min([chosen, *others], key=lambda ran: ran.call)
        rows.append((chosen.call / best.call, point, chosen, best))
    return sorted(rows, key=lambda row: row[0], reverse=True)


def loss_table(rows: list[tuple[float, Point, Ran, Ran]]) -> str:
    header = ["times", "layer", "chosen", "us", "fastest", "its us"]
    lines = []
    for loss, point, chosen, best in rows:
        layer = point.layer()
        assert layer is not None
        figures = [significant(ran.call * 1e6) for ran in (chosen, best)]
        names = (chosen.kernel, best.kernel)
        lines.append([significant(loss), layer.name, names[0], figures[0], names[1], figures[1]])
    return table(header, lines)


def estimate_table(found: dict[str, dict[Point, Ran]], overhead: float) -> str:
    """Time that each kernel took for a vector operation of its estimate."""
    header = ["kernel", "layers", "ns: a quarter below", "median", "a quarter above"]
    lines = []
    for kernel in KERNELS:
        ratios = []
        for point, ran in found[kernel].items():
            chosen = found["auto"].get(point)
            estimate = chosen.estimates.get(kernel) if chosen else None
            if estimate:
                ratios.append(max(ran.call - overhead, 0) * 1e9 / cycles(point, estimate))
        if len(ratios) > 3:
            quartiles = statistics.quantiles(ratios, n=4)
            lines.append([kernel, str(len(ratios)), *map(significant, quartiles)])
    return table(header, lines)


def write_csv(found: dict[str, dict[Point, Ran]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "asked", "kernel", "call", "layer_object", "estimate"])
        for asked, of_kernel in found.items():
            for point, ran in of_kernel.items():
                layer = point.layer()
                assert layer is not None
                estimate = found["auto"][point].estimates.get(ran.kernel, "")
                writer.writerow([layer.name, asked, ran.kernel, ran.call, ran.layer, estimate])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--layers", type=int, default=200, help="how many (default: %(default)d)")
    add("--rows", choices=("all", "short"), default="all", help=f"short: of fewer than {SHORT}")
    add("--seed", type=int, default=0)
    add("--most", type=float, default=1e7, help="products of a layer (default: %(default)g)")
    add("--dtype", choices=[d for d in DTYPES if d.startswith("float")], default="float32")
    add("--layout", choices=tuple(LAYOUTS), default="NCHW")
    add("--isa", help="cap fastconv's instruction set")
    add("--csv", type=Path, metavar="FILE", help="write every figure")
    add("--run", choices=("auto", *KERNELS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.layers < 1:
        parser.error("--layers must be at least 1")
    return options


def main() -> int:
    options = arguments()
    clean_process(1, **({"FASTCONV_ISA": options.isa} if options.isa else {}))
    if options.run:
        time_points(options)
        return 0
    source = points(options)
    wanted = list(dict.fromkeys(next(source) for _ in range(options.layers)))
    found = run_all(wanted, options)
    overhead = min(ran.call for ran in found["auto"].values())
    rows = losses(found)
    print(f"{processor()}\n{len(rows)} layers, {options.dtype}, {options.layout}, one thread;")
    mean = geomean([row[0] for row in rows])
    print(f"the choice takes {significant(mean)} times as long as the fastest kernel, in the mean")
    listed = [row for row in rows if row[0] > LOSS]
    print(f"\n{len(listed)} layers where it takes more than {LOSS:g} times as long")
    if listed:
        print(loss_table(listed))
    print("\nTime of a vector operation of the estimates, of what a call takes beyond the shortest")
    print(estimate_table(found, overhead))
    if options.csv:
        write_csv(found, options.csv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
