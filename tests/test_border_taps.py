"""Small padded pictures, where taps that lie in the border are left out (tap_product, plane), and
kernels of which no output sees a part (plan/seen_kernel.hpp)."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from reference import conv

# x, w, options: images of one box and of several, blocks of channels that do not come out even,
# taps that see nothing at all.
CALLS = {
    "7x7": ((2, 40, 7, 7), (40, 40, 3, 3), {"padding": 1}),
    "2x2": ((1, 70, 2, 2), (33, 70, 3, 3), {"padding": 1}),
    "5x5 taps": ((1, 33, 6, 7), (20, 33, 5, 5), {"padding": 2}),
    "uneven": ((1, 80, 5, 4), (50, 80, 3, 4), {"padding": ((2, 0), (0, 3))}),
    "dilated": ((1, 36, 9, 9), (24, 36, 3, 3), {"padding": 6, "dilation": 6}),
    "unseen taps": ((1, 36, 7, 6), (24, 36, 3, 3), {"padding": 9, "dilation": 9}),
    "strided": ((1, 48, 6, 9), (30, 48, 5, 5), {"padding": 2, "stride": 2}),
    "border alone": ((1, 20, 3, 3), (20, 20, 1, 1), {"padding": 3, "stride": 2}),
    "grouped": ((1, 64, 5, 5), (32, 32, 3, 3), {"padding": 1, "groups": 2}),
    "boxes": ((1, 17, 31, 33), (18, 17, 3, 3), {"padding": 20, "dilation": 20}),
    "few channels": ((2, 7, 8, 9), (24, 7, 4, 4), {"padding": 4, "dilation": 3}),
    "few, boxes": ((1, 3, 31, 33), (18, 3, 3, 3), {"padding": 20, "dilation": 20}),
    "few, 3-D": ((1, 9, 4, 5, 6), (13, 9, 3, 3, 3), {"padding": 3, "dilation": 3}),
    "1-D": ((2, 50, 12), (40, 50, 3), {"padding": 8, "dilation": 8}),
    "3-D": ((1, 24, 2, 5, 6), (20, 24, 3, 3, 3), {"padding": 1}),
    "depthwise": ((2, 20, 6, 7), (20, 1, 6, 5), {"padding": 3, "groups": 20}),
    "depthwise, few": ((2, 5, 7, 6), (5, 1, 6, 6), {"padding": 3, "groups": 5}),
    "depthwise, 1-D": ((2, 17, 12), (17, 1, 9), {"padding": 8, "dilation": 2, "groups": 17}),
    "depthwise, 3-D": ((1, 18, 5, 6, 7), (18, 1, 7, 7, 7), {"padding": 3, "groups": 18}),
    "slices": ((2, 2, 9, 9, 40), (2, 1, 9, 7, 7), {"padding": 4, "groups": 2}),
    "wide": ((1, 3, 5, 420), (3, 1, 5, 9), {"padding": (2, 40), "dilation": (1, 10), "groups": 3}),
    "multiplied": ((3, 18, 3, 3), (54, 1, 3, 3), {"padding": 1, "groups": 18}),
    "by eight": ((1, 16, 2, 2), (128, 1, 2, 2), {"padding": 1, "groups": 16}),
    "pairs": ((2, 36, 4, 4), (18, 2, 4, 4), {"padding": 2, "groups": 18}),
    "one pixel": ((2, 12, 1, 1), (9, 12, 7, 7), {"padding": 3}),
    "few seen": ((1, 20, 2, 3), (30, 20, 5, 5), {"padding": 6, "dilation": 3}),
    "one pixel, small weights": ((4, 24, 1, 1), (33, 24, 3, 3), {"padding": 1}),
    "one output": (
        (2, 20, 4, 4),
        (20, 1, 4, 4),
        {"padding": 4, "stride": 3, "dilation": 3, "groups": 20},
    ),
    "tiny patches": ((2, 26, 4, 4, 4), (3, 26, 4, 4, 4), {"padding": 1, "stride": 3}),
    "nothing seen": ((3, 20, 2, 2), (18, 20, 4, 4), {"padding": 4, "stride": 2, "dilation": 3}),
    "no row seen": (
        (2, 12, 2, 9),
        (8, 6, 4, 3),
        {"padding": (4, 1), "stride": (2, 1), "dilation": (3, 1), "groups": 2},
    ),
    "slices left out": ((1, 3, 6, 24, 26), (34, 3, 5, 5, 5), {"padding": 2, "stride": 2}),
    "slices, by pixels": ((1, 3, 5, 14, 32), (33, 3, 3, 5, 5), {"padding": (1, 2, 2)}),
    "slices, grouped": (
        (2, 4, 7, 14, 16),
        (64, 2, 4, 5, 6),
        {"padding": (6, 3, 4), "dilation": (3, 1, 2), "groups": 2},
    ),
    "slices of nothing": ((1, 2, 2, 12, 13), (32, 2, 3, 6, 5), {"padding": (5, 3, 2)}),
    "inputs unseen": ((2, 6, 3, 3, 3), (5, 6, 4, 4, 4), {"padding": 4, "stride": 2, "dilation": 3}),
}
LAYOUTS = ("channels_first", "channels_last")


def integers(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng([seed, *shape])
    return (rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)).astype(dtype)


def run(call, x, w, layout="channels_first", plan=False, **more):
    """The result with channels first."""
    options = {"algorithm": "direct", **CALLS[call][2], **more, "layout": layout}
    rank = x.ndim - 2
    if layout == "channels_last":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    if plan:
        y = getattr(fc, f"Conv{rank}d")(w, **options)(x)
    else:
        y = getattr(fc, f"conv{rank}d")(x, w, **options)
    return np.moveaxis(y, -1, 1) if layout == "channels_last" else y


@pytest.mark.parametrize("call", ["7x7", "dilated", "3-D", "1-D", "few channels", "few, 3-D"])
def test_chosen(call):
    x_shape, w_shape, options = CALLS[call]
    if call == "few channels" and fc.get_isa() == "avx2":
        # There three kernels take the same time (11 us), but for more products (38, 41 and 57).
        x_shape, w_shape = (2, 8, 10, 10), (48, 8, 5, 5)
        options = {"padding": 6, "dilation": 3}
    told = fc.explain(integers(x_shape), integers(w_shape), algorithm="direct", **options)
    assert told.kernel == "tap_product" or told.isa == "scalar"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int16", "float16"])
def test_exact(isa, call, layout, dtype):
    x_shape, w_shape, options = CALLS[call]
    x, w = integers(x_shape, dtype), integers(w_shape, dtype)
    wide = np.int32 if dtype == "int16" else None
    expected = conv(x.astype("float64"), w.astype("float64"), **options)
    for plan in (False, True):
        y = run(call, x, w, layout, plan, dtype=wide)
        np.testing.assert_array_equal(y.astype("float64"), expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(isa, call, layout, value):
    """A zero of the border makes NaN of them, and other output channels see nothing of it."""
    x_shape, w_shape, options = CALLS[call]
    x = integers(x_shape)
    rng = np.random.default_rng(0)
    for _ in range(3):
        w = integers(w_shape)
        w[tuple(rng.integers(w_shape))] = value
        expected = conv(x, w, **options)
        assert not np.isfinite(expected).all()
        for plan in (False, True):
            np.testing.assert_array_equal(run(call, x, w, layout, plan), expected)


@pytest.mark.parametrize("call", CALLS)
def test_flipped_strided_and_filled(isa, call):
    x_shape, w_shape, options = CALLS[call]
    x, w = integers(x_shape), integers(w_shape)
    rank = x.ndim - 2
    turned = np.ascontiguousarray(np.flip(w, tuple(range(2, rank + 2))))
    np.testing.assert_array_equal(run(call, x, turned, flip=True), conv(x, w, **options))
    apart = np.zeros((*x_shape[:-1], 2 * x_shape[-1]), np.float32)[..., ::2]
    apart[...] = x
    np.testing.assert_array_equal(run(call, apart, w[::-1]), conv(x, w[::-1], **options))
    filled = run(call, x, w, fill_value=2)
    np.testing.assert_array_equal(filled, conv(x, w, fill_value=2, **options))


@pytest.mark.parametrize("call", CALLS)
def test_neither_threads_nor_batch_decide(call):
    x_shape, w_shape, _ = CALLS[call]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, *x_shape[1:]), dtype=np.float32)
    w = rng.standard_normal(w_shape, dtype=np.float32)
    b = rng.standard_normal(w_shape[0], dtype=np.float32)
    with fc.num_threads(1):
        one = [run(call, x[i : i + 1], w, bias=b, activation="relu") for i in range(len(x))]
    for threads in (1, 2, 3):
        with fc.num_threads(threads):
            y = run(call, x, w, bias=b, activation="relu")
            np.testing.assert_array_equal(y, np.concatenate(one))
            np.testing.assert_array_equal(run(call, x[:1], w, bias=b, activation="relu"), one[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("value", [1, np.nan, np.inf])
def test_slices_of_tiles(layout, precision, value):
    """Products of tiles leave out kernel slices that see the border alone."""
    x_shape, w_shape, options = CALLS["3-D"]
    x, w = integers(x_shape), integers(w_shape)
    w[3, 2, 0, 1, 1] = w[7, 20, 2, 2, 2] = value
    expected = conv(x, w, **options)
    for plan in (False, True):
        named = {"algorithm": "amx_split", "precision": precision}
        np.testing.assert_array_equal(run("3-D", x, w, layout, plan, **named), expected)


@pytest.mark.parametrize("kernel", ["outer_product", "pixel_lanes"])
def test_slices_of_nothing_in_chunks(kernel):
    """Output slices beyond the picture, their sums made of several chunks of channels."""
    x, w = integers((1, 150, 3, 14, 32)), integers((17, 150, 3, 5, 5))
    options = {"padding": (4, 2, 2), "algorithm": "direct"}
    fc._core.prefer_kernel(kernel)
    try:
        assert fc.explain(x, w, **options).kernel == kernel
        for scale in (50, 1):  # sums of a call before must not show
            y = fc.conv3d(scale * x, w, **options)
    finally:
        fc._core.prefer_kernel("")
    np.testing.assert_array_equal(y, conv(x, w, padding=(4, 2, 2)))


@pytest.mark.parametrize("plan", [False, True])
def test_one_tap_seen_with_gaps_between_rows_of_the_output(plan):
    """The middle tap alone is seen: a pointwise layer, of one long row but for `out`."""
    x, w = integers((2, 20, 5, 6)), integers((30, 20, 3, 3))
    options = {"padding": 8, "dilation": 8}
    out = np.full((2, 30, 5, 9), 7, np.float32)
    if plan:
        fc.Conv2d(w, **options)(x, out=out[..., :6])
    else:
        fc.conv2d(x, w, out=out[..., :6], **options)
    np.testing.assert_array_equal(out[..., :6], np.einsum("nchw,oc->nohw", x, w[:, :, 1, 1]))
    np.testing.assert_array_equal(out[..., 6:], 7)


@pytest.mark.parametrize("algorithm", ["amx_split", "winograd", "im2col", "direct"])
@pytest.mark.parametrize("filters", [4, 17])
@pytest.mark.parametrize("plan", [False, True])
def test_weights_that_no_output_sees_still_meet_the_border(isa, algorithm, filters, plan):
    """What an algorithm leaves to the direct path may not leave out taps that are not finite."""
    x, w = integers((1, 16, 4, 4)), integers((filters, 16, 31, 31))
    w[0, 3, 0, 0] = w[2, 0, 30, 30] = np.nan
    w[3, 0, 0, 30] = np.inf
    options = {"padding": 15, "algorithm": algorithm}
    y = fc.Conv2d(w, **options)(x) if plan else fc.conv2d(x, w, **options)
    np.testing.assert_array_equal(y, conv(x, w, padding=15))
