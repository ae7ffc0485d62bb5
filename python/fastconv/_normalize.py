"""Every check of an option, and its translation to the canonical form that the engine takes.

Shapes and dtypes are not looked at here: the engine checks those of each call. What depends on
the options alone is checked once and remembered, so that a repeated call pays for one dictionary
lookup.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import numpy as np

from . import _core
from ._finder import Finder

PADDING_MODES = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "edge": "edge",
    "replicate": "edge",
    "wrap": "wrap",
    "circular": "wrap",
}
PADDING_NAMES = ("valid", "same", "same_lower")
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu")
ALGORITHMS = ("auto", "direct", "winograd", "im2col", "amx_split", "fft", "separable", "reference")
PRECISIONS = ("highest", "high", "medium")

# Whether a name of a layout puts the channels last, for each rank.
_LAYOUTS = {
    rank: {"NCHW": False, "channels_first": False, f"NC{axes}": False}
    | {"NHWC": True, "channels_last": True, f"N{axes}C": True}
    for rank, axes in ((1, "W"), (2, "HW"), (3, "DHW"))
}
_INT64_MAX = 2**63 - 1

_short_repr = reprlib.Repr()
_short_repr.maxstring = _short_repr.maxother = 60
_short_repr.maxlist = _short_repr.maxtuple = 6
_short_repr.maxlong = 60


def show(value: object) -> str:
    """Return a short text for `value`, whatever it is.

    Examples
    --------
    >>> show((1, 2)), show("a" * 1000)[-3:], show(1 << 100_000)
    ('(1, 2)', "aa'", 'an integer of 100001 bits')
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    try:
        return _short_repr.repr(value)
    except Exception:
        # The repr of a foreign object may raise anything, and Python 3.11 raises on long integers.
        return f"an object of type {type(value).__name__[:60]}"


def as_int(name: str, value: object, least: int) -> int:
    """Return `value` as an int that is at least `least` and fits 64 bits.

    Examples
    --------
    >>> as_int("stride", np.int8(2), 1)
    2
    >>> as_int("stride", True, 1)
    Traceback (most recent call last):
        ...
    TypeError: stride must be an integer, got True of type bool
    """
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise TypeError(
                f"{name} must be an integer, got {show(value)} of type {type(value).__name__[:60]}"
            )
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {show(value)}") from None
    if not least <= value <= _INT64_MAX:
        raise ValueError(f"{name} must be between {least} and 2**63 - 1, got {show(value)}")
    return value


