"""Every refusal: its type, and a message that names the argument, its value and the need."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc

X = np.zeros((1, 4, 8, 8), np.float32)
W = np.zeros((6, 4, 3, 3), np.float32)


def read_only(shape):
    """An array that must not be written to."""
    a = np.zeros(shape, np.float32)
    a.flags.writeable = False
    return a


# What is asked, the exception, and words that the message must hold.
REFUSED = [
    # shapes
    ({"x": np.zeros((8, 8), np.float32)}, ValueError, ["x", "2", "(8, 8)"]),
    ({"x": np.zeros((1, 1, 4, 8, 8), np.float32)}, ValueError, ["x", "5"]),
    ({"x": np.float32(3)}, ValueError, ["x"]),
    ({"w": np.zeros((6, 4, 3), np.float32)}, ValueError, ["w", "3"]),
    ({"w": np.zeros((6, 5, 3, 3), np.float32)}, ValueError, ["w", "5", "4"]),
    ({"w": np.zeros((0, 4, 3, 3), np.float32)}, ValueError, ["w", "0"]),
    ({"w": np.zeros((6, 4, 0, 3), np.float32)}, ValueError, ["w", "0"]),
    ({"x": np.zeros((1, 0, 8, 8), np.float32)}, ValueError, ["0"]),
    ({"x": np.zeros((1, 4, 0, 8), np.float32)}, ValueError, ["0"]),
    ({"x": np.zeros((1, 4, 2, 8), np.float32)}, ValueError, ["2", "3"]),
    ({"w": np.zeros((6, 4, 9, 3), np.float32)}, ValueError, ["8", "9"]),
    ({"dilation": 4}, ValueError, ["9", "8"]),
    (
        {"x": np.zeros((1, 4, 0, 8), np.float32), "padding": 2, "padding_mode": "edge"},
        ValueError,
        ["0"],
    ),
    # groups
    ({"groups": 2}, ValueError, ["w", "4", "2"]),
    ({"groups": 3}, ValueError, ["groups", "3", "4"]),
    ({"groups": 0}, ValueError, ["groups", "0"]),
    ({"groups": -1}, ValueError, ["groups", "-1"]),
    ({"groups": 1.0}, TypeError, ["groups", "1.0"]),
    ({"groups": "1"}, TypeError, ["groups"]),
    ({"groups": True}, TypeError, ["groups", "True"]),
    ({"w": np.zeros((5, 2, 3, 3), np.float32), "groups": 2}, ValueError, ["5", "2"]),
    # stride and dilation
    ({"stride": 0}, ValueError, ["stride", "0"]),
    ({"stride": (1, 0)}, ValueError, ["stride", "0"]),
    ({"stride": -2}, ValueError, ["stride", "-2"]),
    ({"stride": (1, 2, 3)}, ValueError, ["stride", "3", "2"]),
    ({"stride": ()}, ValueError, ["stride"]),
    ({"stride": 1.5}, TypeError, ["stride", "1.5"]),
    ({"stride": 2.0}, TypeError, ["stride", "2.0"]),
    ({"stride": (1, 2.0)}, TypeError, ["stride", "2.0"]),
    ({"stride": True}, TypeError, ["stride", "True"]),
    ({"stride": None}, TypeError, ["stride", "None"]),
    ({"stride": "2"}, TypeError, ["stride", "2"]),
    ({"stride": 2**63}, ValueError, ["stride", str(2**63)]),
    ({"dilation": 0}, ValueError, ["dilation", "0"]),
    ({"dilation": (1, -1)}, ValueError, ["dilation", "-1"]),
    ({"dilation": (1,)}, ValueError, ["dilation"]),
    ({"dilation": 1.0}, TypeError, ["dilation", "1.0"]),
    ({"dilation": 2**62}, ValueError, [str(2**62)]),
    # padding
    ({"padding": -1}, ValueError, ["padding", "-1"]),
    ({"padding": (1, -1)}, ValueError, ["padding", "-1"]),
    ({"padding": ((1, 1), (1, -1))}, ValueError, ["padding", "-1"]),
    ({"padding": (1, 1, 1)}, ValueError, ["padding", "3"]),
    ({"padding": ((1, 1),)}, ValueError, ["padding"]),
    ({"padding": ((1, 1, 1), (1, 1, 1))}, ValueError, ["padding"]),
    ({"padding": 1.0}, TypeError, ["padding", "1.0"]),
    ({"padding": "full"}, ValueError, ["padding", "full", "same"]),
    ({"padding": "SAME"}, ValueError, ["padding", "SAME", "same"]),
    ({"padding": None}, TypeError, ["padding", "None"]),
    ({"padding": 2**62}, ValueError, ["padding"]),
    ({"padding": 2**64}, ValueError, ["padding"]),
    ({"padding_mode": "mirror"}, ValueError, ["padding_mode", "mirror", "reflect"]),
    ({"padding_mode": None}, TypeError, ["padding_mode", "None"]),
    ({"padding_mode": 0}, TypeError, ["padding_mode", "0"]),
    ({"fill_value": "a", "padding": 1}, TypeError, ["fill_value"]),
    ({"fill_value": [1, 2], "padding": 1}, TypeError, ["fill_value", "(2,)"]),
    # the rest
    ({"layout": "CNHW"}, ValueError, ["layout", "CNHW", "NCHW"]),
    ({"layout": None}, TypeError, ["layout", "None"]),
    ({"activation": "gelu"}, ValueError, ["activation", "gelu", "relu"]),
    ({"activation": max}, TypeError, ["activation"]),
    ({"algorithm": "fastest"}, ValueError, ["algorithm", "fastest", "direct"]),
    ({"algorithm": None}, TypeError, ["algorithm", "None"]),
    ({"precision": "low"}, ValueError, ["precision", "low", "highest"]),
    ({"flip": 1}, TypeError, ["flip", "1"]),
    ({"flip": "yes"}, TypeError, ["flip", "yes"]),
    # bias
    ({"bias": np.zeros(5, np.float32)}, ValueError, ["bias", "5", "6"]),
    ({"bias": np.zeros((6, 1), np.float32)}, ValueError, ["bias", "(6, 1)"]),
    ({"bias": np.zeros(0, np.float32)}, ValueError, ["bias", "0", "6"]),
    ({"bias": 1.0}, ValueError, ["bias"]),
    # out
    ({"out": np.zeros((1, 6, 6, 5), np.float32)}, ValueError, ["out", "(1, 6, 6, 5)"]),
    ({"out": np.zeros((6, 6, 6), np.float32)}, ValueError, ["out", "(6, 6, 6)"]),
    ({"out": np.zeros((1, 6, 6, 6), np.float64)}, ValueError, ["out", "float64", "float32"]),
    ({"out": read_only((1, 6, 6, 6))}, ValueError, ["out"]),
    ({"out": [0]}, TypeError, ["out"]),
    (
        {"out": np.broadcast_to(np.zeros(1, np.float32), (1, 6, 6, 6))},
        ValueError,
        ["out"],
    ),
    # dtypes
    ({"x": X.astype(bool)}, TypeError, ["x", "bool"]),
    ({"x": X.astype(object)}, TypeError, ["x", "object"]),
    ({"w": W.astype(str)}, TypeError, ["w"]),
    ({"dtype": np.int32}, TypeError, ["dtype", "int32", "float32"]),
    ({"dtype": "nonsense"}, TypeError, ["nonsense"]),
    ({"x": None}, TypeError, ["x"]),
]


def label(refused):
    """A short test id."""
    arguments, error, _ = refused
    text = ",".join(
        f"{k}={v.dtype}{v.shape}" if isinstance(v, np.ndarray) else f"{k}={v!r:.20}"
        for k, v in arguments.items()
    )
    return f"{text}-{error.__name__}".replace(" ", "")


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED, ids=map(label, REFUSED))
def test_refusal(arguments, error, words):
    with pytest.raises(error) as raised:
        fc.conv2d(**{"x": X, "w": W, **arguments})
    message = str(raised.value)
    assert raised.type is error
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    assert len(message) < 1000


@pytest.mark.parametrize(("arguments", "error", "words"), REFUSED, ids=map(label, REFUSED))
def test_refusal_by_the_plan_object(arguments, error, words):
    """The plan refuses options when it is made, and shapes at the latest when called."""
    arguments = {"x": X, "w": W, **arguments}
    x, out = arguments.pop("x"), arguments.pop("out", None)
    with pytest.raises(error):
        fc.Conv2d(**arguments)(x, out=out)


@pytest.mark.parametrize("one", [1.0, True, np.float64(1)])
def test_a_cached_int_does_not_let_an_equal_float_or_bool_through(one):
    """1 == 1.0 == True with one hash: a careless cache of checked options confuses them."""
    fc.conv2d(X, W, stride=1)
    fc.conv2d(X, W, stride=(1, 1))
    with pytest.raises(TypeError, match="stride"):
        fc.conv2d(X, W, stride=one)
    with pytest.raises(TypeError, match="stride"):
        fc.conv2d(X, W, stride=(one, one))


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="strides"):
        fc.conv2d(X, W, strides=2)


@pytest.mark.parametrize("algorithm", ["winograd", "amx_split"])
def test_a_named_algorithm_that_cannot_run_says_why(algorithm):
    with pytest.raises(ValueError, match=algorithm):
        fc.conv2d(X.astype(np.int32), W.astype(np.int32), algorithm=algorithm)


def test_nothing_is_allocated_for_a_refused_call():
    """The padded image would take 2**60 bytes; the refusal must come before any allocation."""
    with pytest.raises((ValueError, MemoryError)):
        fc.conv2d(X, W, padding=2**28)


def test_no_memory_says_for_what():
    """More than any address space holds, and nothing to read."""
    x = np.broadcast_to(np.float32(1), (2**20, 1, 2**12, 2**12))
    with pytest.raises(MemoryError, match=r"result.*4096.*float32.* bytes"):
        fc.conv2d(x, np.ones((2**10, 1, 1, 1), np.float32))


@pytest.mark.parametrize("dtype", ["no such type", 3])
def test_a_type_that_is_none(dtype):
    with pytest.raises(TypeError, match=f"dtype.*{dtype}"):
        fc.conv2d(X, W, dtype=dtype)
