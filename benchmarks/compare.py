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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from _layers import (
    DTYPES,
    Layer,
    Truth,
    add_selection,
    data_type,
    random_data,
    selected_layers,
)
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
from peers import (
    MODULES,
    Side,
    Task,
    add_variants,
    collect,
    first_results,
    is_ours,
    variants,
)

PACKAGES = {"opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python")}
CSV_COLUMNS = ["layer", "side", "threads", "layout", "dtype"]
CSV_COLUMNS += ["median_s", "best_s", "spread", "gflops", "ratio", "error", "kernel"]


@dataclass(frozen=True)
class Measured:
    """One side on one layer; without a timing where it refused."""

    side: Side
    timing: Timing | None
    error: float


@dataclass(frozen=True)
class Row:
    """One layer, all sides."""

    layer: Layer
    flops: int
    sides: dict[str, Measured]

    def seconds(self, name: str) -> float | None:
        side = self.sides.get(name)
        return side.timing.median if side and side.timing else None

    def gflops(self, name: str) -> float | None:
        seconds = self.seconds(name)
        return self.flops / seconds / 1e9 if seconds else None

    def best_peer(self, name: str) -> str | None:
        """The fastest side that is not ours and, as this one, of full precision or of less."""
        full = self.sides[name].side.full_precision if name in self.sides else True
        times = {
            peer: seconds
            for peer, m in self.sides.items()
            if not is_ours(peer)
            and m.side.full_precision == full
            and (seconds := self.seconds(peer))
        }
        return min(times, key=times.__getitem__, default=None)

    def ratio(self, name: str) -> float | None:
        """How many times as fast as the best peer."""
        peer, own = self.best_peer(name), self.seconds(name)
        return self.seconds(peer) / own if peer and own else None

    def speed(self, name: str) -> str:
        return significant(self.gflops(name)) if self.seconds(name) else self.absent(name)

    def error(self, name: str | None) -> str:
        if name is None or not self.seconds(name):
            return self.absent(name)
        return f"{self.sides[name].error:.1e}"

    def absent(self, name: str | None) -> str:
        """What stands in the place of a figure: the library refused, or was never asked."""
        return "n/a" if name in self.sides else "-"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_selection(parser)
    add("--peers", default=",".join(MODULES), help="modules that take part (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of every side (default: 1)")
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="layout fastconv is given")
    add("--dtype", choices=DTYPES, default="float32", help="int8: uint8 input by int8 weights")
    add_variants(parser)
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
            variants=variants(options.algorithm, options.precision),
        )
        sides, reasons = collect(task, options.peers)
        errors, refused = check(task, sides)
        reasons |= refused
        for refusal in reasons.items():
            if refusal not in told:  # once, not for every layer
                told.add(refusal)
                progress.note(f"{layer.name}: without {refusal[0]}: {refusal[1]}")
        if not sides:
            progress.note(f"{layer.name}: no side can run it")
            progress.step(options.repeat)
            continue
        timings = interleave(
            {side.name: side.call for side in sides if side.name in errors},
            repeat=options.repeat,
            min_time=options.min_time,
            threads=options.threads,
            clock=options.clock,
            progress=progress.step,
        )
        flops = layer.multiplications * (8 if dtype.kind == "c" else 2)
        found = {
            s.name: Measured(s, timings.get(s.name), errors.get(s.name, math.nan)) for s in sides
        }
        rows.append(Row(layer, flops, found))
    return rows


def check(task: Task, sides: Sequence[Side]) -> tuple[dict[str, float], dict[str, str]]:
    """The errors of the sides that can run, and why the others cannot, by name.

    Our sums of integers must have none, and equal those of each peer that has none everywhere.
    """
    results, refused = first_results(sides)
    truth = Truth(task.layer, task.x, task.w)
    errors = {name: truth.error(result) for name, result in results.items()}
    whole = {name: y for name, y in results.items() if y.dtype.kind == "i"}
    exact = [y for name, y in whole.items() if not errors[name]]
    for name in (name for name in whole if is_ours(name)):
        if errors[name] or not all(np.array_equal(whole[name], y) for y in exact):
            raise SystemExit(f"{task.layer.name}: {name} is not exact")
    return errors, refused


