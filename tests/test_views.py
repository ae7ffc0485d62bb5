"""Any NumPy memory is read and written right: strides, byte order, alignment, overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from reference import conv
from strategies import MEMORY, stored, values

ALGORITHMS = ("auto", "direct", "im2col", "reference")
DTYPES = ("float32", "float64", "int8", "uint16", "int32", "int64", "float16", "complex64")
OPTIONS = {"padding": 1, "groups": 2}


def arrays(dtype="float32", seed=0):
    """An input, a filter bank, a bias, and what they give."""
    rng = np.random.default_rng(seed)
    shapes = ((2, 6, 7, 21), (10, 3, 3, 4), (10,))
    x, w, b = (values(shape, dtype, rng, "exact") for shape in shapes)
    return x, w, b, conv(x, w, b, **OPTIONS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_inputs_stored_in_every_way(dtype, memory, algorithm):
    x, w, b, expected = arrays(dtype)
    for which in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
        xs, ws, bs = (
            stored(a, memory if chosen else "C") for a, chosen in zip((x, w, b), which, strict=True)
        )
        y = fc.conv2d(xs, ws, bs, algorithm=algorithm, **OPTIONS)
        np.testing.assert_array_equal(y, expected, strict=True)
        assert y.dtype.isnative


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory", [m for m in MEMORY if m != "readonly"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_out_stored_in_every_way(dtype, memory, algorithm, layout):
    x, w, b, expected = arrays(dtype)
    if layout == "NHWC":
        x, expected = np.moveaxis(x, 1, -1).copy(), np.moveaxis(expected, 1, -1)
    out = stored(np.full(expected.shape, 77, expected.dtype), memory)
    assert fc.conv2d(x, w, b, algorithm=algorithm, layout=layout, out=out, **OPTIONS) is out
    np.testing.assert_array_equal(out, expected)


# Channels in and out of a group, groups, input, kernel: what Winograd, products of taps, of columns
# and of channels, and pixel lanes take.
LAYERS = (
    (40, 37, 1, (20, 20), (3, 3)),
    (33, 70, 1, (6, 6), (3, 3)),
    (24, 50, 1, (9, 40), (1, 1)),
    (9, 20, 2, (12, 30), (2, 5)),
    (3, 3, 1, (20, 40), (7, 9)),
    (1, 1, 20, (9, 11), (3, 3)),
    (1, 2, 5, (12, 8), (2, 4)),
    (5, 40, 1, (4, 6, 7), (3, 1, 2)),
    (20, 33, 1, (50,), (4,)),
)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int8", "complex64"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["exact", "normal"])
def test_weights_in_every_order_of_axes(layer, dtype, kind):
    # The same products in the same order: the same bits.
    channels, filters, groups, size, kernel = layer
    rng = np.random.default_rng(3)
    x = values((1, channels * groups, *size), dtype, rng, kind)
    w = values((filters * groups, channels, *kernel), dtype, rng, kind)
    call = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}[len(size)]
    backwards = tuple(range(2, w.ndim))
    expected = call(x, w, None, 1, 1, 1, groups)
    flipped = call(x, np.flip(w, backwards).copy(), None, 1, 1, 1, groups)
    orders = {
        "in, out, kernel": np.swapaxes(np.swapaxes(w, 0, 1).copy(), 0, 1),
        "kernel, in, out": w.T.copy().T,
        "out, kernel, in": np.moveaxis(np.moveaxis(w, 1, -1).copy(), -1, 1),
        "backwards": np.flip(np.flip(w, backwards).copy(), backwards),
        "last axis backwards": w[..., ::-1].copy()[..., ::-1],
        "first axis of the kernel backwards": w[:, :, ::-1].copy()[:, :, ::-1],
        "kernel transposed": np.swapaxes(np.swapaxes(w, 2, -1).copy(), 2, -1),
        "every other": np.repeat(w, 2, -1)[..., ::2],
        "channels backwards": w[::-1, ::-1].copy()[::-1, ::-1],
    }
    for name, view in orders.items():
        np.testing.assert_array_equal(call(x, view, None, 1, 1, 1, groups), expected, name)
        y = call(x, view, None, 1, 1, 1, groups, flip=True)
        np.testing.assert_array_equal(y, flipped, name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int8", "uint16"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "wrap"])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(9, 7), (20, 45), (40, 33)])
def test_planes_stored_in_every_way(dtype, mode, kernel, stride, size):
    rng = np.random.default_rng(5)
    x = values((2, 5, *size), dtype, rng, "exact")
    w = values((5, 1, *kernel), dtype, rng, "exact")
    options = {"stride": stride, "padding": 2, "groups": 5, "padding_mode": mode}
    expected = conv(x, w, **options)
    spread = np.zeros((2, 5, size[0] * 2, size[1] * 3), x.dtype)
    spread[:, :, ::2, ::3] = x
    views = {
        "transposed": np.swapaxes(np.swapaxes(x, 2, 3).copy(), 2, 3),
        "backwards": x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
        "transposed, backwards": np.swapaxes(np.swapaxes(x, 2, 3)[:, :, ::-1].copy(), 2, 3)[
            ..., ::-1
        ],
        "every second and third": spread[:, :, ::2, ::3],
        "every second": np.repeat(x, 2, 3)[..., ::2],
        "channels last": np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
    }
    for name, view in views.items():
        np.testing.assert_array_equal(fc.conv2d(view, w, **options), expected, name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("channels", [16, 20, 70])
@pytest.mark.parametrize("size", [(600,), (9, 40), (7, 5, 6)])
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_channels_first_whose_memory_has_them_last(dtype, channels, size, mode):
    rng = np.random.default_rng(7)
    x = values((2, channels, *size), dtype, rng, "exact")
    w = values((channels, 1, *(3,) * len(size)), dtype, rng, "exact")
    bias = values((channels,), dtype, rng, "exact")
    options = {"padding": 1, "groups": channels, "padding_mode": mode}
    call = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}[len(size)]
    view = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    for stride in (1, 2):
        expected = conv(x, w, bias, stride=stride, **options)
        np.testing.assert_array_equal(call(view, w, bias, stride, **options), expected)
        out = np.full((*expected.shape[:-1], expected.shape[-1] + 3), 77, x.dtype)
        call(view, w, bias, stride, out=out[..., :-3], **options)
        np.testing.assert_array_equal(out[..., :-3], expected)
        assert np.all(out[..., -3:] == 77)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_out_writes_nothing_between_its_elements(layout):
    x, w, b, expected = arrays()
    if layout == "NHWC":
        x, expected = np.moveaxis(x, 1, -1).copy(), np.moveaxis(expected, 1, -1)
    roomy = np.full([2 * n + 1 for n in expected.shape], 77, np.float32)
    between = np.ones(roomy.shape, bool)
    every_second = tuple(slice(1, None, 2) for _ in expected.shape)
    between[every_second] = False
    fc.conv2d(x, w, b, layout=layout, out=roomy[every_second], **OPTIONS)
    np.testing.assert_array_equal(roomy[every_second], expected)
    assert (roomy[between] == 77).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("axis", [0, 1, 2, 3, (0, 1, 2, 3)])
def test_zero_strides(algorithm, axis):
    """A broadcast array repeats one element along an axis."""
    x, w, b, _ = arrays()
    first = np.take(x, [0], axis) if isinstance(axis, int) else x[:1, :1, :1, :1]
    spread = np.broadcast_to(first, x.shape)
    y = fc.conv2d(spread, w, b, algorithm=algorithm, **OPTIONS)
    np.testing.assert_array_equal(y, conv(spread.copy(), w, b, **OPTIONS))
    first = np.take(w, [0], axis) if isinstance(axis, int) else w[:1, :1, :1, :1]
    spread = np.broadcast_to(first, w.shape)
    y = fc.conv2d(x, spread, b, algorithm=algorithm, **OPTIONS)
    np.testing.assert_array_equal(y, conv(x, spread.copy(), b, **OPTIONS))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">i4", "<c8", "<i2"])
def test_fields_of_packed_records(algorithm, kind):
    """The stride, 9 bytes for a float64, is no multiple of the element's size."""
    dtype = np.dtype(kind).newbyteorder("=").name
    x, w, b, expected = arrays(dtype)
    packed = np.dtype([("flag", "i1"), ("value", kind)])
    records = [np.zeros(a.shape, packed) for a in (x, w, b, expected)]
    for record, a in zip(records, (x, w, b, expected), strict=True):
        record["value"] = a if a is not expected else 77
        assert record["value"].strides[-1] == packed.itemsize
    xs, ws, bs, out = (record["value"] for record in records)
    fc.conv2d(xs, ws, bs, out=out, algorithm=algorithm, **OPTIONS)
    np.testing.assert_array_equal(out, expected)
    assert not records[3]["flag"].any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "complex128"])
