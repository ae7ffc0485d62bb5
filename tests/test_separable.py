"""Kernels that are outer products: one axis after the other, as accurate as a sum of all terms.

Bit-exactness on small integers is in ``tests/cpp/test_engine.cpp`` too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from reference import absolute, conv, gamma
from test_accuracy import rms

UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}
SEED = 22
RNG = np.random.default_rng(SEED)


def convolved(x, w, *args, **options):
    return {4: fc.conv2d, 5: fc.conv3d}[w.ndim](x, w, *args, **options)


def outer(*vectors):
    """The outer product of a vector for each axis."""
    product = np.asarray(vectors[0])
    for vector in vectors[1:]:
        product = np.multiply.outer(product, vector)
    return product


def gaussian(*sizes, dtype=np.float32):
    """A blur of one channel, ``(1, 1, *sizes)``, rounded as anyone's would be."""
    bell = [np.exp(-8 * ((np.arange(n) - (n - 1) / 2) / n) ** 2) for n in sizes]
    kernel = outer(*bell)
    return (kernel / kernel.sum()).astype(dtype)[None, None]


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def assert_accurate(got, x, w, bias=None, **options):
    """The bound that every algorithm keeps: ``gamma_n * S``, of each output on its own."""
    n = w[0].size + 1 + (bias is not None)
    expected = conv(x, w, bias, **options)
    bound = gamma(n, UNIT[got.dtype]) * absolute(x, w, bias, **options)
    assert (np.abs(got - expected) <= bound).all()


SHAPES = [
    ((2, 1, 40, 50), (5, 7), {"padding": (2, 3)}),
    ((1, 3, 33, 90), (31, 31), {"groups": 3, "padding": 15, "padding_mode": "reflect"}),
    ((1, 1, 300, 20), (9, 4), {"padding": ((8, 0), (1, 3)), "padding_mode": "edge"}),
    ((1, 2, 64, 65), (6, 5), {"groups": 2, "stride": (2, 3), "dilation": (3, 2), "flip": True}),
    ((1, 1, 90, 70), (8, 9), {"stride": 2, "padding": 4, "padding_mode": "wrap"}),
    ((1, 1, 30, 2100), (7, 7), {"padding": 3, "fill_value": 2.5}),
    ((1, 2, 20, 24, 28), (5, 5, 5), {"groups": 2, "padding": 2, "padding_mode": "symmetric"}),
    ((1, 1, 18, 9, 30), (7, 1, 6), {"padding": (3, 1, 2)}),
    ((2, 1, 6, 40, 41), (1, 9, 9), {"padding": (0, 4, 4)}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x_shape", "sizes", "options"), SHAPES)
def test_against_the_reference(isa, x_shape, sizes, options, dtype):
    channels = x_shape[1]
    x, bias = normal(*x_shape, dtype=dtype), normal(channels, dtype=dtype)
    w = np.concatenate([(k + 1) * gaussian(*sizes, dtype=dtype) for k in range(channels)])
    w = w.astype(dtype)
    got = convolved(x, w, bias, algorithm="separable", **options)
    assert_accurate(got, x, w, bias, **options)
    whole = convolved(x, w, bias, algorithm="direct", **options)
    assert not np.array_equal(got, whole), "another order of summation ran"


def test_views_layouts_activations_and_types():
    image, w = normal(60, 80, 3), gaussian(9, 9)
    w = np.repeat(w, 3, axis=0)
    options = {"groups": 3, "padding": 4, "algorithm": "separable"}
    first = np.moveaxis(image, -1, 0)[None]
    expected = np.maximum(conv(first, w, groups=3, padding=4), 0)
    got = fc.conv2d(first, w, activation="relu", **options)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    last = fc.conv2d(image[None], w, activation="relu", layout="NHWC", **options)
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), got)
    gaps = np.full((1, 3, 60, 160), 7, np.float32)
    fc.conv2d(first, w, activation="relu", out=gaps[..., ::2], **options)
    np.testing.assert_array_equal(gaps[..., ::2], got)
    assert (gaps[..., 1::2] == 7).all()
    for view in (first[..., ::-1], first[..., ::-1, :], np.swapaxes(first, 2, 3)):
        np.testing.assert_array_equal(
            fc.conv2d(view, w, **options), fc.conv2d(view.copy(), w, **options)
        )
    half = fc.conv2d(first.astype(np.float16), w.astype(np.float16), groups=3, padding=4)
    np.testing.assert_allclose(half, conv(first, w, groups=3, padding=4), rtol=0, atol=2e-3)


