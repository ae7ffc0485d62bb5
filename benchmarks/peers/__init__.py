"""The libraries that are compared, one module each.

A module offers ``sides(task)``, which yields one `Side` for each way of asking the library for the
task, and raises `ImportError` when the library is not installed. Everything that a user would do
once (convert arrays, build a model, pack weights) happens before the side is yielded; its `call` is
what a user repeats.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _layers import Layer

# In the order of the table's columns.
MODULES = ("fastconv", "torch", "onnxruntime", "openvino", "openvino-bf16", "opencv", "scipy")
PRECISIONS = ("highest", "high", "medium")  # fastconv's


@dataclass(frozen=True)
class Task:
    """A layer with its data, always channels first, and how it is to be run.

    With an input of uint8 and weights of int8 the peers' quantized convolutions run. Those that
    give 8 bits give ``128 + sum / step``, rounded.
    """

    layer: Layer
    x: NDArray[Any]
    w: NDArray[Any]
    threads: int = 1
    channels_last: bool = False  # the layout that fastconv is given
    plan: bool = False  # also time fastconv's plan object
    # fastconv's options for each of its columns, by what is added to the column's name.
    variants: Mapping[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})

    @property
    def step(self) -> float:
        """What one step of an 8-bit result stands for: the type holds 8 standard deviations."""
        x, w = 147.2, 73.9  # root mean squares of all values of uint8 and of int8
        return 8 / 128 * x * w * self.layer.terms**0.5


@dataclass(frozen=True)
class Side:
    """One column of the table."""

    name: str
    call: Callable[[], Any]
    # What `call` returned as an array (batch, filters, spatial).
    unwrap: Callable[[Any], NDArray[Any]] = np.asarray
    # False for a side that computes in less than the precision of its input.
    full_precision: bool = True
    kernel: str = ""  # what the library says that it ran


def is_ours(name: str) -> bool:
    """Whether a side of this name is one of fastconv's."""
    return name.startswith(("fastconv", "plan"))


def variants(algorithms: Iterable[str], precisions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """fastconv's options for each pair of them, named by what is not the default."""
    found = {}
    for algorithm, precision in product(algorithms, precisions):
        suffix = f"-{algorithm}" * (algorithm != "auto")
        suffix += f"-{precision}" * (precision != "highest")
        found[suffix] = {"algorithm": algorithm, "precision": precision}
    return found


def add_variants(parser: argparse.ArgumentParser) -> None:
    """Options for what fastconv is asked for, each a list: a column for every pair."""

    def precisions(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(PRECISIONS):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} not among {PRECISIONS}")
        return text.split(",")

    add = parser.add_argument
    add(
        "--algorithm",
        default=["auto"],
        type=lambda text: text.split(","),
        metavar="A,B",
        help="fastconv's algorithm=, one or more (default: auto)",
    )
    add(
        "--precision",
        default=["highest"],
        type=precisions,
        metavar="A,B",
        help=f"fastconv's precision=, of {', '.join(PRECISIONS)} (default: highest)",
    )


def load(name: str) -> Callable[[Task], Iterator[Side]]:
    """The `sides` function of a module; raises ImportError when its library is absent."""
    module = f"peers.{name.replace('-', '_')}_peer"
    sides: Callable[[Task], Iterator[Side]] = importlib.import_module(module).sides
    return sides


def collect(task: Task, names: tuple[str, ...]) -> tuple[list[Side], dict[str, str]]:
    """Every side that can run the task, and why the other modules cannot."""
    found: list[Side] = []
    reasons: dict[str, str] = {}
    for name in names:
        try:
            found.extend(load(name)(task))
        except ImportError as error:
            reasons[name] = f"cannot be imported ({error})"
        except Exception as error:  # a peer that refuses a shape must not end the comparison
            reasons[name] = _first_line(error)
    return found, reasons


def first_results(sides: Iterable[Side]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What each side's first call returned, or why it refused to run, by its name."""
    results: dict[str, NDArray[Any]] = {}
    refused: dict[str, str] = {}
    for side in sides:
        try:
            results[side.name] = side.unwrap(side.call())
        except Exception as error:
            refused[side.name] = _first_line(error)
    return results, refused


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
