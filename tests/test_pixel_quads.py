"""Layers of up to four filters, channels last: four terms of several pixels at a time."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

import fastconv as fc
from channels_last import RUN, check_input, small_integers
from fastconv import _core
from reference import absolute


def check(x, w, bias=None, **options):
    """Exact, and the same wherever input and output lie."""
    want = check_input(x, w, bias, **options)
    back = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(
        RUN[x.ndim - 2](back, w, bias, **{"layout": "NHWC", **options}), want
    )


@pytest.mark.parametrize("filters", range(1, 6))
def test_every_number_of_channels_and_filters(isa, filters):
    for channels in (*range(1, 20), 33, 64):
        for size in ((1, 4), (3, 7), (5, 18), (2, 700)):
            x = small_integers((2, *size, channels), seed=channels)
            w = small_integers((filters, channels, 1, 1), seed=filters)
            check(x, w, small_integers(filters, seed=1) if size[1] % 2 else None)


@pytest.mark.parametrize("filters", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_kernels_strides_dilations_and_borders(isa, filters, stride):
    cases = itertools.product((1, 2, 3), (1, 2, 3, 9), (1, 2, 3), (1, 2), (0, 1, 2))
    for rank, channels, size, dilation, padding in cases:
        x = small_integers((2, *(13, 11, 17)[-rank:], channels), seed=rank + channels)
        w = small_integers((filters, channels, *(size,) * rank), seed=size)
        options = {"stride": stride, "dilation": dilation, "padding": padding}
        check(x, w, small_integers(filters, seed=2) if padding else None, **options)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_border_modes(isa, mode):
    x = small_integers((1, 9, 23, 6))
    w = small_integers((3, 6, 3, 4))
    check(x, w, stride=3, padding=2, padding_mode=mode, fill_value=3 if mode == "constant" else 0)


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_activations_and_conversions(isa, activation, dtype):
    x = small_integers((2, 9, 150, 6), dtype)
    for filters in (1, 2, 3, 4):
        w = small_integers((filters, 6, 1, 1), dtype, 1)
        for bias in (None, small_integers(filters, dtype, 2)):
            options = {"layout": "NHWC", "activation": activation}
            want = fc.conv2d(x, w, bias, algorithm="reference", **options)
            got = fc.conv2d(x, w, bias, **options)
            tolerance = 1e-3 if dtype == "float16" else 1e-5
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads_or_batch(isa, threads):
    generator = np.random.default_rng(0)
    for channels, filters, size in ((3, 1, 1), (7, 4, 1), (10, 3, 3), (16, 2, 2)):
        x = generator.standard_normal((3, 61, 367, channels), dtype=np.float32)
        w = generator.standard_normal((filters, channels, size, size), dtype=np.float32)
        options = {"layout": "NHWC", "stride": size, "padding": size // 2}
        want = np.concatenate([fc.conv2d(image[None], w, **options) for image in x])
        exact = fc.conv2d(x.astype(np.float64), w.astype(np.float64), **options)
        planes = np.moveaxis(x, -1, 1)
        magnitude = np.moveaxis(absolute(planes, w, stride=size, padding=size // 2), 1, -1)
        bound = magnitude * channels * size * size * 2**-24
        assert (abs(want - exact) <= bound).all()
        with fc.num_threads(threads):
            np.testing.assert_array_equal(fc.conv2d(x, w, **options), want)


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("filters", [1, 2, 3, 4])
def test_a_special_value_stays_in_its_pixel(isa, special, filters):
    for channels in (1, 2, 3, 5, 6, 7, 8):
        x = small_integers((1, 8, 9, channels))
        w = small_integers((filters, channels, 1, 1))
        x[0, 3, 4, channels - 1] = special
        w[:, channels - 1] = 1
        y = fc.conv2d(x, w, layout="NHWC")
        assert not np.isfinite(y[0, 3, 4]).any()
        assert np.isfinite(y).sum() == y.size - filters


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect")
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_nothing_behind_input_and_output_is_touched(isa, stride):
    from guarded import Arena

    behind_x, behind_y = Arena(2**16), Arena(2**18)
    for channels, filters in itertools.product((1, 2, 3, 4, 5, 7), (1, 2, 3, 4, 17, 40)):
        x = behind_x.place(small_integers((2, 5, 31, channels), seed=channels), at_end=True)
        w = small_integers((filters, channels, 1, 1), seed=filters)
        options = {"layout": "NHWC", "stride": stride}
        want = fc.conv2d(x, w, algorithm="reference", **options)
        y = behind_y.place(np.full_like(want, 77), at_end=True)
        fc.conv2d(x, w, out=y, **options)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(fc.conv2d(x[:, ::-1], w, **options).shape, want.shape)
        np.testing.assert_array_equal(fc.conv2d(x[:1], w, **options), want[:1])


@pytest.mark.parametrize("filters", [17, 20, 45, 60, 70, 109])
def test_the_last_panel_overlaps_the_pixels_to_come(isa, filters):
    for channels, size in itertools.product((1, 5, 17), (1, 3)):
        x = small_integers((2, 7, 19, channels), seed=channels)
        w = small_integers((filters, channels, size, size), seed=filters)
        for bias, activation in ((None, None), (small_integers(filters, seed=1), "relu")):
            check(x, w, bias, activation=activation)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect")
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("filters", [1, 2, 3, 4])
def test_groups_of_many_channels(isa, groups, filters):
    from guarded import Arena

    if isa not in ("avx2", "avx512"):
        pytest.skip("no kernel for them")
    behind, taken = Arena(2**20), 0
    _core.prefer_kernel("pixel_quads")
    try:
        cases = itertools.product((4, 5, 30, 67), (1, 3), (1, 2), (1, 2), (0, 1))
        for channels, size, stride, dilation, padding in cases:
            x = small_integers((2, 9, 41, groups * channels), seed=channels)
            x = behind.place(x, at_end=True)
            w = small_integers((groups * filters, channels, 1, size), seed=size)
            bias = small_integers(groups * filters, seed=3) if padding else None
            options = {"groups": groups, "stride": stride, "dilation": dilation}
            options["padding"] = padding
            taken += fc.explain(x, w, bias, layout="NHWC", **options).kernel == "pixel_quads"
            check(x, w, bias, activation="relu" if size == 3 else None, **options)
    finally:
        _core.prefer_kernel("")
    assert taken == 64


def test_what_takes_such_layers():
    if fc.get_isa() not in ("avx2", "avx512"):
        pytest.skip("no kernel for them")
    options = {"layout": "NHWC"}
    # With AVX-512 the fewest channels are parted in registers.
    few = () if fc.get_isa() == "avx512" else ((3, 1), (8, 4))
    for channels, filters in (*few, (6, 1), (16, 1), (12, 3)):
        x = small_integers((1, 20, 30, channels))
        w = small_integers((filters, channels, 1, 1))
        assert fc.explain(x, w, **options).kernel == "pixel_quads"
    x, w = small_integers((1, 30, 30, 12)), small_integers((1, 12, 3, 3))
    assert fc.explain(x, w, stride=3, padding=1, **options).kernel == "pixel_quads"
    assert fc.explain(x, w, padding=1, **options).kernel != "pixel_quads"
    w = small_integers((8, 12, 1, 1))
    assert fc.explain(x, w, **options).kernel != "pixel_quads"
    x, w = small_integers((1, 50, 50, 120)), small_integers((2, 60, 1, 1))
    # With AVX2 many channels of a group are as fast by flat_lanes.
    taken = ("pixel_quads",) if fc.get_isa() == "avx512" else ("pixel_quads", "flat_lanes")
    assert fc.explain(x, w, groups=2, **options).kernel in taken
