"""Pointwise layers, channels first, of which some operand is larger than the near caches."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from channels_last import small_integers


def expected(x, w, bias=None):
    """Of integers so small that any order of the sum is exact."""
    y = np.tensordot(w[:, :, 0, 0], x, ([1], [1])).swapaxes(0, 1)
    return y if bias is None else y + bias[:, None, None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [16, 19, 33, 64, 71])
def test_one_filter_of_inputs_beyond_the_caches(isa, dtype, channels):
    """Eight planes are read side by side, the rest by tiles, and any number of vectors."""
    for filters, size in ((1, (211, 219)), (1, (1, 40001)), (2, (150, 211))):
        x = small_integers((1, channels, *size), dtype, 1)
        w = small_integers((filters, channels, 1, 1), dtype, 2)
        bias = small_integers(filters, dtype, 3)
        want = expected(x, w, bias)
        np.testing.assert_array_equal(fc.conv2d(x, w), expected(x, w))
        np.testing.assert_array_equal(fc.Conv2d(w, bias)(x), want)
        relu = fc.conv2d(x, w, bias, activation="relu")
        np.testing.assert_array_equal(relu, np.maximum(want, 0))
        apart = np.full((1, filters, size[0], size[1] + 3), 77, dtype)
        fc.conv2d(x, w, bias, out=apart[..., :-3])
        np.testing.assert_array_equal(apart[..., :-3], want)
        assert (apart[..., -3:] == 77).all()
        turned = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        np.testing.assert_array_equal(fc.conv2d(turned, w, bias), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(7, 7), (5, 5), (4, 6), (9, 10), (14, 15)])
def test_weights_beyond_the_caches(isa, dtype, size):
    """They are read a part at a time, which several panels of pixels share."""
    for filters, channels in ((1009, 300), (203, 1030)):
        w = small_integers((filters, channels, 1, 1), dtype, 2)
        bias = small_integers(filters, dtype, 3)
        for stride in (1, 2):
            x = small_integers((2, channels, *(stride * n for n in size)), dtype, 1)
            want = np.maximum(expected(x[..., ::stride, ::stride], w, bias), 0)
            options = {"activation": "relu", "stride": stride}
            np.testing.assert_array_equal(fc.conv2d(x, w, bias, **options), want)
            np.testing.assert_array_equal(fc.Conv2d(w, bias, **options)(x), want)
            last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
            got = fc.conv2d(last, w, bias, layout="NHWC", **options)
            np.testing.assert_array_equal(np.moveaxis(got, -1, 1), want)


@pytest.mark.parametrize("channels", [32, 64, 128])
def test_rows_of_several_panels(isa, channels):
    """As many as L2 holds are gathered at once, and as many as L1 holds multiplied in turn."""
    for filters, size in ((24, (64, 64)), (37, (1, 999)), (32, (61, 67))):
        x = small_integers((2, channels, *size), "float32", 1)
        w = small_integers((filters, channels, 1, 1), "float32", 2)
        np.testing.assert_array_equal(fc.conv2d(x, w), expected(x, w))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("filters", [61, 70])
def test_wide_pixels_of_outputs_beyond_the_caches(isa, dtype, filters):
    """Channels last, pixels ending within a vector: what is written lies where it belongs alone."""
    x = small_integers((1, 310, 301, 3), dtype, 1)
    w = small_integers((filters, 3, 1, 2), dtype, 2)
    bias = small_integers(filters, dtype, 3)
    want = x[:, :, :-1] @ w[..., 0, 0].T + x[:, :, 1:] @ w[..., 0, 1].T
    np.testing.assert_array_equal(fc.conv2d(x, w, layout="NHWC"), want)
    want = np.maximum(want + bias, 0)
    room = np.full(want.size + 64, 77, dtype)
    out = room[: want.size].reshape(want.shape)
    fc.Conv2d(w, bias, layout="NHWC", activation="relu")(x, out=out)
    np.testing.assert_array_equal(out, want)
    assert (room[want.size :] == 77).all()
    apart = np.full((*want.shape[:-1], filters + 5), 77, dtype)
    fc.conv2d(x, w, bias, layout="NHWC", activation="relu", out=apart[..., :filters])
    np.testing.assert_array_equal(apart[..., :filters], want)
    assert (apart[..., filters:] == 77).all()
