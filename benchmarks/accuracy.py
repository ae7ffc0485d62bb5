#!/usr/bin/env python3
"""How exact fastconv's float32 is, layer by layer, beside a sum in order.

    python benchmarks/accuracy.py --heavy --precision highest,high,medium

Two figures for each layer and kind of input, from a sample of the outputs and against float64: the
root-mean-square error as a share of the root-mean-square result, and the largest error as a share
of ``gamma_n * S``, what a float32 sum of n terms in any order keeps below. README.md beside this
file says more.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _layers import Layer, add_selection, products, random_data, sample, selected_layers
from _timing import Progress, clean_process, geomean, processor, significant, table
from peers import MODULES, Task, add_variants, collect, first_results, variants

UNIT = 2.0**-24  # one rounding of float32
SEQUENTIAL = "in order"  # the column of the yardstick
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def wide(x: F32) -> F32:
    """Signs as they are, magnitudes log-uniform from 1e-30 to 1e30."""
    exponents = np.random.default_rng(1).uniform(-30, 30, x.shape)
    return np.copysign(10.0**exponents, x).astype(np.float32)


# What becomes of a standard normal input. The weights are always normal.
INPUTS: dict[str, Callable[[F32], F32]] = {
    "normal": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "wide": wide,
}


@dataclass(frozen=True)
class Figures:
    """One side on one layer and input."""

    layer: str
    inputs: str
    side: str
    rms: float  # of the error, as a share of that of the result
    bound: float  # the largest error, as a share of gamma_n * S


class Sample:
    """Some outputs of a layer: their terms, their sums in float64, and what errors they allow."""

    def __init__(self, layer: Layer, x: F32, w: F32, points: int) -> None:
        self.points = sample(layer, points)
        self.terms = np.zeros((layer.terms, len(self.points[0])))
        for column, point in enumerate(zip(*self.points, strict=True)):
            found = products(layer, x, w, point)
            self.terms[: len(found), column] = found
        self.values: F64 = self.terms.sum(axis=0)
        n = layer.terms + 1
        gamma = n * UNIT / (1 - n * UNIT)
        self.allowed: F64 = gamma * np.abs(self.terms).sum(axis=0)

    def in_order(self) -> F32:
        """A fused multiply-add in float32 after the other.

        The product of two float32 numbers is exact in float64. Adding it there and rounding to
        float32 rounds twice, which differs from once for about one sum in 2^29: never mind.
        """
        total = np.zeros(len(self.values), np.float32)
        for term in self.terms:
            total = (total + term).astype(np.float32)
        return total

    def figures(self, got: F32) -> tuple[float, float]:
        error = got.astype(np.float64) - self.values
        rms = np.sqrt(np.mean(error**2) / np.mean(self.values**2))
        # An output without terms, all of them in the border, has nothing to be wrong about.
        bound = np.max(np.abs(error) / np.maximum(self.allowed, np.finfo(np.float64).tiny))
        return float(rms), float(bound)


def measure(
    layer: Layer, inputs: str, options: argparse.Namespace, refused: Callable[[str, str], None]
) -> list[Figures]:
    x, w = random_data(layer, np.dtype(np.float32))
    x = INPUTS[inputs](x)
    chosen = variants(options.algorithm, options.precision)
    sides, reasons = collect(Task(layer, x, w, options.threads, variants=chosen), options.peers)
    results, more = first_results(sides)
    for name, reason in (reasons | more).items():
        refused(name, reason)
    some = Sample(layer, x, w, options.points)
    found = [Figures(layer.name, inputs, SEQUENTIAL, *some.figures(some.in_order()))]
    for name, result in results.items():
        found.append(Figures(layer.name, inputs, name, *some.figures(result[some.points])))
    return found


def figure_tables(rows: Sequence[Sequence[Figures]], *, markdown: bool) -> str:
    """Both figures of one kind of input: a line a layer, a column a side, and a summary."""
    names = list(dict.fromkeys(f.side for row in rows for f in row))
    found = [{f.side: f for f in row} for row in rows]

    def one(title: str, cell: Callable[[Figures], str], last: Sequence[str]) -> str:
        lines = [
            [row[0].layer, *(cell(by_side[n]) if n in by_side else "n/a" for n in names)]
            for row, by_side in zip(rows, found, strict=True)
        ]
        header = [f"{rows[0][0].inputs}: {title}", *names]
        return table(header, [*lines, last], markdown=markdown)

    shares, largest = ["geomean / in order"], ["largest"]
    for name in names:
        both = [(by_side[name], by_side[SEQUENTIAL]) for by_side in found if name in by_side]
        ratios = (own.rms / order.rms for own, order in both if own.rms and order.rms)
        shares.append(significant(geomean(ratios), 2))
        largest.append(significant(max(own.bound for own, _ in both), 2))
    return "\n\n".join(
        (
            one("RMS error / RMS result", lambda f: f"{f.rms:.2e}", shares),
            one("max error / (gamma_n S)", lambda f: significant(f.bound, 2), largest),
        )
    )


def write_csv(figures: Iterable[Figures], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Figures)])
        for f in figures:
            writer.writerow([f.layer, f.inputs, f.side, f"{f.rms:.4g}", f"{f.bound:.4g}"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_selection(parser)
    add("--inputs", default=",".join(INPUTS), help="kinds of input (default: %(default)s)")
    add("--points", type=int, default=1024, help="outputs looked at (default: %(default)s)")
    add_variants(parser)
    add("--peers", default="fastconv", help=f"of {','.join(MODULES)} (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of every side (default: 1)")
    add("--isa", help="cap fastconv's instruction set")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--csv", type=Path, metavar="FILE", help="write every figure, one line a side")
    options = parser.parse_args()
    for name, known in (("inputs", INPUTS), ("peers", MODULES)):
        chosen = tuple(getattr(options, name).split(","))
        if unknown := set(chosen) - set(known):
            parser.error(f"--{name}: {', '.join(sorted(unknown))} not among {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def main() -> int:
    options = arguments()
    clean_process(options.threads, **({"FASTCONV_ISA": options.isa} if options.isa else {}))
    layers = selected_layers(options)
    if not layers:
        return 2
    progress = Progress(len(layers) * len(options.inputs))
    told: set[tuple[str, str]] = set()

    def refused(name: str, reason: str) -> None:
        if (name, reason) not in told:  # once, not for every layer
            told.add((name, reason))
            progress.note(f"without {name}: {reason}")

    found: dict[str, list[list[Figures]]] = {}
    for inputs in options.inputs:
        for layer in layers:
            progress.label(f"{inputs} {layer.name}")
            found.setdefault(inputs, []).append(measure(layer, inputs, options, refused))
            progress.step()
    progress.close()
    title = f"{processor()}; float32, {options.points} outputs and 16 corners of each layer"
    if fastconv := sys.modules.get("fastconv"):
        title += f"; fastconv on {fastconv.get_isa()}"
    print(title)
    for rows in found.values():
        print("\n" + figure_tables(rows, markdown=options.markdown))
    if options.csv:
        write_csv((f for rows in found.values() for row in rows for f in row), options.csv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
