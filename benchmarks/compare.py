#!/usr/bin/env python3
"""fastconv beside PyTorch, onnxruntime, OpenVINO, OpenCV and SciPy, layer by layer.

    python benchmarks/compare.py --shapes resnet50 --threads 1 --plan --png ratios.png

Whichever of the libraries are installed take part. README.md beside this file says how the
figures are made and how to read them.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from _layers import SHAPES, Layer, Truth, random_data, read_layers
from _timing import (
    CLOCKS,
    Progress,
    Timing,
    clean_process,
    geomean,
    interleave,
    processor,
    significant,
    table,
)
from peers import MODULES, Side, Task, collect

OURS = {"fastconv": "tab:blue", "plan": "tab:orange"}  # and their colours
PACKAGES = {"opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python")}
CSV_COLUMNS = ["layer", "side", "threads", "layout", "dtype"]
CSV_COLUMNS += ["median_s", "best_s", "spread", "gflops", "ratio", "error"]
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")


@dataclass(frozen=True)
class Measured:
    """One side on one layer."""

    side: Side
    timing: Timing
    error: float


@dataclass(frozen=True)
class Row:
    """One layer, all sides."""

    layer: Layer
    flops: int
    sides: dict[str, Measured]

    def gflops(self, name: str) -> float | None:
        side = self.sides.get(name)
        return self.flops / side.timing.median / 1e9 if side else None

    def best_peer(self) -> str | None:
        """The fastest side that is not ours and keeps the input's precision."""
        peers = (n for n, m in self.sides.items() if n not in OURS and m.side.full_precision)
        return min(peers, key=lambda n: self.sides[n].timing.median, default=None)

    def ratio(self, name: str) -> float | None:
        """How many times as fast as the best peer."""
        peer = self.best_peer()
        if peer is None or name not in self.sides:
            return None
        return self.sides[peer].timing.median / self.sides[name].timing.median


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shapes", default="", metavar="REGEX", help="only layers whose name matches")
    add("--shapes-file", type=Path, default=SHAPES, help="another list of layers")
    add("--peers", default=",".join(MODULES), help="modules that take part (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of every side (default: 1)")
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="layout fastconv is given")
    add("--dtype", choices=DTYPES, default="float32")
    add("--algorithm", default="auto", help="fastconv's algorithm= (default: auto)")
    add("--precision", choices=("highest", "high", "medium"), help="fastconv's precision=")
    add("--isa", help="cap fastconv's instruction set; avx2 caps torch's oneDNN as well")
    add("--plan", action="store_true", help="also time fastconv's plan object")
    add("--repeat", type=int, default=9, help="rounds (default: %(default)s)")
    add("--min-time", type=float, default=0.03, help="seconds a block lasts (default: %(default)s)")
    add("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: for one thread, busy machine")
    add("--peak", type=float, metavar="GFLOPS", help="the machine's peak with these threads")
    add("--errors", action="store_true", help="also print every side's error")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--csv", type=Path, metavar="FILE", help="write every figure, one line a side")
    add("--png", type=Path, metavar="FILE", help="plot the ratios")
    options = parser.parse_args(argv)
    options.peers = tuple(options.peers.split(","))
    if unknown := set(options.peers) - set(MODULES):
        parser.error(f"--peers: {', '.join(sorted(unknown))} not among {', '.join(MODULES)}")
    if options.threads < 1 or options.repeat < 1:
        parser.error("--threads and --repeat must be at least 1")
    if options.clock == "cpu" and options.threads > 1:
        parser.error("--clock cpu adds up all threads: it needs --threads 1")
    return options