def side_names(rows: Iterable[Row]) -> list[str]:
    """Every side that was asked, ours first, then in the order in which the modules yield them."""
    order = ["torch", "torch-nhwc", "ort", "ov-f32", "ov-bf16", "cv2", "ndimage", "signal"]
    order += ["torch-u8", "torch-u8-nhwc", "ort-i32", "ort-u8", "ov-i8", "ov-u8"]
    seen = dict.fromkeys(name for row in rows for name in row.sides)
    return sorted(seen, key=lambda name: -1 if is_ours(name) else order.index(name))


def speed_table(rows: Sequence[Row], peak: float | None, markdown: bool) -> str:
    """GFLOP/s of every side, the ratios, and a last line of geometric means."""
    names = side_names(rows)
    ours = list(filter(is_ours, names))
    header = ["GFLOP/s", *names, "best peer"]
    header += ["ratio" if name == "fastconv" else f"ratio {name}" for name in ours]
    header += ["% peak"] * bool(peak and ours) + ["err/S"] * bool(ours) + ["err/S peer"]
    lines = []
    for row in rows:
        peer = row.best_peer(ours[0] if ours else "")
        line = [row.layer.name, *(row.speed(name) for name in names), peer or "-"]
        line += [significant(row.ratio(name)) for name in ours]
        if ours:
            speed = row.gflops(ours[0])
            if peak:
                line.append(significant(speed / peak * 100, 2) if speed else "-")
            line.append(row.error(ours[0]))
        line.append(row.error(peer))
        lines.append(line)
    means = [significant(geomean(r.gflops(n) or math.nan for r in rows)) for n in names]
    ratios = [[x for row in rows if (x := row.ratio(name)) is not None] for name in ours]
    last = ["geomean", *means, "", *(significant(geomean(r)) for r in ratios)]
    lines.append(last + [""] * (len(header) - len(last)))
    return table(header, lines, markdown=markdown)


def error_table(rows: Sequence[Row], markdown: bool) -> str:
    """The largest error of every side, as a share of S = sum |x||w|."""
    names = side_names(rows)
    lines = [[row.layer.name, *map(row.error, names)] for row in rows]
    return table(["error / S", *names], lines, markdown=markdown)


def kernels(rows: Sequence[Row]) -> str:
    """What the sides that can tell ran, and for how many layers."""
    told = Counter((n, m.side.kernel) for row in rows for n, m in row.sides.items())
    return "".join(
        f"{name} ran {kernel} ({count} of {len(rows)} layers)\n"
        for (name, kernel), count in sorted(told.items())
        if kernel
    )


def write_csv(rows: Iterable[Row], options: argparse.Namespace) -> None:
    with options.csv.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            for name, side in row.sides.items():
                if (time := side.timing) is None:
                    continue
                writer.writerow(
                    [row.layer.name, name, options.threads, options.layout, options.dtype]
                    + [f"{v:.6g}" for v in (time.median, time.best, time.spread)]
                    + [f"{v:.6g}" for v in (row.gflops(name) or 0, row.ratio(name) or 0)]
                    + [f"{side.error:.3g}", side.side.kernel]
                )


def plot(rows: Sequence[Row], title: str, path: Path) -> None:
    """Bars of the ratio to the best peer, a line where both are equal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    ours = [
        name for name in filter(is_ours, side_names(rows)) if any(row.ratio(name) for row in rows)
    ]
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
            label=label,
        )
    names = [f"{row.layer.name}  (vs {row.best_peer(ours[0]) or '-'})" for row in rows]
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
    for module in dict.fromkeys(m.removesuffix("-bf16") for m in modules):
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
    layers = selected_layers(options)
    if not layers:
        return 2
    progress = Progress(len(layers) * options.repeat)
    rows = measure(layers, options, progress)
    progress.close()
    if not rows:
        return 1
    plural = "" if options.threads == 1 else "s"
    dtype = "uint8 by int8" if options.dtype == "int8" else options.dtype
    title = f"{dtype}, {options.layout}, {options.threads} thread{plural}"
    if fastconv := sys.modules.get("fastconv"):
        title += f", fastconv on {fastconv.get_isa()}"  # what ran, whatever was asked for
    if isa := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        title += f", oneDNN capped to {isa}"
    title += f"; {options.clock} time, medians of {options.repeat} rounds"
    print(f"{processor()}\n{versions(options.peers)}\n{title}\n")
    print(speed_table(rows, options.peak, options.markdown))
    print("\n" + kernels(rows), end="")
    if options.errors:
        print("\n" + error_table(rows, options.markdown))
    if options.csv:
        write_csv(rows, options)
    if options.png:
        plot(rows, f"{processor()}\n{title}", options.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