def test_every_offset_from_alignment(dtype):
    x, w, b, expected = arrays(dtype)
    for offset in range(1, 17):
        moved = [np.zeros(a.nbytes + offset, np.uint8)[offset:] for a in (x, w, b, expected)]
        xs, ws, bs, out = (
            m.view(a.dtype).reshape(a.shape)
            for m, a in zip(moved, (x, w, b, expected), strict=True)
        )
        xs[...], ws[...], bs[...], out[...] = x, w, b, 77
        fc.conv2d(xs, ws, bs, out=out, **OPTIONS)
        np.testing.assert_array_equal(out, expected)


@settings(max_examples=150)
@given(st.data())
def test_any_slices_and_any_order_of_axes(data):
    """Random views: each axis cut, thinned, perhaps reversed, the axes in any order in memory."""

    def view(a, label):
        order = data.draw(st.permutations(range(a.ndim)), label)
        steps = [data.draw(st.sampled_from((1, 2, 3, -1, -2)), label) for _ in order]
        shape = [a.shape[axis] * abs(steps[axis]) + 3 for axis in order]
        memory = np.full(shape, 55, a.dtype).transpose(np.argsort(order))
        cut = []
        for size, step in zip(a.shape, steps, strict=True):
            stop = 1 + size * abs(step)
            cut.append(slice(1, stop, step) if step > 0 else slice(stop, 1, step))
        result = memory[tuple(cut)]
        assert result.shape == a.shape
        result[...] = a
        return result

    dtype = data.draw(st.sampled_from(DTYPES))
    x, w, b, expected = arrays(dtype, seed=data.draw(st.integers(0, 99)))
    out = view(np.full(expected.shape, 77, expected.dtype), "out")
    algorithm = data.draw(st.sampled_from(ALGORITHMS))
    fc.conv2d(view(x, "x"), view(w, "w"), view(b, "b"), out=out, algorithm=algorithm, **OPTIONS)
    np.testing.assert_array_equal(out, expected)