def environment(options: argparse.Namespace) -> dict[str, str]:
    """What must be set before the libraries load."""
    if not options.isa:
        return {}
    capped = {"FASTCONV_ISA": options.isa}
    if options.isa == "avx2":
        capped["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    return capped


def data_type(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def measure(layers: Iterable[Layer], options: argparse.Namespace, progress: Progress) -> list[Row]:
    dtype = data_type(options.dtype)
    rows: list[Row] = []
    told: set[tuple[str, str]] = set()
    for layer in layers:
        progress.label(layer.name)
        x, w = random_data(layer, dtype)
        task = Task(
            layer,
            x,
            w,
            threads=options.threads,
            channels_last=options.layout == "NHWC",
            plan=options.plan,
            algorithm=options.algorithm,
            precision=options.precision,
        )
        sides, reasons = collect(task, options.peers)
        for refusal in reasons.items():
            if refusal not in told:  # once, not for every layer
                told.add(refusal)
                progress.note(f"{layer.name}: without {refusal[0]}: {refusal[1]}")
        if not sides:
            progress.note(f"{layer.name}: no side can run it")
            progress.step(options.repeat)
            continue
        truth = Truth(layer, x, w)
        errors = {side.name: truth.error(side.unwrap(side.call())) for side in sides}
        timings = interleave(
            {side.name: side.call for side in sides},
            repeat=options.repeat,
            min_time=options.min_time,
            threads=options.threads,
            clock=options.clock,
            progress=progress.step,
        )
        flops = layer.multiplications * (8 if dtype.kind == "c" else 2)
        found = {s.name: Measured(s, timings[s.name], errors[s.name]) for s in sides}
        rows.append(Row(layer, flops, found))
    return rows


def side_names(rows: Iterable[Row]) -> list[str]:
    """Every side that ran, in the order in which the modules yield them."""
    order = ["fastconv", "plan", "torch", "torch-nhwc", "ort", "ov-f32", "ov-default"]
    order += ["cv2", "ndimage", "signal"]
    seen = {name for row in rows for name in row.sides}
    return [name for name in order if name in seen] + sorted(seen - set(order))


def speed_table(rows: Sequence[Row], peak: float | None, markdown: bool) -> str:
    """GFLOP/s of every side, the ratios, and a last line of geometric means."""
    names = side_names(rows)
    ours = [name for name in OURS if name in names]
    header = ["GFLOP/s", *names, "best peer"]
    header += ["ratio" if name == "fastconv" else f"ratio {name}" for name in ours]
    header += ["% peak"] * bool(peak and ours) + ["err/S"] * bool(ours) + ["err/S peer"]
    lines = []
    for row in rows:
        peer = row.best_peer()
        line = [row.layer.name, *(significant(row.gflops(name)) for name in names), peer or "-"]
        line += [significant(row.ratio(name)) for name in ours]
        if ours:
            speed, own = row.gflops(ours[0]), row.sides.get(ours[0])
            if peak:
                line.append(significant(speed / peak * 100, 2) if speed else "-")
            line.append(f"{own.error:.1e}" if own else "-")
        line.append(f"{row.sides[peer].error:.1e}" if peer else "-")
        lines.append(line)
    means = [significant(geomean(r.gflops(n) or math.nan for r in rows)) for n in names]
    ratios = [[x for row in rows if (x := row.ratio(name)) is not None] for name in ours]
    last = ["geomean", *means, "", *(significant(geomean(r)) for r in ratios)]
    lines.append(last + [""] * (len(header) - len(last)))
    return table(header, lines, markdown=markdown)


def error_table(rows: Sequence[Row], markdown: bool) -> str:
    """The largest error of every side, as a share of S = sum |x||w|."""
    names = side_names(rows)
    lines = [
        [row.layer.name, *(f"{row.sides[n].error:.1e}" if n in row.sides else "-" for n in names)]
        for row in rows
    ]
    return table(["error / S", *names], lines, markdown=markdown)


def write_csv(rows: Iterable[Row], options: argparse.Namespace) -> None:
    with options.csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            for name, side in row.sides.items():
                time = side.timing
                writer.writerow(
                    [row.layer.name, name, options.threads, options.layout, options.dtype]
                    + [f"{v:.6g}" for v in (time.median, time.best, time.spread)]
                    + [f"{v:.6g}" for v in (row.gflops(name) or 0, row.ratio(name) or 0)]
                    + [f"{side.error:.3g}"]
                )


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Bars of the ratio to the best peer, a line where both are equal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    ours = [name for name in OURS if any(row.ratio(name) for row in rows)]
    if not ours:
        print("no plot: it needs fastconv and at least one peer", file=sys.stderr)
        return
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.24 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    height = 0.8 / len(ours)
    for index, name in enumerate(ours):
        ratios = [row.ratio(name) or math.nan for row in rows]
        mean = geomean(r for r in ratios if not math.isnan(r))
        label = f"{'one-shot call' if name == 'fastconv' else name}, geomean {significant(mean)}"
        axes.barh(
            places + (index - (len(ours) - 1) / 2) * height,
            [ratio - 1 for ratio in ratios],
            height,
            left=1.0,  # bars grow from "equal", to the right when fastconv is ahead
            color=OURS[name],
            label=label,
        )
    names = [f"{row.layer.name}  (vs {row.best_peer() or '-'})" for row in rows]
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    steps = (1.0, 1.25, 1.5, 1.75) if high / low < 4 else (1.0, 1.5) if high / low < 16 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("speed of fastconv / speed of the best peer  (right of 1: fastconv is faster)")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def versions(modules: Iterable[str]) -> str:
    found = []
    for module in modules:
        for package in PACKAGES.get(module, (module,)):
            try:
                found.append(f"{module} {metadata.version(package)}")
                break
            except metadata.PackageNotFoundError:
                continue
    return ", ".join(found)


def main() -> int:
    options = arguments()
    clean_process(options.threads, **environment(options))
    layers = read_layers(options.shapes, options.shapes_file)
    if not layers:
        print(f"no layer of {options.shapes_file} matches {options.shapes!r}", file=sys.stderr)
        return 2
    progress = Progress(len(layers) * options.repeat)
    rows = measure(layers, options, progress)
    progress.close()
    if not rows:
        return 1
    plural = "" if options.threads == 1 else "s"
    title = f"{options.dtype}, {options.layout}, {options.threads} thread{plural}"
    if fastconv := sys.modules.get("fastconv"):
        title += f", fastconv on {fastconv.get_isa()}"  # what ran, whatever was asked for
    if isa := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        title += f", oneDNN capped to {isa}"
    title += f"; {options.clock} time, medians of {options.repeat} rounds"
    print(f"{processor()}\n{versions(options.peers)}\n{title}\n")
    print(speed_table(rows, options.peak, options.markdown))
    if options.errors:
        print("\n" + error_table(rows, options.markdown))
    if options.csv:
        write_csv(rows, options)
    if options.png:
        plot(rows, f"{processor()}\n{title}", options.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
