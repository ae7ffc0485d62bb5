"""The libraries that are compared, one module each.

A module offers ``sides(task)``, which yields one `Side` for each way of asking the library for the
task, and raises `ImportError` when the library is not installed. Everything that a user would do
once (convert arrays, build a model, pack weights) happens before the side is yielded; its `call` is
what a user repeats.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _layers import Layer

# In the order of the table's columns.
MODULES = ("fastconv", "torch", "onnxruntime", "openvino", "opencv", "scipy")


@dataclass(frozen=True)
class Task:
    """A layer with its data, always channels first, and how it is to be run."""

    layer: Layer
    x: NDArray[Any]
    w: NDArray[Any]
    threads: int = 1
    channels_last: bool = False  # the layout that fastconv is given
    plan: bool = False  # also time fastconv's plan object
    algorithm: str = "auto"
    precision: str | None = None


@dataclass(frozen=True)
class Side:
    """One column of the table."""

    name: str
    call: Callable[[], Any]
    # What `call` returned as an array (batch, filters, spatial).
    unwrap: Callable[[Any], NDArray[Any]] = np.asarray
    # False for a side that computes in less than the precision of its input.
    full_precision: bool = True


def load(name: str) -> Callable[[Task], Iterator[Side]]:
    """The `sides` function of a module; raises ImportError when its library is absent."""
    sides: Callable[[Task], Iterator[Side]] = importlib.import_module(f"peers.{name}_peer").sides
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
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            reasons[name] = first_line
    return found, reasons