def test_inputs_are_left_as_they_were():
    x, w, b, _ = arrays()
    copies = x.copy(), w.copy(), b.copy()
    for algorithm in ALGORITHMS:
        fc.conv2d(x, w, b, algorithm=algorithm, activation="relu", **OPTIONS)
    for a, copy in zip((x, w, b), copies, strict=True):
        np.testing.assert_array_equal(a, copy)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_out_is_x(algorithm):
    x, _, _, _ = arrays()
    w = values((6, 6, 3, 3), "float32", np.random.default_rng(1), "exact")
    expected = conv(x, w, padding=1)
    assert fc.conv2d(x, w, padding=1, out=x, algorithm=algorithm) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_out_is_w_or_bias(algorithm):
    rng = np.random.default_rng(2)
    square = values((3, 3, 3, 3), "float32", rng, "exact")
    expected = conv(square, square, padding=1)
    fc.conv2d(square, square, padding=1, out=square, algorithm=algorithm)
    np.testing.assert_array_equal(square, expected)
    x, w, b = (values(s, "float32", rng, "exact") for s in ((2, 5), (4, 2, 5), (4,)))
    expected = conv(x, w, b)
    fc.conv1d(x, w, b, out=b[:, None], algorithm=algorithm)
    np.testing.assert_array_equal(b[:, None], expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("threads", [1, 2])
def test_out_overlaps_x(algorithm, threads):
    w = values((2, 2, 3, 3), "float32", np.random.default_rng(3), "exact")
    with fc.num_threads(threads):
        for shift in (-41, -40, -3, -1, 1, 2, 39, 40, 80, 801):
            memory = values((2 * 20 * 40 + 1700,), "float32", np.random.default_rng(4), "exact")
            x = memory[850 : 850 + 1600].reshape(2, 20, 40)
            out = memory[850 + shift : 850 + shift + 1600].reshape(2, 20, 40)
            expected = conv(x, w, padding=1)
            untouched = np.r_[memory[: 850 + shift], memory[850 + shift + 1600 :]].copy()
            fc.conv2d(x, w, padding=1, out=out, algorithm=algorithm)
            np.testing.assert_array_equal(out, expected)
            after = np.r_[memory[: 850 + shift], memory[850 + shift + 1600 :]]
            np.testing.assert_array_equal(untouched, after)


def test_out_is_x_reversed():
    x = values((1, 2, 9, 11), "float32", np.random.default_rng(5), "exact")
    w = values((2, 2, 3, 3), "float32", np.random.default_rng(6), "exact")
    expected = conv(x, w, padding=1)
    fc.conv2d(x, w, padding=1, out=x[..., ::-1, ::-1])
    np.testing.assert_array_equal(x[..., ::-1, ::-1], expected)


def test_out_interleaved_with_x_shares_no_element():
    memory = values((2, 2, 9, 22), "float32", np.random.default_rng(7), "exact")
    x, out = memory[..., ::2], memory[..., 1::2]
    w = values((2, 2, 3, 3), "float32", np.random.default_rng(8), "exact")
    before, expected = x.copy(), conv(x, w, padding=1)
    fc.conv2d(x, w, padding=1, out=out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(x, before)


def test_self_overlapping_out_is_refused():
    x, w = np.ones((1, 2, 8), np.float32), np.ones((3, 2, 3), np.float32)
    base = np.zeros(64, np.float32)
    strided = np.lib.stride_tricks.as_strided
    for strides in ((72, 0, 4), (72, 24, 0), (72, 4, 4), (72, 8, 4), (72, -4, 4)):
        out = strided(base[20:], (1, 3, 6), strides, writeable=True)
        with pytest.raises(ValueError, match="out"):
            fc.conv1d(x, w, out=out)
    assert not base.any()
    out = strided(base, (1, 3, 6), (0, 24, 4), writeable=True)  # one image: its stride is not used
    np.testing.assert_array_equal(fc.conv1d(x, w, out=out), np.full((1, 3, 6), 6))


def test_out_with_interleaved_axes_is_refused_or_right():
    """Strides of 12 and 8 bytes do not nest, yet no two elements share memory.

    To see that takes a search; slices and transposes never look so, and a refusal is allowed.
    """
    x, w = np.ones((2, 5), np.float32), np.ones((2, 2, 3), np.float32)
    base = np.zeros(16, np.float32)
    out = np.lib.stride_tricks.as_strided(base, (2, 3), (12, 8), writeable=True)
    try:
        fc.conv1d(x, w, out=out)
    except ValueError:
        assert not base.any()
    else:
        assert (out == 6).all()
        assert np.count_nonzero(base) == 6


def test_subclasses_and_array_likes():
    class Sub(np.ndarray):
        pass

    x, w, b, expected = arrays()
    y = fc.conv2d(x.view(Sub), w, b, **OPTIONS)
    np.testing.assert_array_equal(y, expected)

    class Like:
        def __array__(self, dtype=None, copy=None):
            return x

    np.testing.assert_array_equal(fc.conv2d(Like(), w, b, **OPTIONS), expected)
    np.testing.assert_array_equal(fc.conv2d(memoryview(x), w, b, **OPTIONS), expected)


def test_one_channel_is_last_whatever_its_stride():
    """NumPy keeps the stride of planes where their only channel is moved to the end."""
    rng = np.random.default_rng(1)
    planes = rng.standard_normal((3, 1, 62, 62), dtype=np.float32)
    w = rng.standard_normal((8, 1, 1, 1), dtype=np.float32)
    view = np.moveaxis(planes, 1, -1)
    dense = np.empty(view.shape, view.dtype)
    dense[...] = view
    assert view.strides != dense.strides
    for options in ({}, {"stride": 2}, {"padding": 1}):
        told = [fc.explain(x, w, layout="NHWC", **options) for x in (view, dense)]
        assert str(told[0]) == str(told[1])
        y = [fc.conv2d(x, w, layout="NHWC", **options) for x in (view, dense)]
        np.testing.assert_array_equal(*y)
