"""Infinities and NaNs: exactly where np.pad and the sliding sum put them, on every path."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest

import fastconv as fc
from reference import conv

ALGORITHMS = ("auto", "direct", "im2col", "reference")
CALLS = {
    "1-D": ((2, 3, 40), (5, 3, 4), {}),
    "2-D": ((1, 7, 9, 21), (18, 7, 3, 3), {}),
    "strided": ((1, 4, 15, 22), (9, 4, 3, 2), {"stride": (2, 3)}),
    "dilated": ((1, 4, 15, 22), (9, 4, 3, 2), {"dilation": (2, 3)}),
    "depthwise": ((1, 20, 9, 21), (20, 1, 3, 3), {"groups": 20}),
    "grouped": ((1, 6, 9, 21), (4, 3, 3, 3), {"groups": 2}),
    "1x1": ((1, 20, 5, 21), (17, 20, 1, 1), {}),
    "image": ((1, 1, 20, 45), (1, 1, 5, 5), {}),
    "3-D": ((1, 3, 5, 6, 11), (5, 3, 2, 3, 2), {}),
}


def same(y, expected):
    """Equal, where NaN equals NaN and infinities keep their sign; finite parts are exact here."""
    np.testing.assert_array_equal(y, expected, strict=True)


def integers(shape, seed=0):
    """Small whole numbers without a zero, as float32."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.integers(1, 6, shape) * rng.choice([-1, 1], shape)).astype(np.float32)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_element_contaminates_its_windows_only(isa, call, algorithm, layout, value):
    x_shape, w_shape, options = CALLS[call]
    function = getattr(fc, f"conv{len(x_shape) - 2}d")
    x, w = integers(x_shape), integers(w_shape)
    rng = np.random.default_rng(0)
    options = {**options, "padding": 1}
    for _ in range(3):
        spoiled = x.copy()
        spoiled[tuple(rng.integers(x_shape))] = value
        expected = conv(spoiled, w, **options)
        assert 0 < np.isfinite(expected).sum() < expected.size
        if layout == "NCHW":
            y = function(spoiled, w, algorithm=algorithm, **options)
        else:
            last = np.moveaxis(spoiled, 1, -1).copy()
            y = function(last, w, algorithm=algorithm, layout=layout, **options)
            y = np.moveaxis(y, -1, 1)
        same(y, expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_weight_reaches_the_padding_too(isa, call, algorithm, value):
    """0 * inf at a padded border is NaN: no path may skip the zeros there."""
    x_shape, w_shape, options = CALLS[call]
    function = getattr(fc, f"conv{len(x_shape) - 2}d")
    x, w = integers(x_shape), integers(w_shape)
    w[(0, 0, *(-1,) * (len(w_shape) - 2))] = value
    for padding in (0, 1, 4):
        y = function(x, w, algorithm=algorithm, padding=padding, **options)
        expected = conv(x, w, padding=padding, **options)
        same(y, expected)
        if padding and value == np.inf:
            assert np.isnan(expected[:, 0]).any()
            assert np.isinf(expected[:, 0]).any()
        assert np.isfinite(y[:, 1:]).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge", "wrap"])
def test_padding_modes_repeat_what_is_not_finite(algorithm, mode):
    x, w = integers((1, 3, 6, 7)), integers((4, 3, 3, 3))
    x[0, 1, 0, 0], x[0, 2, 5, 6] = np.inf, np.nan
    options = {"padding": 3, "padding_mode": mode}
    same(fc.conv2d(x, w, algorithm=algorithm, **options), conv(x, w, **options))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf])
def test_fill_value_that_is_not_finite(algorithm, fill):
    x, w = integers((1, 3, 6, 7)), integers((4, 3, 3, 3))
    options = {"padding": 2, "fill_value": fill}
    same(fc.conv2d(x, w, algorithm=algorithm, **options), conv(x, w, **options))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
def test_infinities_that_cancel(algorithm, dtype):
    x = np.array([[[np.inf, 1, -np.inf, 2, 3, 4]]], dtype)
    w = np.ones((1, 1, 3), dtype)
    y = fc.conv1d(x, w, algorithm=algorithm)
    if dtype is np.complex64:
        assert np.isfinite(y).tolist() == [[[False, False, False, True]]]
    else:
        same(y, conv(x, w))
        assert np.isnan(y[0, 0, 0])
        assert y[0, 0, 1] == -np.inf


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bias_that_is_not_finite(algorithm):
    x, w = integers((1, 3, 6, 7)), integers((4, 3, 3, 3))
    b = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    same(fc.conv2d(x, w, b, algorithm=algorithm), conv(x, w, b))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", [np.nan, np.inf, 0, 0]),
        ("relu6", [np.nan, 6, 0, 0]),
        ("leaky_relu", [np.nan, np.inf, -np.inf, 0]),
        ("sigmoid", [np.nan, 1, 0, 0.5]),
        ("tanh", [np.nan, 1, -1, 0]),
        ("silu", [np.nan, np.inf, None, 0]),  # -inf * 0, or its limit 0
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("width", [1, 4, 16, 19])
def test_activations_of_what_is_not_finite(isa, activation, expected, dtype, width):
    """Along all lanes of a vector and in its tail."""
    values = np.array([np.nan, np.inf, -np.inf, 0], dtype)
    x = np.repeat(values, width)[None, None]
    y = fc.conv1d(x, np.ones((1, 1, 1), dtype), activation=activation)[0, 0]
    for value, part in zip(expected, y.reshape(4, width), strict=True):
        if value is None:
            assert (np.isnan(part) | (part == 0)).all()
        else:
            np.testing.assert_array_equal(part, np.full(width, value, dtype))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_overflow_becomes_infinity(algorithm):
    for dtype in (np.float16, np.float32, np.float64):
        big = np.finfo(dtype).max
        x, w = np.full((1, 1, 20), big, dtype), np.ones((1, 1, 3), dtype)
        assert (fc.conv1d(x, w, algorithm=algorithm) == np.inf).all()
        assert (fc.conv1d(-x, w, algorithm=algorithm) == -np.inf).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_subnormal_numbers_are_kept(isa, dtype, algorithm):
    tiny = np.finfo(dtype).smallest_subnormal
    x = (np.arange(1, 41) * tiny).astype(dtype).reshape(1, 2, 20)
    w = np.ones((3, 2, 3), dtype)
    y = fc.conv1d(x, w, algorithm=algorithm)
    expected = conv(np.arange(1.0, 41).reshape(1, 2, 20), np.ones((3, 2, 3)))
    np.testing.assert_array_equal(y / tiny, expected)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="names glibc's floating-point status"
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_exception_flag_is_raised_by_good_numbers(isa, algorithm):
    """Dead lanes of a vector must not raise "invalid" or "divide by zero" for the caller."""
    libm = ctypes.CDLL("libm.so.6")
    libm.feclearexcept(0x3F)
    for width in range(1, 36):
        for dtype in (np.float32, np.float64, np.float16, np.int16):
            x, w = np.ones((1, 2, width), dtype), np.ones((3, 2, 1), dtype)
            activation = None if dtype is np.int16 else "sigmoid"
            y = fc.conv1d(x, w, activation=activation, algorithm=algorithm)
            raised = libm.fetestexcept(0x01 | 0x04 | 0x08)  # invalid, divide by zero, overflow
            assert raised == 0, f"flags {raised:#x} at width {width}, {dtype.__name__}"
            assert y.shape == (1, 3, width)