@given(data=st.data())
def test_small_integers_are_exact(data):
    rank = data.draw(st.integers(2, 3))
    most = 12 if rank == 3 else 40
    draw = lambda low, high: data.draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    spatial, sizes, stride, dilation = draw(1, most), draw(1, 7), draw(1, 3), draw(1, 2)
    pads = [(data.draw(st.integers(0, k + 1)), data.draw(st.integers(0, k))) for k in sizes]
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.int8, np.int32, np.int64]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    channels = data.draw(st.integers(1, 3))
    x = rng.integers(-4, 5, (2, channels, *spatial)).astype(dtype)
    kernels = [outer(*(rng.integers(-2, 3, k) for k in sizes)) for _ in range(channels)]
    w = np.array(kernels)[:, None].astype(dtype)
    options = {
        "stride": stride,
        "padding": pads,
        "dilation": dilation,
        "groups": channels,
        "padding_mode": data.draw(st.sampled_from(["zeros", "reflect", "edge", "wrap"])),
        "flip": data.draw(st.booleans()),
    }
    try:
        expected = convolved(x, w, algorithm="reference", **options)
    except ValueError:  # the kernel is larger than the padded input
        return
    if sum(k > 1 for k in sizes) < 2:
        with pytest.raises(ValueError, match="one axis alone"):
            convolved(x, w, algorithm="separable", **options)
        return
    got = convolved(x, w, algorithm="separable", **options)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("size", [4, 5, 7, 31, 63, 101])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blurs_are_seen_to_be_outer_products(size, dtype):
    x = normal(1, 1, size + 9, size + 9, dtype=dtype)
    for w in (gaussian(size, size, dtype=dtype), np.full((1, 1, size, size), 1 / size**2, dtype)):
        assert_accurate(fc.conv2d(x, w, algorithm="separable"), x, w)
    kernel = fc.filters.gaussian(size, dtype=dtype)
    fc.conv2d(x, kernel[None, None], algorithm="separable")


def test_what_is_almost_an_outer_product_is_none():
    x, w = normal(1, 1, 300, 300), gaussian(15, 15)
    assert fc.explain(x, w).algorithm == "separable"
    for i, j in ((0, 0), (7, 7), (14, 3)):
        other = w.copy()
        other[0, 0, i, j] *= np.float32(1 + 2e-6)
        assert fc.explain(x, other).algorithm != "separable"
        with pytest.raises(ValueError, match="outer product"):
            fc.conv2d(x, other, algorithm="separable")
        with pytest.raises(ValueError, match="outer product"):
            fc.Conv2d(other, algorithm="separable")(x)
        expected = fc.Conv2d(other)(x)
        np.testing.assert_array_equal(fc.conv2d(x, other), expected)
        assert_accurate(expected, x, other)
    for bad in (np.nan, np.inf):
        other = w.copy()
        other[0, 0, 3, 3] = bad
        assert fc.explain(x, other).algorithm != "separable"


