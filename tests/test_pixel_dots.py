"""Pointwise layers of few filters, channels last: dot products of pixels where they lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv as fc
from channels_last import RUN, check_input, small_integers
from reference import absolute


def check(x, w, bias=None, **options):
    """Exact, and the same wherever input and output lie."""
    want = check_input(x, w, bias, **options)
    np.testing.assert_array_equal(
        RUN[x.ndim - 2](x[:, ::-1], w, bias, **{"layout": "NHWC", **options})[:, ::-1], want
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("filters", range(1, 6))
def test_every_number_of_channels_and_filters(isa, dtype, filters):
    for channels in (*range(8, 36), 64, 100, 257):
        for size in ((1, 1), (3, 7), (2, channels), (5, 129)):
            x = small_integers((2, *size, channels), dtype, channels)
            w = small_integers((filters, channels, 1, 1), dtype, filters)
            check(x, w, small_integers(filters, dtype, 1) if size[1] % 2 else None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streams_of_any_length(isa, dtype):
    """They are cut so that they lie beside a page, and the last pixels overlap."""
    for channels, width in ((64, 1024), (64, 1031), (33, 4099), (256, 517), (1024, 80), (1600, 77)):
        x = small_integers((1, 9, width, channels), dtype, channels)
        for filters in (1, 2):
            w = small_integers((filters, channels, 1, 1), dtype, filters)
            check(x, w, small_integers(filters, dtype, 1), activation="relu")


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_ranks_and_weights_of_any_order(isa, stride):
    for rank, filters in itertools.product((1, 2, 3), (1, 3)):
        x = small_integers((1, *(7, 5, 9)[:rank], 48), seed=rank)
        w = small_integers((filters, 48, *(1,) * rank), seed=filters)
        if stride == 1:
            check(x, w)
        apart = np.zeros((filters, 96, *(1,) * rank), np.float32)[:, ::2]
        apart[...] = w
        options = {"layout": "NHWC", "stride": stride}
        want = RUN[rank](x, w, algorithm="reference", **options)
        np.testing.assert_array_equal(RUN[rank](x, apart, **options), want)
        layer = {1: fc.Conv1d, 2: fc.Conv2d, 3: fc.Conv3d}[rank](apart, **options)
        np.testing.assert_array_equal(layer(x), want)


@pytest.mark.parametrize("activation", ["relu", "relu6", "sigmoid", "silu"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_activations_and_conversions(isa, activation, dtype):
    x = small_integers((2, 9, 70, 40), dtype)
    w = small_integers((2, 40, 1, 1), dtype, 1)
    for bias in (None, small_integers(2, dtype, 2)):
        options = {"layout": "NHWC", "activation": activation}
        want = fc.conv2d(x, w, bias, algorithm="reference", **options)
        got = fc.conv2d(x, w, bias, **options)
        np.testing.assert_allclose(got, want, rtol=1e-3 if dtype == "float16" else 1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads_or_batch(isa, threads):
    generator = np.random.default_rng(0)
    for channels, filters in ((64, 1), (35, 2), (300, 3)):
        x = generator.standard_normal((3, 61, 67, channels), dtype=np.float32)
        w = generator.standard_normal((filters, channels, 1, 1), dtype=np.float32)
        want = np.concatenate([fc.conv2d(image[None], w, layout="NHWC") for image in x])
        exact = np.einsum("nhwc,kcij->nhwk", x, w, dtype=np.float64)
        bound = np.moveaxis(absolute(np.moveaxis(x, -1, 1), w), 1, -1) * channels * 2**-24
        assert (abs(want - exact) <= bound).all()
        with fc.num_threads(threads):
            np.testing.assert_array_equal(fc.conv2d(x, w, layout="NHWC"), want)


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_a_special_value_stays_in_its_pixel(isa, special):
    x = small_integers((1, 8, 9, 20))
    w = small_integers((2, 20, 1, 1))
    x[0, 3, 4, 17] = special
    w[:, 17] = 1
    y = fc.conv2d(x, w, layout="NHWC")
    assert not np.isfinite(y[0, 3, 4]).any()
    assert np.isfinite(y).sum() == y.size - 2


def test_what_takes_such_layers():
    if fc.get_isa() not in ("avx2", "avx512", "neon"):
        pytest.skip("no kernel for them")
    x = small_integers((1, 20, 30, 64))
    w = small_integers((8, 64, 1, 1))
    assert fc.explain(x, w[:1], layout="NHWC").kernel == "pixel_dots"
    assert fc.explain(x, w[:2], layout="NHWC").kernel == "pixel_dots"
    assert fc.explain(x, w, layout="NHWC").kernel != "pixel_dots"
    assert fc.explain(x, w[:1], layout="NHWC", padding=1).kernel != "pixel_dots"
