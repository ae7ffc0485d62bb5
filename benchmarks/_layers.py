"""The shapes of shapes.csv, their data, and how far a result is from the truth."""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPES = Path(__file__).with_name("shapes.csv")
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128", "int8")


@dataclass(frozen=True)
class Layer:
    """One row of shapes.csv, with only the axes that it has.

    Stride, padding and dilation are the same on every axis.
    """

    name: str
    batch: int
    channels: int
    size: tuple[int, ...]
    filters: int
    kernel: tuple[int, ...]
    stride: int
    padding: int
    dilation: int
    groups: int

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.filters, self.channels // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, ...]:
        spans = ((k - 1) * self.dilation + 1 for k in self.kernel)
        sizes = (
            (n + 2 * self.padding - span) // self.stride + 1
            for n, span in zip(self.size, spans, strict=True)
        )
        return (self.batch, self.filters, *sizes)

    @property
    def terms(self) -> int:
        """Products in one output value."""
        return math.prod(self.weight_shape[1:])

    @property
    def multiplications(self) -> int:
        return math.prod(self.output_shape) * self.terms

    @property
    def heavy(self) -> bool:
        """At least 64 channels in and out of each group, and 0.1 GFLOP."""
        channels = min(self.channels, self.filters) // self.groups
        return channels >= 64 and self.multiplications >= 0.05e9

    @property
    def single_channel(self) -> bool:
        """One plain picture, whatever the number of filters, at stride 1 without dilation."""
        plain = (self.batch, self.channels, self.stride, self.dilation) == (1, 1, 1, 1)
        return plain and (self.padding == 0 or all(k == 2 * self.padding + 1 for k in self.kernel))

    @property
    def kept(self) -> tuple[Any, ...]:
        """What this layer keeps of a result of the picture's own size, centred at kernel // 2."""
        if self.padding:
            return (Ellipsis,)
        sizes = zip(self.kernel, self.size, strict=True)
        return (Ellipsis, *(slice(k // 2, n - (k - 1) // 2) for k, n in sizes))


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Options for which layers are looked at."""
    add = parser.add_argument
    add("--shapes", default="", metavar="REGEX", help="only layers whose name matches")
    add("--shapes-file", type=Path, default=SHAPES, help="another list of layers")
    add("--heavy", action="store_true", help="only layers of 64 channels and 0.1 GFLOP or more")


def selected_layers(options: argparse.Namespace) -> list[Layer]:
    """The layers that the options of `add_selection` leave; says so where none is left."""
    layers = read_layers(options.shapes, options.shapes_file, options.heavy)
    if not layers:
        print(f"no layer of {options.shapes_file} matches {options.shapes!r}", file=sys.stderr)
    return layers


def read_layers(pattern: str = "", path: Path = SHAPES, heavy: bool = False) -> list[Layer]:
    """The rows whose name matches `pattern` anywhere, only those that are `heavy` if asked for."""
    layers = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row.pop("name")
            if not re.search(pattern, name):
                continue
            v = {key: int(value) for key, value in row.items()}
            axes = [("d", "kd"), ("h", "kh"), ("w", "kw")]
            # A leading axis of size 1 with kernel 1 is absent; the last axis always exists.
            while len(axes) > 1 and v[axes[0][0]] == v[axes[0][1]] == 1:
                del axes[0]
            layers.append(
                Layer(
                    name,
                    v["n"],
                    v["c"],
                    tuple(v[size] for size, _ in axes),
                    v["k"],
                    tuple(v[kernel] for _, kernel in axes),
                    v["stride"],
                    v["pad"],
                    v["dilation"],
                    v["groups"],
                )
            )
    return [layer for layer in layers if layer.heavy or not heavy]


def data_type(name: str) -> np.dtype[Any]:
    """The type of the inputs; that of weights goes with it."""
    if name == "int8":
        return np.dtype(np.uint8)
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def random_data(layer: Layer, dtype: np.dtype[Any], seed: int = 0) -> tuple[Any, Any]:
    """Standard normal input, and weights that keep the result near one.

    For uint8, all values of it, and weights of all values of int8.
    """
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        x = rng.integers(0, 256, layer.input_shape, np.uint8)
        return x, rng.integers(-128, 128, layer.weight_shape, np.int8)

    def normal(shape: tuple[int, ...]) -> NDArray[Any]:
        values = rng.standard_normal(shape, np.float32)
        if dtype.kind == "c":
            return (values + 1j * rng.standard_normal(shape, np.float32)).astype(dtype)
        return values.astype(dtype)

    weights = normal(layer.weight_shape) / np.asarray(layer.terms**0.5, dtype)
    return normal(layer.input_shape), weights.astype(dtype)


def sample(layer: Layer, points: int, seed: int = 0) -> tuple[NDArray[np.intp], ...]:
    """Indices of so many random output points, after 16 of the output's corners."""
    rng = np.random.default_rng(seed)
    shape = np.array(layer.output_shape)
    corners = rng.choice([0.0, 1.0], (16, len(shape)))
    where = np.concatenate([corners, rng.random((points, len(shape)))])
    return tuple(np.minimum((where * shape).astype(np.intp), shape - 1).T)


class Truth:
    """The result in float64 at some output points, the corners of the output among them.

    The error of a value is told as a share of ``S = sum |x||w|``, never of the value itself, which
    may be near zero by cancellation.
    """

    def __init__(
        self, layer: Layer, x: NDArray[Any], w: NDArray[Any], points: int = 256, seed: int = 0
    ) -> None:
        self.points = sample(layer, points, seed)
        terms = [products(layer, x, w, point) for point in zip(*self.points, strict=True)]
        self.values = np.array([t.sum() for t in terms])
        self.scales = np.array([np.abs(t).sum() for t in terms])

    def error(self, result: NDArray[Any]) -> float:
        """The largest error of `result` (batch, filters, spatial) as a share of S."""
        got = np.asarray(result[self.points])
        got = got.astype(np.complex128 if got.dtype.kind == "c" else np.float64)
        return float(np.max(np.abs(got - self.values) / np.maximum(self.scales, 1e-300)))


def products(
    layer: Layer, x: NDArray[Any], w: NDArray[Any], point: tuple[int, ...]
) -> NDArray[Any]:
    """The terms of one output value in float64: channels, then taps; without the padding's."""
    batch, filter_, *position = (int(p) for p in point)
    per_group = layer.channels // layer.groups
    first = filter_ // (layer.filters // layer.groups) * per_group
    x_index: list[slice] = [slice(first, first + per_group)]
    w_index: list[slice] = [slice(None)]
    for p, n, k in zip(position, layer.size, layer.kernel, strict=True):
        start = p * layer.stride - layer.padding
        # The taps that lie inside the input; the others meet zeros.
        low = max(0, -(start // layer.dilation))
        high = min(k, (n - 1 - start) // layer.dilation + 1)
        begin = start + low * layer.dilation
        x_index.append(slice(begin, begin + max(0, high - low) * layer.dilation, layer.dilation))
        w_index.append(slice(low, max(low, high)))
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    taps = x[batch][tuple(x_index)].astype(wide) * w[filter_][tuple(w_index)].astype(wide)
    return taps.ravel()
