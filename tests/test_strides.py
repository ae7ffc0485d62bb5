"""Strided layers: patches by phase, dealt out a slice a call, or in whole rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv as fc
from reference import conv

# Input, filters and groups: channels or pixels in the lanes, a single row, slices.
SHAPES = {
    "pixels": ((2, 3, 13, 21), 2, 1),
    "channels": ((1, 5, 11, 20), 33, 1),
    "few pixels": ((1, 20, 4, 5), 24, 1),
    "grouped": ((1, 6, 9, 10), 9, 3),
    "one row": ((2, 4, 40), 3, 1),
    "volume": ((1, 3, 7, 8, 9), 2, 1),
    "volume of channels": ((1, 4, 6, 7, 18), 20, 1),
}


def integers(shape, dtype):
    rng = np.random.default_rng([*shape])
    return (rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16"])
def test_exact(isa, shape, dtype):
    size, filters, groups = SHAPES[shape]
    rank = len(size) - 2
    x = integers(size, dtype)
    for stride, kernel, dilation in itertools.product((2, 3, 4, 5), (2, 3, 4), (1, 2, 3)):
        w = integers((filters, size[1] // groups, *(kernel,) * rank), dtype)
        options = {"stride": stride, "dilation": dilation, "groups": groups}
        for padding in (kernel * dilation - 1, ((kernel * dilation, 0),) * rank):
            expected = conv(
                x.astype("float64"), w.astype("float64"), padding=padding, fill_value=3, **options
            )
            for layer in ({"fill_value": 3}, {"fill_value": 3, "algorithm": "im2col"}):
                y = getattr(fc, f"conv{rank}d")(x, w, padding=padding, **options, **layer)
                np.testing.assert_array_equal(y.astype("float64"), expected)


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_mirrored(isa, mode):
    x, w = integers((1, 3, 8, 9, 10), "float32"), integers((5, 3, 3, 3, 3), "float32")
    for stride in (2, 3, 5):
        options = {"padding": 2, "stride": stride, "padding_mode": mode}
        np.testing.assert_array_equal(fc.conv3d(x, w, **options), conv(x, w, **options))


@pytest.mark.parametrize("size", [15, 17, 26])
def test_more_slices_than_are_found_at_once(isa, size):
    """Rows staged of one channel may reach into the next, which must not be there before."""
    x, w = integers((1, 3, size, size, 16), "float32"), integers((18, 3, 3, 3, 3), "float32")
    for filters in (2, 18):
        y = fc.conv3d(x, w[:filters], stride=3)
        np.testing.assert_array_equal(y, conv(x, w[:filters], stride=3))


# Of single pixels: rows of a few and of many vectors, slices, groups of several channels and
# filters, more filters than planes take one by one.
POINTWISE = {
    "depthwise": ((2, 20, 30, 29), 20, 20),
    "depthwise, few pixels": ((1, 40, 9, 8), 40, 40),
    "wide": ((1, 6, 5, 333), 6, 6),
    "grouped": ((2, 12, 17, 20), 6, 3),
    "multiplied": ((1, 8, 14, 14), 40, 8),
    "volume": ((2, 14, 8, 9, 10), 7, 7),
    "one row": ((2, 32, 300), 32, 32),
}


@pytest.mark.parametrize("shape", POINTWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "float16"])
def test_pointwise(isa, shape, dtype):
    """Pixels that are picked into long rows, if x and y lie so."""
    size, filters, groups = POINTWISE[shape]
    rank = len(size) - 2
    x, bias = integers(size, dtype), integers((filters,), dtype)
    w = integers((filters, size[1] // groups, *(1,) * rank), dtype)
    function = getattr(fc, f"conv{rank}d")
    spread = np.zeros((*size[:-1], 2 * size[-1]), dtype)[..., ::2]
    spread[...] = x
    backwards = np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :]
    for stride in (2, 3, 4, 5, (*(1,) * (rank - 1), 3), (3, *(1,) * (rank - 1))):
        options = {"stride": stride, "groups": groups}
        expected = conv(x.astype("float64"), w.astype("float64"), **options)
        expected += bias.astype("float64").reshape(-1, *(1,) * rank)
        for given in (x, spread, backwards):
            y = function(given, w, bias, **options)
            np.testing.assert_array_equal(y.astype("float64"), expected)
        out = np.zeros((*expected.shape[:-1], 2 * expected.shape[-1]), dtype)[..., ::2]
        function(x, w, bias, out=out, **options)
        np.testing.assert_array_equal(out.astype("float64"), expected)
        if dtype != "float16":
            y = function(x, w, bias, activation="relu", **options)
            np.testing.assert_array_equal(y.astype("float64"), np.maximum(expected, 0))


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_columns_by_vectors(isa, mode):
    """Rows of a part of a vector, of some, and of a last one that overlaps; border columns stay."""
    for width in (1, 5, 17, 24, 47, 48, 49, 52, 63, 96, 100, 145):
        x = integers((1, 4, 7, width), "float32")
        for stride, kernel in itertools.product((3, 4), (2, 3, 5)):
            w = integers((4, 1, kernel, kernel), "float32")
            options = {"stride": stride, "groups": 4, "padding": 3, "padding_mode": mode}
            if mode == "constant":
                options["fill_value"] = 3
            np.testing.assert_array_equal(fc.conv2d(x, w, **options), conv(x, w, **options))
