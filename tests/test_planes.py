"""Depthwise layers: the kernels without staging, channels last, and what falls between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv as fc
from plain_loop import plain_loop
from reference import conv

MODES = ("zeros", "reflect", "symmetric", "edge", "wrap")


def small_integers(shape, dtype, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(-4, 5, size=shape).astype(dtype)


def check(x, w, dims, bias=None, **options):
    """Both layouts, and outputs that lie neither way, give what the plain loop gives."""
    run = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}[dims]
    want = plain_loop(x, w, bias, groups=x.shape[1], **options)
    np.testing.assert_array_equal(run(x, w, bias, groups=x.shape[1], **options), want)
    # Whole vectors may be stored over rows that follow in memory only if they follow in time.
    for axis in range(1, dims + 1):
        backwards = np.flip(np.zeros_like(want), axis)
        run(x, w, bias, groups=x.shape[1], out=backwards, **options)
        np.testing.assert_array_equal(backwards, want)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    got = run(last, w, bias, groups=x.shape[1], layout="NHWC", **options)
    np.testing.assert_array_equal(np.moveaxis(got, -1, 1), want)
    apart = np.zeros((*got.shape[:-1], 2 * got.shape[-1]), got.dtype)[..., ::2]
    run(last, w, bias, groups=x.shape[1], layout="NHWC", out=apart, **options)
    np.testing.assert_array_equal(np.moveaxis(apart, -1, 1), want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("size", [3, 4, 5, 7])
def test_rows_of_every_width(isa, dtype, size):
    for width, stride in itertools.product((*range(size, 20), 31, 33, 50, 67), (1, 2)):
        height = size + width % 5
        x = small_integers((2, 5, height, width), dtype, width)
        w = small_integers((5, 1, size, size), dtype, stride)
        bias = small_integers(5, dtype) if width % 2 else None
        for padding in (0, size // 2, [(1, 2), (2, 0)]):
            check(x, w, 2, bias, stride=stride, padding=padding)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("stride", [3, 4, 5, 7, 16, 17])
def test_long_strides(isa, dtype, stride):
    """Every stride-th column is dealt out to a row of its own, whatever comes before the first."""
    for width, size in itertools.product((stride, 40, 83, 131), (1, 2, 3, 6)):
        x = small_integers((1, 3, 23, width), dtype, width)
        w = small_integers((3, 1, size, size), dtype, size)
        for padding, dilation in itertools.product((0, [(2, 3), (5, 1)]), (1, 2)):
            if (size - 1) * dilation < width + (6 if padding else 0):
                check(x, w, 2, stride=stride, padding=padding, dilation=dilation)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("filters", [1, 3])
def test_several_planes_add_to_one(isa, mode, groups, filters):
    """Input channels and slices of a kernel with depth, in the border or not."""
    for channels, depth, size, stride in ((2, 1, 3, 1), (1, 2, 4, 1), (3, 3, 3, 2), (2, 2, 1, 1)):
        x = small_integers((2, groups * channels, 4, 9, 35), "float32", size)
        w = small_integers((groups * filters, channels, depth, size, size), "float32", depth)
        bias = small_integers(groups * filters, "float32")
        options = {"padding": [(1, 2), (size // 2, 0), (1, 1)], "padding_mode": mode}
        options.update(stride=(1, stride, stride), dilation=(2, 1, 1), groups=groups)
        want = fc.conv3d(x, w, bias, algorithm="reference", **options)
        np.testing.assert_array_equal(fc.conv3d(x, w, bias, **options), want)


@pytest.mark.parametrize("channels", [1, 3, 8, 15, 16, 17, 24, 33, 72, 130])
def test_numbers_of_channels(isa, channels):
    x = small_integers((2, channels, 9, 11), "float32")
    bias = small_integers(channels, "float32")
    for size, stride, dilation in itertools.product((2, 3, 5), (1, 2, 3), (1, 2)):
        w = small_integers((channels, 1, size, size), "float32")
        check(x, w, 2, bias, stride=stride, dilation=dilation, padding=2, activation="relu")


@pytest.mark.parametrize("mode", MODES)
def test_borders(isa, mode):
    x = small_integers((1, 17, 8, 10), "float32")
    for size, stride in itertools.product((3, 5), (1, 2)):
        w = small_integers((17, 1, size, size), "float32")
        options = {"fill_value": 3} if mode == "zeros" else {}
        check(x, w, 2, stride=stride, padding=[(3, 1), (2, 4)], padding_mode=mode, **options)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_depth(isa, stride, threads):
    w = small_integers((18, 1, 3, 3, 3), "float32")
    with fc.num_threads(threads):
        for shape in ((2, 18, 5, 9, 8), (1, 18, 4, 6, 21), (1, 18, 1, 3, 3)):
            x = small_integers(shape, "float32")
            for padding in (1, [(2, 1), (0, 1), (1, 0)]):
                check(x, w, 3, stride=stride, padding=padding)


def test_border_slices_of_a_flat_kernel(isa):
    x = small_integers((2, 18, 2, 6, 54), "float32")
    w = small_integers((18, 1, 1, 3, 3), "float32")
    for fill in (0, 2):
        padding = [(1, 4), (0, 0), (1, 3)]
        check(x, w, 3, small_integers(18, "float32"), padding=padding, fill_value=fill)


def test_one_axis(isa):
    x = small_integers((2, 20, 41), "float32")
    for size in (1, 3, 7, 31):
        check(x, small_integers((20, 1, size), "float32"), 1, padding=size // 2)


def test_several_filters_of_a_channel(isa):
    x = small_integers((2, 6, 13, 18), "float32")
    for filters in (2, 3, 4, 5):
        w = small_integers((6 * filters, 1, 3, 3), "float32")
        want = fc.conv2d(x, w, groups=6, padding=1, algorithm="reference")
        np.testing.assert_array_equal(fc.conv2d(x, w, groups=6, padding=1), want)
        layer = fc.Conv2d(w, groups=6, padding=1)
        np.testing.assert_array_equal(layer(x), want)


def test_weights_as_they_lie(isa):
    """Dense weights are read in place, however far apart two channels are; others are packed."""
    x = small_integers((1, 9, 12, 14), "float32")
    wide = small_integers((18, 2, 3, 3), "float32")
    for w in (wide[::2, :1], wide[8::-1, 1:], wide[:9, :1, ::-1], wide.astype("float64")[:9, :1]):
        for flip in (False, True):
            x_like = x.astype(w.dtype)
            want = fc.conv2d(x_like, w, groups=9, padding=1, flip=flip, algorithm="reference")
            got = fc.conv2d(x_like, w, groups=9, padding=1, flip=flip)
            np.testing.assert_array_equal(got, want)


def test_nan_and_infinity_reach_what_sees_them(isa):
    generator = np.random.default_rng(5)
    for width, size, stride in itertools.product((7, 14, 40), (3, 5, 7), (1, 2)):
        x = generator.standard_normal((1, 18, 9, width)).astype("float32")
        w = generator.standard_normal((18, 1, size, size)).astype("float32")
        x[0, 3, 4, width // 2] = np.nan
        x[0, 5, 0, 0] = np.inf
        w[7, 0, 0, 0] = np.inf
        w[8, 0, -1, -1] = np.nan
        options = {"groups": 18, "stride": stride, "padding": size // 2}
        want = np.isfinite(fc.conv2d(x, w, algorithm="reference", **options))
        np.testing.assert_array_equal(np.isfinite(fc.conv2d(x, w, **options)), want)
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        got = np.isfinite(fc.conv2d(last, w, layout="NHWC", **options))
        np.testing.assert_array_equal(np.moveaxis(got, -1, 1), want)


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu"])
def test_activations(isa, activation):
    generator = np.random.default_rng(6)
    x = generator.standard_normal((2, 18, 8, 13)).astype("float32")
    w = generator.standard_normal((18, 1, 3, 3)).astype("float32")
    options = {"groups": 18, "padding": 1, "activation": activation}
    want = fc.conv2d(x, w, algorithm="reference", **options)
    np.testing.assert_allclose(fc.conv2d(x, w, **options), want, rtol=2e-5, atol=2e-6)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    got = fc.conv2d(last, w, layout="NHWC", **options)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), want, rtol=2e-5, atol=2e-6)


def test_plans_of_huge_borders_and_rows_are_small():
    """What a plan lists must not grow with them (24 GB it was, for explain alone)."""
    for filters in (1, 2):
        w = np.ones((filters, 1, 1), np.float32)
        plan = fc.explain(np.ones((1, 1, 6), np.float32), w, padding=2**32)
        assert plan.scratch_bytes_per_thread < 2**30
        plan = fc.explain(np.broadcast_to(np.float32(1), (1, 1, 2**34)), w)
        assert plan.scratch_bytes_per_thread < 2**30
    x, w = small_integers((1, 2, 3, 5), "float32"), small_integers((2, 1, 3, 3), "float32")
    check(x, w, 2, padding=[(1, 0), (70_000, 65_536)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("channels", [15, 16, 33, 70, 131])
def test_small_planes_are_turned(isa, dtype, channels):
    """Blocks of channels, the last of which overlaps; threads that begin with any of them."""
    for number, (size, kernel) in enumerate(itertools.product((1, 2, 4, 9, 15), (1, 2, 3, 4, 5))):
        x = small_integers((3, channels, size, size + number % 3), dtype, size)
        w = small_integers((channels, 1, kernel, kernel), dtype, kernel)
        bias = small_integers(channels, dtype) if number % 2 else None
        mode = MODES[number % 5] if size > 4 else "zeros"
        for stride, dilation in ((1, 1), (2, 1), (3, 2), (1, 3)):
            reach = (kernel - 1) * dilation
            options = {"stride": stride, "dilation": dilation, "padding_mode": mode}
            options["padding"] = [(reach, reach // 2)] * 2 if size > reach else [(reach, reach)] * 2
            if mode != "zeros":
                options["padding"] = [(min(size - 1, reach), reach // 4)] * 2
                if size + min(size - 1, reach) + reach // 4 <= reach:
                    continue
            with fc.num_threads(number % 3 + 1):
                check(x, w, 2, bias, **options)
    x = small_integers((2, channels, 4, 3, 5), dtype)
    w = small_integers((channels, 1, 2, 3, 2), dtype)
    check(x, w, 3, padding=1, stride=(1, 2, 1), dilation=(2, 1, 1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", [(7, 7, 7), (4, 8, 8), (12, 6, 5), (3, 16, 16), (9, 1, 40)])
def test_sums_of_several_runs(isa, mode, kernel):
    """More terms than one chain has, between slices; slices that stay staged."""
    size = tuple(max(k, n) for k, n in zip(kernel, (9, 11, 14), strict=True))
    for channels, stride, dilation in ((1, 1, 1), (1, 2, 1), (2, 1, 2)):
        x = small_integers((2, 2 * channels, *size), "float32", stride)
        w = small_integers((2, channels, *kernel), "float32", channels)
        bias = small_integers(2, "float32")
        options = {"padding": [(2, 1), (3, 3), (2, 4)], "padding_mode": mode, "groups": 2}
        options.update(stride=(stride, 1, 1), activation="relu")
        if (kernel[0] - 1) * dilation < size[0] + 3:
            options["dilation"] = (dilation, 1, 1)
        want = fc.conv3d(x, w, bias, algorithm="reference", **options)
        for threads in (1, 3):
            with fc.num_threads(threads):
                np.testing.assert_array_equal(fc.conv3d(x, w, bias, **options), want)
        as_bytes = fc.conv3d(x.astype(np.int8), w, bias, **options)
        np.testing.assert_array_equal(as_bytes, want)


@pytest.mark.parametrize("kernel", [(4, 3, 4), (7, 7, 7), (6, 9, 5), (13, 2, 2)])
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_border_slices_are_left_out_unless_a_weight_is_special(isa, kernel, special):
    """Zeros beside the volume times infinity are not zero; times a number they may be left out."""
    x = small_integers((1, 3, 6, 12, 13), "float32")
    padding = [(k - 1, k // 2) for k in kernel]
    padding[0] = (kernel[0] + 1, kernel[0])  # some outputs see nothing else
    for place in ((0, 0, 0), (-1, -1, -1), (kernel[0] // 2, 1, 1), None):
        w = small_integers((3, 1, *kernel), "float32", 1)
        if place is not None:
            w[(1, 0, *place)] = special
        for fill in (0, 2):
            options = {"padding": padding, "groups": 3, "fill_value": fill}
            want = fc.conv3d(x, w, np.float32([1, 2, 3]), algorithm="reference", **options)
            got = fc.conv3d(x, w, np.float32([1, 2, 3]), **options)
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rows", range(1, 31))
def test_bands_of_every_height(isa, rows):
    """Rows no wider than a vector go through in bands, of which the last overlaps."""
    for dtype, width in (("float32", 13), ("float32", 16), ("float64", 8), ("int32", 7)):
        x = small_integers((1, 3, rows + 3, width + 3), dtype, rows)
        w = small_integers((3, 1, 4, 4), dtype)
        check(x, w, 2, activation="relu" if rows % 2 else None)
        check(x, w, 2, padding=[(2, 1), (1, 2)], stride=(2, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("mode", MODES)
def test_slices_that_several_outputs_see(isa, mode, dtype):
    """They stay staged while output slices go on; some borders show those that have gone."""
    for filters, size in ((1, 5), (3, 3)):
        for shape, stride, dilation in (
            ((7, 12, 21), 1, 1),
            ((6, 9, 40), 2, 1),
            ((9, 30, 19), 1, 3),
            ((14, 8, 25), 1, 6),
            ((4, 60, 70), 1, 1),
        ):
            x = small_integers((2, 3, *shape), dtype, size)
            w = small_integers((3 * filters, 1, 3, size, size), dtype, filters)
            bias = small_integers(3 * filters, dtype, 3)
            # Columns beside a row show the fill value, or there are none.
            padding = [(2, 1), (1, 2), (1, 0) if mode == "zeros" else (0, 0)]
            options = {"padding": padding, "padding_mode": mode, "activation": "relu"}
            if mode == "zeros":
                options["fill_value"] = 2
            check(x, w, 3, bias, stride=(stride, 1, 1), dilation=(dilation, 1, 1), **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_bands_of_planes_and_several_filters(isa, dtype, size):
    """Planes beyond L1, of rows up to the longest that are staged and longer ones."""
    for width, stride in itertools.product((7, 100, 159, 161, 320, 330), (1, 2)):
        x = small_integers((1, 3, 2100 // width + 31, width), dtype, width)
        for filters in (1, 4):
            w = small_integers((3 * filters, 1, size, size), dtype, filters)
            bias = small_integers(3 * filters, dtype, size)
            check(x, w, 2, bias, stride=stride, padding=size // 2, activation="relu6")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kernel", [(1, 2), (2, 2), (2, 5), (4, 3), (6, 1), (7, 9), (1, 15)])
def test_kernels_that_no_tile_is_made_for(isa, dtype, kernel):
    """Cut into three, two and one rows; of a dilation the rows of each phase are a plane."""
    for width, stride, dilation in itertools.product((3, 7, 13, 34), (1, 2), (1, 2, (3, 1), 4)):
        down, across = dilation if isinstance(dilation, tuple) else (dilation, dilation)
        height = 4 * down + width % 6
        x = small_integers((2, 3, height, width), dtype, width)
        padding = [((n - 1) * step, n) for n, step in zip(kernel, (down, across), strict=True)]
        for filters in (1, 3):
            w = small_integers((3 * filters, 1, *kernel), dtype, filters)
            bias = small_integers(3 * filters, dtype) if filters > 1 else None
            options = {"stride": stride, "dilation": (down, across), "padding": padding}
            check(x, w, 2, bias, activation="relu", fill_value=2, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_the_last_band_has_rows_for_a_tile(isa, dtype, dilation):
    for height in (*range(4 * dilation, 4 * dilation + 12), *range(60, 75)):
        x = small_integers((1, 2, height, 110), dtype, height)
        w = small_integers((2, 1, 4, 4), dtype, dilation)
        check(x, w, 2, dilation=dilation, padding=2 * dilation)


def with_gaps(array, gaps):
    """The same values in a larger array, which is 77 beyond them."""
    wide = np.full([n + g for n, g in zip(array.shape, gaps, strict=True)], 77, array.dtype)
    view = wide[tuple(slice(0, n) for n in array.shape)]
    view[...] = array
    return view


GAPS = [(0, 0, 0, 0), (0, 0, 0, 3), (0, 0, 2, 0), (0, 1, 0, 0), (1, 0, 0, 0)]


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int16"])
@pytest.mark.parametrize("size", [(3, 5, 7), (1, 6, 3), (4, 1, 1), (2, 1, 33), (5, 4, 1)])
def test_pointwise_layers_whose_rows_follow_each_other(isa, dtype, size):
    """Rows without gaps are taken as one, in the input and the output, and others are not."""
    for groups, channels, filters in ((1, 3, 2), (6, 1, 1), (6, 1, 2), (2, 4, 20), (1, 300, 5)):
        x = small_integers((2, groups * channels, *size), dtype)
        w = small_integers((groups * filters, channels, 1, 1, 1), dtype, 1)
        bias = small_integers(groups * filters, dtype, 2)
        by_group = x.reshape(2, groups, channels, *size)
        parts = np.einsum("ngcdhw,gkc->ngkdhw", by_group, w.reshape(groups, filters, channels))
        want = parts.reshape(2, groups * filters, *size) + bias.reshape(-1, 1, 1, 1)
        want = want.astype(dtype)
        layer = fc.Conv3d(w, bias, groups=groups)
        for x_gaps, y_gaps in itertools.product(GAPS, GAPS):
            given = with_gaps(x, (0, *x_gaps))
            out = with_gaps(np.zeros_like(want), (0, *y_gaps))
            layer(given, out=out)
            np.testing.assert_array_equal(out, want)
            out[...] = 77
            assert (out.base == 77).all()
        for axis in (2, 3, 4):
            turned = np.flip(np.ascontiguousarray(np.flip(x, axis)), axis)
            out = np.flip(np.zeros_like(want), axis)
            fc.conv3d(turned, w, bias, groups=groups, out=out)
            np.testing.assert_array_equal(out, want)
        last = np.moveaxis(np.zeros_like(np.moveaxis(want, 1, -1), order="C"), -1, 1)
        fc.conv3d(x, w, bias, groups=groups, out=last)
        np.testing.assert_array_equal(last, want)


def test_a_kernel_without_depth_sees_slices_of_nothing_but_border():
    """Above and below the volume every output is that of zeros: its bias."""
    x = small_integers((2, 5, 1, 9, 40), "float32")
    w, bias = small_integers((5, 1, 1, 3, 3), "float32", 1), small_integers(5, "float32", 2)
    options = {"stride": (3, 1, 1), "padding": ((5, 1), (1, 1), (2, 2)), "groups": 5}
    got = fc.conv3d(x, w, bias, **options)
    assert got.shape[2] == 3
    np.testing.assert_array_equal(got, conv(x, w, bias, **options))
    assert (got[:, :, 0] == bias[:, None, None]).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("border", [(9, 0), (15, 3), (17, 0), (0, 20), (19, 28), (33, 1)])
def test_borders_wider_than_a_vector(isa, stride, size, border):
    """A vector of a strided row reads two of the input, both of which may lie in the border."""
    rng = np.random.default_rng([stride, size, *border])
    for width in (60, 100, 252):
        x = rng.integers(-3, 4, (1, 2, 12, width)).astype(np.float32)
        w = rng.integers(-3, 4, (2, 1, size, size)).astype(np.float32)
        options = {"stride": stride, "padding": ((1, 1), border), "groups": 2}
        np.testing.assert_array_equal(fc.conv2d(x, w, **options), conv(x, w, **options))


def check_last(x, w, **options):
    """Channels last alone, wherever the output lies."""
    run = {3: fc.conv1d, 4: fc.conv2d, 5: fc.conv3d}[x.ndim]
    options = {"groups": x.shape[-1], "layout": "NHWC", **options}
    want = plain_loop(x, w, **options)
    np.testing.assert_array_equal(run(x, w, **options), want)
    planes = np.moveaxis(np.zeros_like(np.moveaxis(want, -1, 1)), 1, -1)
    run(x, w, out=planes, **options)
    np.testing.assert_array_equal(planes, want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("size", [2, 3, 5, 7, 9])
def test_ends_of_rows_with_channels_last(isa, dtype, size):
    """Tiles of their own, of 1 pixel to 12, see the border beside a row."""
    for width, channels in itertools.product((*range(1, 30, 2), 41, 60), (16, 33, 72)):
        x = small_integers((1, 3, width, channels), dtype, width)
        w = small_integers((channels, 1, 3, size), dtype, channels)
        for border in ((size // 2, size // 2), (size - 1, 0), (1, size + 3)):
            if width + sum(border) >= size:
                check_last(x, w, padding=[(1, 1), border])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_volumes_with_channels_last(isa, mode, stride):
    """Slices of several vectors of channels add up in the output, but for those of the border."""
    for channels, size in itertools.product((16, 32, 40, 64, 99), ((4, 5, 6), (3, 3, 17))):
        x = small_integers((2, *size, channels), "float32", channels)
        for kernel in ((3, 3, 3), (2, 3, 3), (5, 3, 2)):
            w = small_integers((channels, 1, *kernel), "float32", stride)
            options = {"stride": stride, "padding_mode": mode}
            check_last(x, w, padding=1, **options)
            if mode == "zeros":
                check_last(x, w, padding=[(3, 0), (2, 1), (0, 2)], fill_value=2, **options)
                w.flat[w.size // 2] = np.inf
                run = {"padding": 2, "groups": channels, "layout": "NHWC", "stride": stride}
                want = np.isfinite(fc.conv3d(x, w, algorithm="reference", **run))
                np.testing.assert_array_equal(np.isfinite(fc.conv3d(x, w, **run)), want)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [40, 51, 160])
def test_pictures_beyond_l2_with_channels_last(isa, channels, stride):
    x = small_integers((1, 60, 103, channels), "float32", channels)
    for size in (3, 5):
        w = small_integers((channels, 1, size, 3), "float32", size)
        for border in (0, 1):
            check_last(x, w, padding=border, stride=stride, activation="relu6")


@pytest.mark.parametrize("channels", [3, 9, 15, 17, 70])
def test_rows_that_are_staged_with_channels_last(isa, channels):
    """Places of rows are used again; of a staged row nothing is written over the next one's."""
    for kernel, stride, dilation in itertools.product(
        ((7, 6), (1, 11), (4, 3, 5), (3, 3, 3)), (1, 3), (1, 2)
    ):
        rank = len(kernel)
        w = small_integers((channels, 1, *kernel), "float32", stride)
        bias = small_integers((channels,), "float32", 1)
        for size in ((2, 3, 1), (3, 5, 14)):
            x = small_integers((1, *size[3 - rank :], channels), "float32", dilation)
            options = {"stride": stride, "dilation": dilation}
            border = [((k * dilation) // 2, (k * dilation + 1) // 2) for k in kernel]
            check_last(x, w, bias=bias, padding=border, **options)
            wider = [(low + 1, high + 3) for low, high in border]
            check_last(x, w, bias=bias, padding=wider, fill_value=3, activation="relu", **options)


@pytest.mark.parametrize("channels", [6, 13, 22])
def test_bands_of_staged_rows(isa, channels):
    for kernel, size in itertools.product(((9, 9), (5, 5, 5)), (23, 12)):
        rank = len(kernel)
        x = small_integers((1, *(6, size, 13)[3 - rank :], channels), "float32")
        w = small_integers((channels, 1, *kernel), "float32", 1)
        options = {"padding": 4, "groups": channels, "layout": "NHWC"}
        run = {2: fc.conv2d, 3: fc.conv3d}[rank]
        want = run(x, w, algorithm="reference", **options)
        for threads in (1, 3):
            with fc.num_threads(threads):
                np.testing.assert_array_equal(run(x, w, **options), want)


def test_blocks_of_many_channels(isa):
    for channels in (15, 24, 31, 100, 129, 130, 257):
        x = small_integers((1, 6, 11, channels), "float32", channels)
        for size, stride in itertools.product((1, 3, 5), (1, 2)):
            w = small_integers((channels, 1, size, size), "float32", size)
            check_last(x, w, padding=size // 2, stride=stride)
            check_last(x, w, padding=size // 2, stride=stride, activation="relu6")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [16, 28, 32, 48, 56, 100])
def test_tiles_of_several_vectors(isa, channels, dtype):
    """Of few pixels, and a pair of vectors behind the last; at the border one or two pixels."""
    bias = small_integers((channels,), dtype, 2)
    for columns, stride, dilation in itertools.product((1, 2, 3, 4, 6, 8, 12), (1, 2), (1, 2)):
        w = small_integers((channels, 1, 2, columns), dtype, columns)
        for width in (1, 4, 9, 17, 24):
            border = (columns * dilation // 2, (columns - 1) * dilation)
            if width + sum(border) > (columns - 1) * dilation:
                x = small_integers((1, 3, width, channels), dtype, width)
                options = {"stride": (1, stride), "dilation": (1, dilation)}
                check_last(x, w, bias=bias, padding=[(1, 0), border], **options)


@pytest.mark.parametrize("width", [25, 128])
def test_lines_that_meet_in_few_sets_of_the_cache(isa, width):
    """Pixels of 512 channels lie 2 KB apart: three kernel columns have other tiles then."""
    x = small_integers((1, 4, width, 512), "float32", width)
    w = small_integers((512, 1, 3, 3), "float32")
    check_last(x, w, padding=1, activation="relu")


@pytest.fixture
def by_flat_lanes():
    fc._core.prefer_kernel("flat_lanes")
    yield
    fc._core.prefer_kernel("")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("mode", MODES)
def test_rows_are_read_as_they_lie_between_their_ends(isa, by_flat_lanes, mode, dtype):
    """The columns beside the border are staged alone, where a row has many elements."""
    for channels, width in ((1, 1100), (3, 400), (9, 130), (33, 41), (70, 22)):
        bias = small_integers((channels,), dtype, 2)
        for kernel, rest in (((3,), ()), ((1,), ()), ((3, 4), (5,)), ((2, 2, 3), (3, 4))):
            x = small_integers((2, *rest, width, channels), dtype, width)
            w = small_integers((channels, 1, *kernel), dtype, 1)
            for border, dilation in itertools.product(((1, 1), (0, 2), (2, 0)), (1, 2)):
                padding = [*[(1, 1)] * len(rest), border]
                options = {"padding_mode": mode, "dilation": dilation, "padding": padding}
                if mode == "zeros":
                    options["fill_value"] = 3
                check_last(x, w, bias=bias, activation="relu", **options)


def test_ends_of_rows_and_what_lies_between_by_threads(isa, by_flat_lanes):
    x = small_integers((1, 37, 300, 16), "float32")
    w = small_integers((16, 1, 3, 3), "float32", 1)
    options = {"padding": 1, "groups": 16, "layout": "NHWC"}
    want = fc.conv2d(x, w, algorithm="reference", **options)
    for threads in (1, 2, 5):
        with fc.num_threads(threads):
            np.testing.assert_array_equal(fc.conv2d(x, w, **options), want)
