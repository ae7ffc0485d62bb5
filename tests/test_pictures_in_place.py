"""Channels-last layers of few channels, with a stride or no border, read where they lie but for the
border (algorithms/offsets.cpp, reads_pixels_in_place)."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from channels_last import RUN, small_integers
from reference import conv

# x with channels last, w, options: of at least 1024 outputs.
CALLS = {
    "stem": ((1, 67, 65, 3), (16, 3, 3, 3), {"stride": 2, "padding": 1}),
    "half a vector": ((2, 70, 69, 3), (8, 3, 3, 3), {"stride": 2, "padding": 1}),
    "not whole vectors": ((1, 66, 68, 3), (21, 3, 3, 3), {"stride": 2, "padding": 1}),
    "several panels": ((1, 70, 65, 4), (80, 4, 4, 5), {"stride": 2, "padding": ((0, 3), (4, 1))}),
    "dilated": ((1, 71, 75, 2), (32, 2, 3, 3), {"stride": (1, 2), "padding": 4, "dilation": 4}),
    "wide": ((1, 4, 1200, 5), (16, 5, 2, 7), {"stride": (1, 3), "padding": (0, 9)}),
    "one channel": ((1, 70, 65, 1), (32, 1, 5, 4), {"stride": (1, 2), "padding": "same"}),
    "no border": ((1, 36, 37, 6), (16, 6, 3, 3), {}),
    "one row": ((2, 2100, 3), (24, 3, 9), {"stride": 2, "padding": 4}),
    "volume": ((1, 12, 21, 24, 3), (16, 3, 3, 3, 3), {"stride": (1, 2, 2), "padding": 1}),
}


def run(x, w, plan=False, **options):
    rank = x.ndim - 2
    options = {"layout": "channels_last", "algorithm": "direct", **options}
    if plan:
        return getattr(fc, f"Conv{rank}d")(w, **options)(x)
    return RUN[rank](x, w, **options)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "float16"])
def test_exact(isa, call, dtype):
    x_shape, w_shape, options = CALLS[call]
    x, w = small_integers(x_shape, dtype), small_integers(w_shape, dtype, seed=1)
    b = small_integers(w_shape[:1], dtype, seed=2)
    wide = [a.astype("float64") for a in (x, w, b)]
    expected = np.maximum(conv(*wide, layout="channels_last", **options), 0)
    for plan in (False, True):
        y = run(x, w, plan, bias=b, activation="relu", **options)
        np.testing.assert_array_equal(y.astype("float64"), expected)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("call", ["stem", "several panels", "wide", "volume"])
def test_borders(isa, call, mode):
    x_shape, w_shape, options = CALLS[call]
    x, w = small_integers(x_shape), small_integers(w_shape, seed=1)
    options = {**options, "padding_mode": mode}
    expected = conv(x, w, layout="channels_last", **options)
    np.testing.assert_array_equal(run(x, w, **options), expected)


@pytest.mark.parametrize("call", CALLS)
def test_where_arrays_lie(isa, call):
    """Rows backwards or apart, and an output with gaps."""
    x_shape, w_shape, options = CALLS[call]
    x, w = small_integers(x_shape), small_integers(w_shape, seed=1)
    expected = conv(x, w, layout="channels_last", **options)
    backwards = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(run(backwards, w, **options), expected)
    apart = np.zeros((*x_shape[:-2], x_shape[-2] + 3, x_shape[-1]), np.float32)[..., :-3, :]
    apart[...] = x
    np.testing.assert_array_equal(run(apart, w, **options), expected)
    shape = (*expected.shape[:-2], expected.shape[-2] + 2, expected.shape[-1])
    out = np.full(shape, 7, np.float32)
    run(x, w, out=out[..., :-2, :], **options)
    np.testing.assert_array_equal(out[..., :-2, :], expected)
    assert (out[..., -2:, :] == 7).all()


@pytest.mark.parametrize("call", CALLS)
def test_neither_threads_nor_batch_decide(call):
    x_shape, w_shape, options = CALLS[call]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *x_shape[1:]), dtype=np.float32)
    w = rng.standard_normal(w_shape, dtype=np.float32)
    with fc.num_threads(1):
        one = np.concatenate([run(x[i : i + 1], w, **options) for i in range(len(x))])
    for threads in (1, 2, 3):
        with fc.num_threads(threads):
            np.testing.assert_array_equal(run(x, w, **options), one)


@pytest.mark.parametrize("call", CALLS)
def test_one_element_contaminates_its_windows_only(isa, call):
    x_shape, w_shape, options = CALLS[call]
    x, w = small_integers(x_shape), small_integers(w_shape, seed=1)
    x[(0, *(n // 2 for n in x_shape[1:]))] = np.nan
    expected = conv(x, w, layout="channels_last", **options)
    np.testing.assert_array_equal(run(x, w, **options), expected)
