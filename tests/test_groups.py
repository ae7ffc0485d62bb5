"""Groups of few channels, channels last: several groups, or several pixels, share a vector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv as fc
from channels_last import RUN, check_output, small_integers

MODES = ("zeros", "reflect", "symmetric", "edge", "wrap")


def layer(groups, channels, filters, size, kernel, dtype="float32"):
    x = small_integers((2, *size, groups * channels), dtype, groups)
    w = small_integers((groups * filters, channels, *kernel), dtype, filters)
    return x, w


def check(x, w, groups, bias=None, **options):
    """Exact, and the same wherever the output lies."""
    check_output(x, w, bias, groups=groups, **options)


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("filters", range(1, 9))
def test_every_number_of_channels_and_filters(isa, channels, filters):
    """The last vector of groups is seldom full, and ends where the channels of a pixel do."""
    for groups in (2, 3, 5, 8, 11, 33):
        x, w = layer(groups, channels, filters, (3, 9), (2, 3))
        bias = small_integers(groups * filters, "float32", 1)
        check(x, w, groups, bias, padding=1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9, 11, 16])
@pytest.mark.parametrize("filters", [1, 2, 3, 7, 16])
def test_pointwise(isa, dtype, channels, filters):
    """Steps of whole groups, the last of which overlaps the one before or is all there is."""
    for groups, size in itertools.product((2, 3, 7, 18), ((1,), (5,), (90,), (4, 7), (2, 3, 5))):
        x, w = layer(groups, channels, filters, size, (1,) * len(size), dtype)
        bias = small_integers(groups * filters, dtype, 1)
        check(x, w, groups, bias, activation="relu")
        check(x, w, groups, stride=2, padding=1, fill_value=3)
        gaps = np.zeros((*x.shape[:-1], x.shape[-1] + 1), dtype)[..., 1:]
        gaps[...] = x
        check(gaps, w, groups, padding=(1,) * len(size), padding_mode="edge")
        check(x, w[:, ::-1], groups, bias)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_several_pixels_of_a_vector(isa, dtype, stride):
    for groups, width in itertools.product((2, 3, 7, 9, 13), (*range(1, 18), 31)):
        x, w = layer(groups, 1, 1, (4, width), (3, 3), dtype)
        for padding, dilation in itertools.product((1, [(2, 0), (3, 4)]), (1, 2)):
            if width + (2 if padding == 1 else 7) > 2 * dilation and (
                padding != 1 or dilation == 1
            ):
                check(x, w, groups, stride=stride, padding=padding, dilation=dilation)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [3, 9])
def test_borders(isa, mode, groups):
    for channels, stride in itertools.product((1, 2, 4), (1, 2)):
        x, w = layer(groups, channels, channels, (5, 6, 13), (3, 2, 4))
        options = {"padding": 2, "padding_mode": mode, "stride": stride}
        check(x, w, groups, None, **options)
        if mode == "zeros":
            check(x, w, groups, None, fill_value=2, flip=True, **options)


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid", "silu"])
def test_activations(isa, activation):
    x, w = layer(8, 4, 4, (6, 7), (3, 3))
    bias = small_integers(32, "float32", 5)
    options = {"groups": 8, "layout": "NHWC", "activation": activation}
    want = fc.conv2d(x, w, bias, algorithm="reference", **options)
    np.testing.assert_allclose(fc.conv2d(x, w, bias, **options), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_a_special_value_stays_in_its_group(isa, special):
    """Lanes of other groups are multiplied beside it, and an infinite weight with the border."""
    for groups, channels in ((4, 4), (9, 3), (2, 2), (3, 1), (12, 1)):
        x, w = layer(groups, channels, channels, (7, 9), (3, 3))
        options = {"groups": groups, "layout": "NHWC", "padding": 1}
        for array in (x, w):
            array.flat[array.size // 2] = special
            want = np.isfinite(fc.conv2d(x, w, algorithm="reference", **options))
            np.testing.assert_array_equal(np.isfinite(fc.conv2d(x, w, **options)), want)
            assert not want.all()
            assert want.any()
            array.flat[array.size // 2] = 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads_or_batch(isa, threads):
    generator = np.random.default_rng(0)
    for groups, channels, kernel in ((32, 4, 3), (15, 1, 3), (5, 1, 5), (24, 2, 3)):
        x = generator.standard_normal((3, 40, 41, groups * channels), dtype=np.float32)
        w = generator.standard_normal(
            (groups * channels, channels, kernel, kernel), dtype=np.float32
        )
        options = {"groups": groups, "layout": "NHWC", "padding": 1}
        want = np.concatenate([fc.conv2d(image[None], w, **options) for image in x])
        with fc.num_threads(threads):
            np.testing.assert_array_equal(fc.conv2d(x, w, **options), want)


def test_what_takes_such_layers():
    """Of the sets that route lanes; groups of four and more fill vectors of eight by themselves."""
    if fc.get_isa() not in ("avx2", "avx512"):
        pytest.skip("no kernel for them")
    short = fc.get_isa() == "avx2"
    x, w = layer(32, 2 if short else 4, 2 if short else 4, (14, 14), (3, 3))
    assert fc.explain(x, w, groups=32, layout="NHWC").kernel == "group_lanes"
    for dtype, channels, filters in (("float32", 1, 1), ("float64", 1, 2), ("float64", 2, 1)):
        x, w = layer(7, channels, filters, (14, 14), (3, 3), dtype)
        assert fc.explain(x, w, groups=7, layout="NHWC").kernel == "flat_lanes"
    for channels, filters in ((2, 2), (3, 1), (1, 4), (6, 6), (9, 2), (3, 16))[: 4 if short else 6]:
        x, w = layer(9, channels, filters, (14, 14), (1, 1))
        assert fc.explain(x, w, groups=9, layout="NHWC").kernel == "flat_lanes"
    x, w = layer(64, 1, 1, (14, 14), (3, 3))
    assert fc.explain(x, w, groups=64, layout="NHWC").kernel == ("flat_lanes" if short else "plane")
    x, w = layer(32, 4, 4, (14, 14), (3, 3), "int32")
    assert fc.explain(x, w, groups=32, layout="NHWC").kernel != "group_lanes"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    ("channels", "filters"), [(1, 1), (1, 3), (1, 21), (2, 1), (3, 1), (11, 1)]
)
def test_bands_of_rows_and_blocks_of_columns(isa, dtype, channels, filters):
    """More than is staged at once: of many rows, of long ones, and of a row alone."""
    for size, kernel in (((150, 170), (3, 2)), ((5, 3000), (5, 3)), ((21, 30, 31), (2, 3, 3))):
        x, w = layer(3, channels, filters, size, kernel, dtype)
        check(x, w, 3, padding=1)
        check(x, w, 3, stride=2, padding=(1,) * len(size))
    x, w = layer(3, channels, filters, (40_000,), (1,), dtype)
    check(x, w, 3, small_integers(3 * filters, dtype, 7), activation="relu")


@pytest.mark.parametrize("kernel", [(3, 3), (4, 2), (5, 1), (2, 7, 2), (3, 3, 3)])
def test_rows_are_the_same_bits_in_every_band(isa, kernel):
    """Where kernel rows are taken by threes the last rows of a band overlap those before them."""
    rng = np.random.default_rng(3)
    size = (7, 6, 11)[: len(kernel)] if len(kernel) == 3 else (23, 40)
    x = rng.standard_normal((1, *size, 5), np.float32)
    w = rng.standard_normal((5, 1, *kernel), np.float32)
    options = {"groups": 5, "layout": "NHWC", "padding": 1}
    run = RUN[len(kernel)]
    whole = run(x, w, **options)
    # The same rows in a picture of others, which are cut into bands elsewhere.
    tall = np.concatenate([x] * 40, 1)
    inner = slice(2, size[0] - 3)
    np.testing.assert_array_equal(run(tall, w, **options)[:, inner], whole[:, inner])