def test_whole_numbers_whose_factors_are_no_divisors():
    """Rows 2 and 3 of (1, 2): exact only by factors that are whole numbers."""
    w = outer([2.0, 3.0, 0.0, 6.0, 1.0], [4.0, 6.0, 10.0, 2.0, 0.0]).astype(np.float32)[None, None]
    x = RNG.integers(-9, 10, (1, 1, 70, 90)).astype(np.float32)
    for scale in (1, 2**-7, 2**9):
        kernel = w * np.float32(scale)
        got = fc.conv2d(x, kernel, algorithm="separable")
        np.testing.assert_array_equal(got, conv(x, kernel))
    binomial = [1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0]
    kernel = outer(binomial, binomial).astype(np.float32)[None, None]  # up to 4900
    got = fc.conv2d(x, kernel, algorithm="separable")
    np.testing.assert_array_equal(got, conv(x, kernel))
    thirds = (w / 3).astype(np.float32)
    assert_accurate(fc.conv2d(x, thirds, algorithm="separable"), x, thirds)


def test_where_it_is_chosen():
    x = normal(1, 1, 480, 640)
    for size, expected in ((3, "direct"), (7, "separable"), (31, "separable"), (63, "separable")):
        assert fc.explain(x, gaussian(size, size), padding=size // 2).algorithm == expected
    assert "outer product" in str(fc.explain(x, normal(1, 1, 9, 9)))
    assert fc.explain(normal(1, 1, 64, 64, 64), gaussian(7, 7, 7)).algorithm == "separable"
    tiny = fc.explain(normal(1, 1, 9, 9), gaussian(7, 7))
    assert tiny.algorithm == "direct"
    layer = fc.Conv2d(gaussian(9, 9), padding=4)
    assert layer.explain((1, 1, 480, 640)).algorithm == "separable"
    for refused, reason in (
        (gaussian(1, 9), "one axis"),
        (np.ones((2, 1, 5, 5), np.float32), "more than one"),
        (gaussian(9, 9).astype(np.complex64), "complex"),
    ):
        with pytest.raises(ValueError, match=reason):
            fc.conv2d(x, refused, algorithm="separable")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_error_is_below_that_of_a_sum_in_order(dtype):
    for x in (normal(1, 1, 150, 150, dtype=dtype), RNG.random((1, 1, 150, 150)).astype(dtype)):
        for size in (5, 9, 21):
            w = gaussian(size, size, dtype=dtype)
            exact = conv(x, w)
            in_order = np.zeros(exact.shape, dtype)
            rows, columns = exact.shape[-2:]
            for i in range(size):
                for j in range(size):
                    seen = x[..., i : i + rows, j : j + columns]
                    products = seen.astype(exact.dtype) * w[0, 0, i, j]
                    in_order = (in_order + products).astype(dtype)  # rounded once, as fused
            got = fc.conv2d(x, w, algorithm="separable")
            assert rms(got - exact) <= rms(in_order - exact)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_what_is_not_finite_reaches_only_those_that_see_it(isa, bad, padding_mode):
    x, w = normal(1, 2, 90, 300), np.repeat(gaussian(9, 9), 2, axis=0)
    x[0, 1, 40, 100] = bad
    x[0, 0, 3, 299] = -bad
    options = {"padding": 4, "groups": 2, "padding_mode": padding_mode}
    expected = fc.conv2d(x, w, algorithm="reference", **options)
    got = fc.conv2d(x, w, algorithm="separable", **options)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert (~np.isfinite(got)).sum() == 81 + 8 * 5


def test_sums_along_rows_that_overflow():
    """Of which the whole sum, with the small factors of its outer rows, does not."""
    x = np.zeros((1, 1, 40, 50), np.float32)
    x[0, 0, 39] = 3e38
    w = outer([1.0, 4.0, 1.0, 0.25, 2.0**-10], np.ones(6)).astype(np.float32)[None, None]
    got = fc.conv2d(x, w, algorithm="separable")
    assert np.isfinite(got).all()
    assert_accurate(got, x, w)


@pytest.mark.parametrize("stride", [1, 2])
def test_borders_that_overflow(stride):
    x, w = normal(1, 1, 40, 50), outer([1.0, 4.0, 1.0, 0.25, 2.0**-10], np.ones(6))
    w = w.astype(np.float32)[None, None]
    options = {"padding": ((0, 1), (0, 0)), "fill_value": 3e38, "stride": stride}
    expected = fc.conv2d(x, w, algorithm="direct", **options)
    assert np.isfinite(expected).all()
    got = fc.conv2d(x, w, algorithm="separable", **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    infinite = {**options, "fill_value": np.inf, "padding": 2, "algorithm": "separable"}
    expected = fc.conv2d(x, w, **{**infinite, "algorithm": "reference"})
    np.testing.assert_allclose(fc.conv2d(x, w, **infinite), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-44, 1e-36, 1e30])
def test_extremes(scale):
    x = normal(1, 1, 40, 40) * np.float32(scale)
    w = gaussian(9, 9)
    subnormal = 100 * np.finfo(np.float32).smallest_subnormal
    got = fc.conv2d(x, w, algorithm="separable")
    bound = gamma(82, 2.0**-24) * absolute(x, w) + subnormal
    assert (np.abs(got - conv(x, w)) <= bound).all()


@pytest.mark.parametrize(
    ("shape", "sizes"), [((3, 2, 200, 310), (9, 9)), ((2, 1, 40, 30, 50), (7, 7, 7))]
)
def test_threads_and_batch_do_not_matter(shape, sizes):
    x, w = normal(*shape), np.repeat(gaussian(*sizes), shape[1], axis=0)
    options = {"groups": shape[1], "padding": 3, "algorithm": "separable"}
    with fc.num_threads(1):
        alone = convolved(x, w, **options)
    with fc.num_threads(3):
        np.testing.assert_array_equal(convolved(x, w, **options), alone)
        for image in range(shape[0]):
            np.testing.assert_array_equal(
                convolved(x[image : image + 1], w, **options)[0], alone[image]
            )
    layer = {2: fc.Conv2d, 3: fc.Conv3d}[len(sizes)](w, **options)
    np.testing.assert_array_equal(layer(x), alone)
    np.testing.assert_array_equal(layer(x[..., :-1]), convolved(x[..., :-1], w, **options))


@pytest.mark.parametrize(("dtype", "strip"), [(np.float32, 960), (np.float64, 480)])
def test_what_scratch_held_before_does_not_matter(dtype, strip):
    """A last strip that is narrower than a vector, after one that held a NaN."""
    x, w = normal(1, 1, 400, 2 * strip + 3, dtype=dtype), gaussian(127, 127, dtype=dtype)
    options = {"padding": 63, "algorithm": "separable"}
    with fc.num_threads(1):
        expected = fc.conv2d(x, w, **options)
        x[..., strip + 5] = np.nan
        got = fc.conv2d(x, w, **options)
    np.testing.assert_array_equal(got[..., -3:], expected[..., -3:])


def test_a_border_of_what_lies_far_away():
    """Wrapped: the first rows see the last."""
    for shape, padding in (((1, 1, 300, 60), 4), ((1, 1, 5, 6), 40), ((1, 1, 60, 2000), 9)):
        x, w = normal(*shape), gaussian(9, 9)
        options = {"padding": padding, "padding_mode": "wrap"}
        assert_accurate(fc.conv2d(x, w, algorithm="separable", **options), x, w, **options)
    with pytest.raises(ValueError, match="far away"):
        large = np.zeros((1, 1, 2000, 2000), np.float32)
        fc.conv2d(large, w, algorithm="separable", padding=4, padding_mode="wrap")


def test_pictures_of_bytes_are_rounded_as_by_sums():
    photo = RNG.integers(0, 256, (97, 131, 3), dtype=np.uint8)
    for kernel in (
        fc.filters.gaussian(9),
        fc.filters.box(7),
        outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256,
    ):
        got = fc.image.filter2d(photo, kernel)
        pad = [(k // 2, k // 2) for k in kernel.shape]
        wide = np.pad(photo.astype(np.float64), [*pad, (0, 0)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(wide, kernel.shape, axis=(0, 1))
        exact = (windows * kernel.astype(np.float64)).sum(axis=(-2, -1))
        assert np.abs(got - exact).max() <= 0.5 + 1e-4
