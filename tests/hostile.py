"""Calls made of rubbish: every one must end in a result or in one of three exceptions.

:func:`attack` draws each argument now and then from a pool of hostile values.  It returns the
counts of what happened, and the calls that ended otherwise or with an endless message.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter

import numpy as np

import fastconv as fc


class EvilIndex:
    """An integer that raises."""

    def __index__(self):
        raise RuntimeError("evil")


class EvilArray:
    """An array that raises."""

    def __array__(self, dtype=None, copy=None):
        raise KeyError("evil")


NUMBERS = (
    *(0, 1, 2, 3, -1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400),
    *(1.0, 2.5, float("nan"), float("inf"), 1j, True, None, "1", b"x", "same", "valid"),
    *((), (1,), (1, 2), (1, 2, 3), [1, 1], [2**40, 1], ((0, 1), (1, 0)), ((1, 1),), ((1,), (2,))),
    *(((0, 2**62), (0, 0)), range(2), {}, object(), EvilIndex(), np.int8(3), np.float32(1)),
    *(np.array(2), np.array([1, 2]), np.array([[1, 2], [3, 4]]), np.array([]), np.array([1.5])),
)
NAMES = (
    *("zeros", "wrap", "reflect", "edge", "symmetric", "NHWC", "NCHW", "NWC", "channels_last"),
    *("relu", "silu", "direct", "im2col", "auto", "reference", "fft", "full", "same", "valid"),
    *("", "x" * 5000, "\0", "caf\udce9", b"auto", 1, None, True, ("auto",), object()),
)
DTYPES = ("f4", "f8", "i1", "u8", "c8", "O", "?", "zzz", "f4,i2", ">f8", "m8", 3, int, object())
STORED = ("f4", "f4", "f4", "f8", "f2", "i1", "u2", "i8", "u8", "c8", "c16", ">f4", ">i2", "?",
          "O", "U3", "S2", "m8[s]", "M8[s]", "g", "V3", "f4,i2")  # fmt: skip
NO_ARRAYS = (None, "abc", 3, 1.5, [], [[]], [[[]]], [1, 2], [[1, 2], [3]], object(), EvilArray())


def hostile_array(dice):
    """Any shape, any dtype, any memory; sometimes no array at all."""
    if dice.random() < 0.12:
        return dice.choice(NO_ARRAYS)
    rank = dice.choice((0, 1, 2, 3, 3, 4, 4, 5, 6, 9))
    shape = [dice.choice((0, 1, 1, 2, 2, 3, 4, 5, 9)) for _ in range(rank)]
    a = np.zeros(shape, dice.choice(STORED))
    kind = dice.choice(("plain",) * 6 + ("reversed", "transposed", "readonly", "repeated"))
    if kind == "reversed":
        a = a[(slice(None, None, -1),) * a.ndim]
    elif kind == "transposed":
        a = a.T
    elif kind == "readonly":
        a.flags.writeable = False
    elif kind == "repeated" and a.size and a.ndim:
        a = np.broadcast_to(a.reshape(-1)[0], (dice.choice((1, 2**18, 2**39)), *shape[1:]))
    return a


def good_arrays(dice, rank):
    """An input and weights that fit each other, and their groups."""
    c = dice.choice((1, 2, 3, 4))
    groups = dice.choice((1, 1, c))
    dtype = dice.choice(("f4", "f4", "f8", "i2", "c8", "f2"))
    x = np.ones((dice.choice((0, 1, 2)), c, *(dice.choice((1, 3, 6)) for _ in range(rank))), dtype)
    kernel = (dice.choice((1, 2, 3)) for _ in range(rank))
    return x, np.ones((2 * groups, c // groups, *kernel), dtype), groups


def hostile_call(dice):
    """A function, its arguments and its options."""
    rank = dice.choice((1, 2, 3))
    options = {}
    if dice.random() < 0.6:
        x, w, options["groups"] = good_arrays(dice, rank)
    else:
        x, w = hostile_array(dice), hostile_array(dice)
    for name in ("stride", "padding", "dilation", "groups"):
        if dice.random() < 0.25:
            options[name] = dice.choice(NUMBERS)
    for name in ("padding_mode", "layout", "activation", "algorithm", "precision", "flip"):
        if dice.random() < 0.12:
            options[name] = dice.choice(NAMES)
    for name, pool in (("fill_value", NUMBERS), ("dtype", DTYPES)):
        if dice.random() < 0.1:
            options[name] = dice.choice(pool)
    for name in ("bias", "out"):
        if dice.random() < 0.15:
            options[name] = hostile_array(dice)
    face = dice.choice(("function", "function", "plan", "explain", "signal", "image"))
    return rank, face, x, w, options


def run(rank, face, x, w, options, dice):
    """Make the call."""
    if face == "function":
        return getattr(fc, f"conv{rank}d")(x, w, **options)
    out = options.pop("out", None)
    if face == "plan":
        return getattr(fc, f"Conv{rank}d")(w, **options)(x, out)
    if face == "explain":
        return fc.explain(x, w, **options)
    if face == "signal":
        return dice.choice((fc.correlate, fc.convolve))(x, w, dice.choice(NAMES))
    shared = ("padding_mode", "fill_value", "flip", "dtype")
    known = {name: options[name] for name in shared if name in options}
    extra = {name: dice.choice(NUMBERS) for name in ("anchor", "delta") if dice.random() < 0.3}
    return fc.image.filter2d(x, w, out=out, **known, **extra)


def attack(seed, calls):
    """Counts of outcomes, and a list of the calls that ended badly."""
    dice, counts, bad = random.Random(seed), Counter(), []
    for _ in range(calls):
        rank, face, x, w, options = hostile_call(dice)
        told = (rank, face, getattr(x, "shape", x), getattr(w, "shape", w), [*options])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's own, of casts that overflow
                run(rank, face, x, w, dict(options), dice)
            counts["result"] += 1
        except (ValueError, TypeError, MemoryError) as error:
            counts[type(error).__name__] += 1
            if len(str(error)) > 1000:
                bad.append((*told, f"message of {len(str(error))} characters"))
        except Exception as error:
            if "evil" not in str(error):  # the argument's own exception comes through
                bad.append((*told, repr(error)))
    return counts, bad