def as_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`.

    Examples
    --------
    >>> as_choice("mode", "fill", ("full", "same"))
    Traceback (most recent call last):
        ...
    ValueError: mode must be 'full' or 'same', got 'fill'
    """
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be a string, got {show(value)} of type {type(value).__name__[:60]}"
        )
    if value not in choices:
        raise ValueError(f"{name} must be {_one_of(choices)}, got {show(value)}")
    return value


def as_flag(name: str, value: object) -> bool:
    """Return `value` if it is a bool.

    Examples
    --------
    >>> as_flag("flip", np.True_)
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{name} must be True or False, got {show(value)} of type {type(value).__name__[:60]}"
        )
    return bool(value)


def _one_of(choices: Collection[str]) -> str:
    quoted = [repr(choice) for choice in choices]
    return ", ".join(quoted[:-1]) + " or " + quoted[-1] if len(quoted) > 1 else quoted[0]


def as_sequence(value: object) -> tuple[object, ...] | None:
    """Return the items of a tuple, list or 1-D array, and None for anything else."""
    if isinstance(value, (tuple, list)):
        return tuple(value)
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return tuple(value)
    return None


def per_axis(name: str, value: object, rank: int) -> tuple[int, ...]:
    """Return one int >= 1 per axis from an int or a sequence.

    Examples
    --------
    >>> per_axis("stride", 2, 3), per_axis("stride", [1, 2], 2)
    ((2, 2, 2), (1, 2))
    """
    items = as_sequence(value)
    if items is None:
        return (as_int(name, value, 1),) * rank
    if len(items) != rank:
        raise ValueError(
            f"{name} must be an integer or {rank} integers, one per spatial axis, "
            f"got {len(items)} items: {show(value)}"
        )
    return tuple(as_int(f"{name}[{i}]", item, 1) for i, item in enumerate(items))


def as_padding(value: object, rank: int) -> str | tuple[tuple[int, int], ...]:
    """Return "same", "same_lower" or one (lo, hi) pair per axis.

    Examples
    --------
    >>> as_padding(1, 2), as_padding((1, 2), 2), as_padding([(0, 1)], 1), as_padding("valid", 1)
    (((1, 1), (1, 1)), ((1, 1), (2, 2)), ((0, 1),), ((0, 0),))
    """
    if isinstance(value, str):
        if as_choice("padding", value, PADDING_NAMES) == "valid":
            return ((0, 0),) * rank
        return value
    items = as_sequence(value)
    if items is None:
        if not hasattr(value, "__index__") or isinstance(value, bool):
            raise TypeError(
                "padding must be an integer, one integer or (lo, hi) pair per spatial axis, "
                f"{_one_of(PADDING_NAMES)}, got {show(value)} of type {type(value).__name__[:60]}"
            )
        both = as_int("padding", value, 0)
        return ((both, both),) * rank
    if len(items) != rank:
        hint = f"; one pair is written {show((items,))}" if rank == 1 and len(items) == 2 else ""
        raise ValueError(
            f"padding must have {rank} items, one integer or (lo, hi) pair per spatial axis, "
            f"got {len(items)}: {show(value)}{hint}"
        )
    return tuple(_pair(i, item) for i, item in enumerate(items))


def _pair(axis: int, item: object) -> tuple[int, int]:
    ends = as_sequence(item)
    if ends is None:
        both = as_int(f"padding[{axis}]", item, 0)
        return both, both
    if len(ends) != 2:
        raise ValueError(
            f"padding[{axis}] must be an integer or a (lo, hi) pair, "
            f"got {len(ends)} items: {show(item)}"
        )
    lo, hi = (as_int(f"padding[{axis}][{end}]", value, 0) for end, value in enumerate(ends))
    return lo, hi


def as_channels_last(layout: object, rank: int) -> bool:
    """Return whether `layout` puts the channels last.

    Examples
    --------
    >>> as_channels_last("NHWC", 1), as_channels_last("NDHWC", 3), as_channels_last("NCW", 1)
    (True, True, False)
    """
    names = _LAYOUTS[rank]
    return names[as_choice("layout", layout, names)]


def as_algorithm(value: object) -> str:
    """Return `value` if it names an algorithm.

    Examples
    --------
    >>> as_algorithm("dft")
    Traceback (most recent call last):
        ...
    ValueError: algorithm must be 'auto', 'direct', 'winograd', 'im2col', 'amx_split', 'fft', \
'separable' or 'reference', got 'dft'
    """
    return as_choice("algorithm", value, ALGORITHMS)


def canonical_options(
    rank: int,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    padding_mode: object,
    flip: object,
    layout: object,
    activation: object,
    precision: object,
    algorithm: object,
) -> tuple[Any, ...]:
    """Check every option, in the order of the signature, and return the arguments of a `Spec`."""
    return (
        rank,
        per_axis("stride", stride, rank),
        as_padding(padding, rank),
        per_axis("dilation", dilation, rank),
        as_int("groups", groups, 1),
        PADDING_MODES[as_choice("padding_mode", padding_mode, PADDING_MODES)],
        as_flag("flip", flip),
        as_channels_last(layout, rank),
        "none" if activation is None else as_choice("activation", activation, ACTIVATIONS),
        as_algorithm(algorithm),
        as_choice("precision", precision, PRECISIONS),
        False,
        1,
    )


@lru_cache(maxsize=512)
def make_spec(*options: Any) -> _core.Spec:
    # Safe to cache untyped: only exact ints, strings and bools in fixed places arrive here.
    return _core.Spec(*options)


def image_spec(
    padding: tuple[tuple[int, int], ...],
    padding_mode: str,
    flip: bool,
    saturate: bool,
    interleave: int,
) -> _core.Spec:
    """Return the options of an image filter: 2-D, stride 1, one group.

    Columns are counted in elements, of which `interleave` make a pixel.
    """
    rows, (before, after) = padding
    return make_spec(
        2,
        (1, 1),
        (rows, (before * interleave, after * interleave)),
        (1, interleave),
        1,
        padding_mode,
        flip,
        False,
        "none",
        "auto",
        "highest",
        saturate,
        interleave,
    )


def signal_spec(
    padding: tuple[tuple[int, int], ...],
    flip: bool,
    *,
    channels_last: bool = False,
    interleave: int = 1,
    algorithm: str = "auto",
) -> _core.Spec:
    """Return the options of a signal correlation: zero padding, stride 1, one group.

    Of the last axis `interleave` signals take turns.
    """
    ones = (1,) * len(padding)
    return make_spec(
        len(padding),
        ones,
        padding,
        (*ones[:-1], interleave),
        1,
        "constant",
        flip,
        channels_last,
        "none",
        algorithm,
        "highest",
        False,
        1,
    )


def spec_finder(rank: int) -> Finder[_core.Spec]:
    """Return what finds the `Spec` of the options of `canonical_options`."""

    def decide(*options: object) -> _core.Spec:
        return make_spec(*canonical_options(rank, *options))

    return Finder(decide, 0, 1, 0, 1, 1, "zeros", False, "NCHW", None, "highest", "auto")
