"""Fourier transforms: where they run, that they are as accurate as sums in order, and where not.

Bit-exactness on small integers is in ``tests/cpp/test_engine.cpp`` too.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import fastconv as fc
from reference import absolute, conv, gamma
from test_accuracy import rms

UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}
SEED = 21
RNG = np.random.default_rng(SEED)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def convolved(x, w, *args, **options):
    return {3: fc.conv1d, 4: fc.conv2d, 5: fc.conv3d}[w.ndim](x, w, *args, **options)


def assert_accurate(got, x, w, bias=None, **options):
    """The bound that every algorithm keeps: ``gamma_n * S``, of each output on its own."""
    n = w[0].size + 1 + (bias is not None)
    expected = conv(x, w, bias, **options)
    bound = gamma(n, UNIT[got.dtype]) * absolute(x, w, bias, **options)
    bound = bound + n * np.finfo(got.dtype).smallest_subnormal
    assert (np.abs(got - expected) <= bound).all()


SHAPES = [
    ((2, 3, 700), (4, 3, 100), {}),
    ((1, 1, 5000), (1, 1, 3000), {"padding": 2999}),  # a kernel in parts
    ((1, 2, 20_000), (2, 1, 4000), {"groups": 2, "padding": 300}),  # lanes are blocks
    ((1, 2, 1000), (3, 2, 150), {"stride": 3, "padding": ((20, 7),)}),
    ((1, 1, 1000), (5, 1, 60), {"dilation": 5, "padding_mode": "reflect", "padding": 30}),
    ((2, 4, 40, 50), (6, 2, 9, 21), {"groups": 2, "padding": (4, 10)}),
    ((1, 3, 33, 90), (3, 1, 31, 31), {"groups": 3, "padding": 15, "padding_mode": "wrap"}),
    ((1, 2, 50, 61), (2, 2, 5, 17), {"stride": (2, 1), "dilation": (3, 2), "flip": True}),
    ((1, 2, 9, 10, 40), (3, 2, 3, 4, 15), {"padding": (1, 2, 7), "padding_mode": "edge"}),
    ((1, 1, 1, 20), (1, 1, 1, 20), {}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), SHAPES)
def test_against_the_reference(isa, x_shape, w_shape, options, dtype):
    x, w, bias = normal(*x_shape, dtype=dtype), normal(*w_shape, dtype=dtype), normal(w_shape[0])
    got = convolved(x, w, bias.astype(dtype), algorithm="fft", **options)
    assert_accurate(got, x, w, bias.astype(dtype), **options)
    direct = convolved(x, w, bias.astype(dtype), algorithm="direct", **options)
    if dtype is np.float32 and x_shape != w_shape:
        assert not np.array_equal(got, direct), "another order of summation ran"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_views_and_activations(dtype):
    x, w = normal(2, 30, 70, 3, dtype=dtype), normal(5, 3, 11, 31, dtype=dtype)
    first = np.moveaxis(x, -1, 1)
    expected = np.maximum(conv(first, w, padding=7), 0)
    options = {"padding": 7, "algorithm": "fft", "activation": "relu"}
    tolerance = {"rtol": 0, "atol": 1e-4 if dtype is np.float32 else 1e-12}
    got = fc.conv2d(x, w, layout="NHWC", **options)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), expected, **tolerance)
    gaps = np.full((2, 5, 34, 2 * expected.shape[-1]), 7, dtype)
    fc.conv2d(first, w, out=gaps[..., ::2], **options)
    np.testing.assert_allclose(gaps[..., ::2], expected, **tolerance)
    assert (gaps[..., 1::2] == 7).all()
    mirrored = fc.conv2d(first[..., ::-1, ::-1], w[..., ::-1, ::-1], **options)
    np.testing.assert_allclose(mirrored[..., ::-1, ::-1], expected, **tolerance)


def test_halves_and_complex_numbers():
    x, w = normal(1, 2, 900).astype(np.float16), normal(3, 2, 200).astype(np.float16)
    got = fc.conv1d(x, w, algorithm="fft")
    assert got.dtype == np.float16
    s = absolute(x.astype(np.float32), w.astype(np.float32))
    assert (np.abs(got - conv(x, w).astype(np.float64)) <= 2.0**-11 * np.abs(got) + 1e-4 * s).all()
    for dtype in (np.complex64, np.complex128):
        a = (normal(1, 2, 500) + 1j * normal(1, 2, 500)).astype(dtype)
        b = (normal(3, 2, 90) + 1j * normal(3, 2, 90)).astype(dtype)
        np.testing.assert_allclose(
            fc.conv1d(a, b, algorithm="fft", padding=40),
            conv(a, b, padding=40),
            rtol=0,
            atol=1e-4 if dtype is np.complex64 else 1e-11,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_error_is_below_that_of_a_sum_in_order(dtype):
    x, w = normal(1, 1, 4000, dtype=dtype), normal(1, 1, 500, dtype=dtype)
    exact = conv(x, w)
    in_order = np.zeros(exact.shape, dtype)
    for t in range(500):
        products = x[..., t : t + exact.shape[-1]].astype(exact.dtype) * w[0, 0, t]
        in_order = (in_order + products).astype(dtype)  # rounded once, as fused
    got = fc.conv1d(x, w, algorithm="fft")
    assert rms(got - exact) <= rms(in_order - exact)


def loud_and_quiet(n, dtype):
    """Half of the signal a million times louder."""
    x = normal(1, 1, n, dtype=dtype)
    x[..., n // 2 :] *= dtype(1e-6)
    return x


HARD = {
    "loud and quiet": loud_and_quiet,
    "silence in the middle": lambda n, t: np.where(
        (np.arange(n) > n // 4) & (np.arange(n) < n // 2), 0, normal(1, 1, n)
    ).astype(t),
    "an impulse": lambda n, t: (np.arange(n) == n // 3).astype(t)[None, None] * t(0.1),
    "all magnitudes": lambda n, t: (
        normal(1, 1, n, dtype=np.float64) * 10 ** RNG.uniform(-30, 30, (1, 1, n))
    ).astype(t),
    "subnormal": lambda n, t: normal(1, 1, n, dtype=t) * t(np.finfo(t).smallest_subnormal * 50),
    "constant": lambda n, t: np.full((1, 1, n), 0.1, t),
    "rising": lambda n, t: np.exp(np.linspace(-60, 20, n)).astype(t)[None, None],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", HARD)
def test_the_bound_holds_for_each_output_on_its_own(name, dtype):
    """The error of plain transforms follows the loudest part of all."""
    x = HARD[name](3000, dtype)
    decaying = (normal(1, 1, 300) * np.exp(-np.arange(300) / 20)).astype(dtype)
    differences = np.diff(np.exp(-(np.linspace(-3, 3, 301) ** 2))).astype(dtype)[None, None]
    for w in (normal(1, 1, 300, dtype=dtype), decaying, differences):
        for padding in (0, 299):
            got = fc.conv1d(x, w, padding=padding, algorithm="fft")
            assert_accurate(got, x, w, padding=padding)


def test_pictures_with_black_and_flat_parts():
    picture = normal(1, 1, 200, 300)
    picture[..., 40:120, 60:200] = 0
    picture[..., 150:, :] = np.float32(0.3)
    ring = np.subtract.outer(np.arange(41) - 20.0, np.zeros(41)) ** 2
    ring = np.exp(-(ring + ring.T) / 80)
    ring -= ring.mean()
    w = ring.astype(np.float32)[None, None]
    got = fc.conv2d(picture, w, padding=20, algorithm="fft")
    assert_accurate(got, picture, w, padding=20)
    assert (got[..., 60:100, 80:180] == 0).all(), "black stays black"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_reaches_only_those_that_see_it(bad, dtype):
    x, w = normal(2, 2, 4000, dtype=dtype), normal(3, 2, 130, dtype=dtype)
    x[1, 0, 1700] = bad
    got = fc.conv1d(x, w, algorithm="fft")
    expected = fc.conv1d(x, w, algorithm="direct")
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    np.testing.assert_array_equal(got[~np.isfinite(got)], expected[~np.isfinite(expected)])
    clean = np.isfinite(expected)
    np.testing.assert_allclose(got[clean], expected[clean], atol=1e-3)
    # A weight: all of its channel, by sums in order.
    w[1, 1, 5] = bad
    np.testing.assert_array_equal(
        fc.conv1d(x, w, algorithm="fft"), fc.conv1d(x, w, algorithm="direct")
    )
    layer = fc.Conv1d(w, algorithm="fft")
    np.testing.assert_array_equal(layer(x), fc.conv1d(x, w, algorithm="direct"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_and_common_filters_stay_exact(isa, dtype):
    x = RNG.integers(-50, 50, (1, 2, 60, 200)).astype(dtype)
    for w in (
        RNG.integers(-3, 4, (2, 2, 7, 33)).astype(dtype),
        np.full((1, 2, 16, 16), 2.0**-8, dtype),  # a box
    ):
        got = fc.conv2d(x, w, padding=5, algorithm="fft")
        np.testing.assert_array_equal(got, fc.conv2d(x, w, padding=5, algorithm="reference"))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("most", [3, 100, 30_000, 2**31 - 1, 2**62])
def test_integers_are_exact_and_wrap(dtype, most):
    most = min(most, int(np.iinfo(dtype).max) // 2)
    x = RNG.integers(-most, most, (2, 2, 1500)).astype(dtype)
    x[1, :, 300:1100] = 0
    w = RNG.integers(-most, most, (3, 2, 200)).astype(dtype)
    for bias in (None, RNG.integers(-most, most, 3).astype(dtype)):
        options = {"padding": 50, "padding_mode": "constant", "fill_value": 1}
        got = fc.conv1d(x, w, bias, algorithm="fft", activation="relu", **options)
        expected = fc.conv1d(x, w, bias, algorithm="reference", activation="relu", **options)
        np.testing.assert_array_equal(got, expected)
    bytes_ = RNG.integers(0, 255, (1, 1, 1500)).astype(np.uint8)
    got = fc.conv1d(bytes_, w[:, :1], algorithm="fft", dtype=np.int64)
    expected = fc.conv1d(bytes_, w[:, :1], algorithm="direct", dtype=np.int64)
    np.testing.assert_array_equal(got, expected)


def test_alike_channels_add_up_their_roundings(isa):
    """Of one sine in all channels the sums of spectra are all rounded in the same direction."""
    t = np.arange(400)
    for channels in (40, 700):
        sine = np.cos(1.234 * t + 0.3)
        sine[150:] *= 1e-7  # what is loud must not reach the quiet
        x = np.broadcast_to(sine, (1, channels, 400))
        w = np.broadcast_to(np.cos(1.234 * t[:100]), (1, channels, 100))
        assert_accurate(fc.conv1d(x, w, padding=90, algorithm="fft"), x, w, padding=90)
        for loud in 2.0 ** np.arange(8, 20):
            x, w = (np.rint(loud * np.broadcast_to(a, (1, channels, a.shape[-1]))).astype(np.int64)
                    for a in (np.cos(0.37 * t), np.cos(0.37 * t[:100])))  # fmt: skip
            expected = fc.conv1d(x, w, algorithm="direct")
            np.testing.assert_array_equal(fc.conv1d(x, w, algorithm="fft"), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_whole_numbers_beside_large_ones_stay_exact(dtype):
    x = RNG.integers(-3, 4, (1, 2, 4, 400)).astype(dtype)
    w = RNG.integers(-3, 4, (2, 2, 3, 60)).astype(dtype)
    options = {"padding": ((1, 1), (40, 40)), "padding_mode": "constant", "fill_value": 1e12}
    got = fc.conv2d(x, w, algorithm="fft", **options)
    expected = fc.conv2d(x, w, algorithm="reference", **options)
    inside = (..., slice(1, -1), slice(40, -40))  # of the border
    np.testing.assert_array_equal(got[inside], expected[inside])
    # A value that no output sees, beyond an input that is not padded.
    for unseen in (0.5, np.nan):
        options = {"padding_mode": "constant", "fill_value": unseen}
        got = fc.conv2d(x, w, algorithm="fft", **options)
        np.testing.assert_array_equal(got, fc.conv2d(x, w, algorithm="reference"))


LONG = [
    ((1, 1, 1 << 20), (1, 1, 65536), {}),
    ((1, 1, 1 << 22), (1, 1, 1 << 20), {}),
    ((1, 1000, 500), (1, 1000, 200), {}),
    ((1, 64, 500), (64, 64, 300), {}),
    ((1, 1, 3000, 100), (1, 1, 2001, 40), {}),
    ((1, 1, 100, 100, 100), (1, 1, 40, 40, 40), {"padding": 20}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex64, np.complex128])
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LONG)
def test_scratch_is_bounded(isa, x_shape, w_shape, options, dtype):
    x, w = (np.broadcast_to(dtype(0), shape) for shape in (x_shape, w_shape))
    with contextlib.suppress(ValueError):  # some have spectra beyond 128 MB
        told = fc.explain(x, w, algorithm="fft", **options)
        assert told.scratch_bytes_per_thread <= 8_000_000


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.complex64])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 3, 300, 20), (2, 3, 100, 3), {"padding": (50, 1)}),
        ((1, 4, 90, 70), (4, 2, 41, 5), {"groups": 2, "stride": (1, 2), "padding_mode": "reflect",
                                         "padding": (20, 2)}),
        ((1, 2, 120, 6, 8), (3, 2, 50, 2, 3), {"dilation": (2, 1, 1), "flip": True}),
        ((2, 1, 9, 150, 12), (2, 1, 4, 60, 2), {"layout": "NCHW", "padding": (1, 30, 0)}),
    ],
)  # fmt: skip
def test_tall_kernels(x_shape, w_shape, options, dtype):
    """Transforms run along the longest axis of the kernel."""
    x, w = ((normal(*shape) * 9).astype(dtype) for shape in (x_shape, w_shape))
    x[0, 0, x.shape[2] // 2] *= 1000
    got = convolved(x, w, algorithm="fft", **options)
    expected = convolved(x, w, algorithm="direct", **options)
    if dtype is np.int32:
        np.testing.assert_array_equal(got, expected)
        return
    atol = 100 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
    if dtype is not np.complex64:
        assert_accurate(got, x, w, **{k: v for k, v in options.items() if k != "layout"})
    x[-1, 0, 3] = np.inf
    x[0, -1, -2] = np.nan
    got = convolved(x, w, algorithm="fft", **options)
    expected = convolved(x, w, algorithm="direct", **options)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    layer = {3: fc.Conv1d, 4: fc.Conv2d, 5: fc.Conv3d}[w.ndim](w, algorithm="fft", **options)
    np.testing.assert_array_equal(layer(x), got)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_and_batch_do_not_matter(dtype):
    x, w = normal(5, 2, 3000, dtype=dtype), normal(3, 2, 400, dtype=dtype)
    x[3, 1, 1000:1100] *= dtype(1e9)
    with fc.num_threads(1):
        expected = fc.conv1d(x, w, algorithm="fft")
    with fc.num_threads(3):
        np.testing.assert_array_equal(fc.conv1d(x, w, algorithm="fft"), expected)
    for image, of_image in zip(x, expected, strict=True):
        np.testing.assert_array_equal(fc.conv1d(image, w, algorithm="fft"), of_image)


def test_it_is_chosen_for_long_rows_alone():
    def algorithm(x_shape, w_shape, **options):
        x = np.broadcast_to(np.float32(0), x_shape)
        return fc.explain(x, normal(*w_shape), **options).algorithm  # no outer product

    assert algorithm((1, 1, 1_000_000), (1, 1, 2000)) == "fft"
    assert algorithm((1, 1, 1080, 1920), (1, 1, 63, 63), padding=31) == "fft"
    assert algorithm((1, 64, 56, 56), (64, 64, 3, 3), padding=1) != "fft"
    assert algorithm((1, 1, 1_000_000), (1, 1, 15)) == "direct"
    assert algorithm((1, 1, 1080, 1920), (1, 1, 501, 5), padding=(250, 2)) == "fft"
    assert algorithm((1, 1, 100), (1, 1, 50)) == "direct"
    # Borders see few products, which transforms of float64 would not make accurately enough.
    x, w = np.zeros((1, 1, 300)), np.zeros((1, 1, 40))
    assert fc.explain(x, w, padding=39).algorithm == "direct"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plans(dtype):
    w = normal(3, 2, 500, dtype=dtype)
    layer = fc.Conv1d(w, padding=250, algorithm="fft")
    for n in (4000, 300, 4000, 20_000):  # other cuts, other spectra
        x = normal(1, 2, n, dtype=dtype)
        assert_accurate(layer(x), x, w, padding=250)
        np.testing.assert_array_equal(layer(x), layer(x))
    assert layer.explain((1, 2, 4000)).algorithm == "fft"
    out = np.empty((1, 3, 4001), dtype)
    assert layer(normal(1, 2, 4000, dtype=dtype), out) is out


def test_what_it_cannot_compute():
    x = np.broadcast_to(np.float32(1), (1, 4096, 5000))
    w = np.broadcast_to(np.float32(1), (4096, 4096, 1000))
    with pytest.raises(ValueError, match=r"too much memory for the spectra"):
        fc.explain(x, w, algorithm="fft")
    assert fc.explain(x, w).algorithm != "fft"


def test_pictures_of_bytes_are_rounded_as_by_sums():
    picture = RNG.integers(0, 256, (90, 130, 3)).astype(np.uint8)
    kernel = RNG.random((41, 41)).astype(np.float32)
    kernel /= kernel.sum()
    x = np.moveaxis(picture, -1, 0)[:, None].astype(np.float32)
    options = {"padding": 20, "padding_mode": "reflect"}
    assert fc.explain(x, kernel[None, None], **options).algorithm == "fft"
    exact = np.moveaxis(conv(x, kernel[None, None], **options)[:, 0], 0, -1)
    got = fc.image.filter2d(picture, kernel)
    ties = np.abs(exact % 1 - 0.5) < 1e-4
    np.testing.assert_array_equal(got[~ties], np.rint(exact)[~ties])
    assert np.abs(got - exact).max() <= 0.5001
    box = np.full((32, 32), 2.0**-10, np.float32)  # of which ties are exact
    sums = fc.conv2d(
        x,
        box[None, None],
        padding=((16, 15), (16, 15)),
        padding_mode="reflect",
        algorithm="reference",
    )
    expected = np.rint(np.moveaxis(sums[:, 0], 0, -1))
    np.testing.assert_array_equal(fc.image.filter2d(picture, box), expected)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_signals(mode):
    a, b = normal(20_000, dtype=np.float64), normal(3000, dtype=np.float64)
    for name in ("convolve", "correlate"):
        function, judge = getattr(fc, name), getattr(np, name)
        expected = judge(a, b, mode)
        for method in ("auto", "fft", "direct"):
            np.testing.assert_allclose(function(a, b, mode, method), expected, rtol=0, atol=1e-10)
    z = a + 1j * a[::-1]
    np.testing.assert_allclose(
        fc.convolve(z, b, mode, "fft"), np.convolve(z, b, mode), rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(
        fc.convolve(a, b + 1j, mode, "fft"), np.convolve(a, b + 1j, mode), rtol=0, atol=1e-9
    )
