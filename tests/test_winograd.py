"""Winograd's algorithm: where it runs, that it is as accurate as promised, and where it must not.

Bit-exactness on small integers is in ``tests/cpp/test_engine.cpp`` and here, by name.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from reference import absolute, conv, gamma, per_axis
from test_accuracy import CHANCE, rms, sequential_fma

UNIT = 2.0**-24
SEED = 20
RNG = np.random.default_rng(SEED)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def chosen(x, w, **options):
    return fc.explain(x, w, **options).algorithm


def relative_error(got, x, w, **options):
    """Largest error in units of ``u * S``."""
    s = np.maximum(absolute(x, w, **options), np.finfo(np.float64).tiny)
    return (np.abs(got - conv(x, w, **options)) / s).max() / UNIT


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize(
    ("size", "dilation", "padding"),
    [((9, 9), 1, 1), ((17, 40), 1, 0), ((31, 8), (1, 2), 2), ((33, 33), 3, (3, 1)), ((3, 3), 1, 1)],
)
def test_against_the_reference(isa, size, dilation, padding, precision, layout, groups):
    x, w = normal(2, groups * 33, *size), normal(groups * 19, 33, 3, 3)
    bias = normal(groups * 19)
    options = {"dilation": dilation, "padding": padding, "groups": groups}
    given = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    got = fc.conv2d(
        given, w, bias, algorithm="winograd", precision=precision, layout=layout, **options
    )
    got = got if layout == "NCHW" else np.moveaxis(got, -1, 1)
    expected = conv(x, w, bias, **options)
    bound = gamma(33 * 9 + 2, UNIT) if precision == "highest" else 2.0**-15
    assert (np.abs(got - expected) <= bound * absolute(x, w, bias, **options)).all()
    direct = fc.conv2d(x, w, bias, algorithm="direct", **options)
    assert not np.array_equal(got, direct), "another order of summation ran"


KERNELS = [
    ((2, 2), 1),
    ((1, 2), 1),
    ((2, 3), 1),
    ((3, 3), 2),  # a block of one tap in each axis
    ((3, 3), (1, 2)),
    ((3, 2), (2, 1)),
    ((1, 3), 2),
    ((4, 4), 2),
    ((5, 5), 2),  # three taps and two
    ((3, 5), 2),
    ((3, 4), 1),
    ((4, 4), 1),
    ((5, 5), 1),
    ((7, 7), 1),  # two blocks of an axis share their input
    ((1, 3), 1),
    ((1, 9), 1),
    ((6, 7), 2),
    ((5, 6), (1, 2)),
    ((1, 8), (2, 1)),
]


def fewest_channels(kernel, stride):
    """Of those that the algorithm takes."""
    three = kernel[1] == 3 and per_axis(stride, 2)[1] == 1
    terms = 288 if kernel[0] > 1 else 108 if three else 144
    return -(-terms // (kernel[0] * kernel[1]))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_other_kernels_are_sums_of_small_blocks(isa, kernel, stride, precision, layout):
    channels = max(40, fewest_channels(kernel, stride))
    x, w, bias = normal(1, channels, 23, 38), normal(21, channels, *kernel), normal(21)
    options = {"stride": stride, "padding": (1, 0)}
    given = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    got = fc.conv2d(
        given, w, bias, algorithm="winograd", precision=precision, layout=layout, **options
    )
    got = got if layout == "NCHW" else np.moveaxis(got, -1, 1)
    terms = channels * kernel[0] * kernel[1]
    bound = gamma(terms + 2, UNIT) if precision == "highest" else 2.0**-15
    s = absolute(x, w, bias, **options)
    assert (np.abs(got - conv(x, w, bias, **options)) <= bound * s).all()
    x, w = (RNG.integers(-3, 4, a.shape).astype(np.float32) for a in (x, w))
    got = fc.conv2d(x, w, algorithm="winograd", **options)
    assert np.array_equal(got, conv(x, w, **options))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride"),
    [(max(32, fewest_channels(k, s)), k, s) for k, s in KERNELS]
    + [(fewest_channels(k, s), k, s) for k, s in KERNELS],
)
def test_the_error_is_that_of_a_sum_in_order(channels, kernel, stride, relu):
    x, w = normal(1, channels, 34, 34), normal(16, channels, *kernel)
    if relu:
        x = np.maximum(x, 0)
    bias = np.zeros(16, np.float32)
    exact = conv(x, w, bias, stride=stride, wide=True)
    in_order = min(
        rms(sequential_fma(x, w, bias, inside, stride=stride) - exact) for inside in (False, True)
    )
    got = fc.conv2d(x, w, bias, stride, algorithm="winograd")
    assert rms(got - exact) <= CHANCE * in_order


@pytest.mark.parametrize("dilation", [1, 8])
@pytest.mark.parametrize("taps", [3, 5, 13, 51])
def test_one_dimension(isa, taps, dilation):
    x, w = normal(2, 50, 700), normal(18, 50, taps)
    got = fc.conv1d(x, w, padding=5, dilation=dilation, algorithm="winograd")
    options = {"padding": 5, "dilation": dilation}
    bound = gamma(50 * taps + 1, UNIT) * absolute(x, w, **options)
    assert (np.abs(got - conv(x, w, **options)) <= bound).all()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_three_dimensions(isa, kernel, depth):
    x, w = normal(1, 34, depth, 14, 15), normal(9, 34, kernel, 3, 3)
    for mode in ("zeros", "edge"):
        options = {"padding": 1, "padding_mode": mode}
        got = fc.conv3d(x, w, algorithm="winograd", **options)
        bound = gamma(34 * 9 * kernel + 1, UNIT) * absolute(x, w, **options)
        assert (np.abs(got - conv(x, w, **options)) <= bound).all()


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, np.complex128, np.float16])
def test_other_types(dtype):
    x, w = normal(1, 40, 12, 13), normal(20, 40, 3, 3)
    if np.dtype(dtype).kind == "c":
        x, w = x + 1j * normal(*x.shape), w - 1j * normal(*w.shape)
    x, w = x.astype(dtype), w.astype(dtype)
    got = fc.conv2d(x, w, padding=1, algorithm="winograd")
    assert got.dtype == dtype
    unit = np.finfo(dtype).eps / 2
    s = absolute(x, w, padding=1)
    assert (np.abs(got - conv(x, w, padding=1)) <= 2 * gamma(40 * 9 + 8, unit) * s).all()


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), *KERNELS])
def test_an_output_reads_no_more_than_its_window(isa, kernel, stride):
    """Where a window holds zeros alone the result is zero, whatever lies beside it."""
    channels = max(40, fewest_channels(kernel, stride))
    x, w = normal(1, channels, 30, 40), normal(9, channels, *kernel)
    x[:, :, :, 11:25] = 0
    x[:, :, 3:15] = 0
    got = fc.conv2d(x, w, stride=stride, padding=4, algorithm="winograd")
    assert (got[absolute(x, w, stride=stride, padding=4) == 0] == 0).all()
    assert (got == 0).any()


def test_small_integers_are_exact(isa):
    x = RNG.integers(-4, 5, (2, 48, 21, 22)).astype(np.float32)
    w = RNG.integers(-4, 5, (25, 48, 3, 3)).astype(np.float32)
    expected = conv(x, w, padding=1)
    assert np.array_equal(fc.conv2d(x, w, padding=1, algorithm="winograd"), expected)


def test_whole_numbers_stay_exact_to_the_last_bit():
    """The transforms would need two bits more than float32 has."""
    x = RNG.integers(150, 256, (1, 64, 20, 20)).astype(np.float32)
    w = RNG.integers(60, 101, (64, 64, 3, 3)).astype(np.float32)
    expected = conv(x, w)
    assert 2.0**22 < expected.max() < 2.0**24
    assert np.array_equal(fc.conv2d(x, w), expected)


def test_heavy_layers_choose_it(no_tiles):
    x, w = normal(1, 64, 56, 56), normal(64, 64, 3, 3)
    assert chosen(x, w, padding=1) == "winograd"
    assert chosen(x, normal(64, 64, 5, 5), padding=2) == "winograd"
    assert chosen(x, w, padding=1, stride=2) == "winograd"
    assert chosen(x[..., :14, :14], w, padding=1, stride=2) == "direct"
    assert chosen(x.astype(np.int32), w.astype(np.int32), padding=1) == "direct"
    assert chosen(normal(1, 3, 56, 56), normal(64, 3, 3, 3)) == "direct"


@pytest.mark.parametrize(
    ("x", "w", "options", "why"),
    [
        ((1, 40, 9, 9), (8, 40, 1, 1), {}, "two taps"),
        ((1, 40, 9, 9), (8, 40, 2, 2), {"stride": 2}, "two taps"),
        ((1, 40, 9, 9), (8, 40, 1, 3), {"stride": (1, 4)}, "stride"),
        ((1, 40, 9, 99), (8, 40, 1, 65), {}, "too long"),
        ((1, 40, 9, 9), (8, 40, 3, 3), {"stride": 3}, "stride"),
        ((1, 40, 9, 9), (8, 40, 5, 5), {"stride": 2, "dilation": 2}, "stride and dilation"),
        ((1, 40, 3, 9), (8, 40, 3, 3), {}, "one output"),
        ((1, 8, 9, 9), (8, 8, 3, 3), {}, "too few input channels"),
        ((1, 11, 9, 9), (8, 11, 5, 5), {}, "too few input channels"),
        ((1, 31, 9, 9), (8, 31, 3, 3), {"stride": 2}, "too few input channels"),
        ((1, 71, 9, 9), (8, 71, 1, 2), {}, "too few input channels"),
    ],
)
def test_what_it_cannot_compute_it_refuses(x, w, options, why):
    with pytest.raises(ValueError, match=f"winograd.*{why}"):
        fc.conv2d(normal(*x), normal(*w), algorithm="winograd", **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_that_are_not_finite_reach_no_more_than_their_windows(value, layer, stride):
    x, w = normal(3, 64, 30 * stride, 30 * stride), normal(64, 64, 3, 3)
    x[1, 5, 11, 12] = value
    options = {"padding": 1, "stride": stride}
    call = fc.Conv2d(w, **options) if layer else lambda x: fc.conv2d(x, w, **options)
    got = call(x)
    spot = (~np.isfinite(x[1:2, 5:6])).astype(np.float32)
    touched = conv(spot, np.ones((1, 1, 3, 3)), **options)[0, 0] > 0
    assert touched.sum() == (9 if stride == 1 else 2)
    assert not np.isfinite(got[1][:, touched]).any()
    assert np.isfinite(got[1][:, ~touched]).all()
    assert np.isfinite(got[[0, 2]]).all()
    direct = fc.conv2d(x[1:2], w, algorithm="direct", **options)
    np.testing.assert_array_equal(got[1:2], direct)
    w[3, 2, 1, 1] = value
    got = fc.conv2d(x[:1], w, **options)
    assert np.isfinite(got[0, np.arange(64) != 3]).all()


def test_a_batch_gives_the_bits_of_its_images():
    x, w = normal(4, 64, 20, 20), normal(48, 64, 3, 3)
    x[2, 0, 0, 0] = 1e30
    together = fc.conv2d(x, w, padding=1)
    for n in range(4):
        assert np.array_equal(together[n : n + 1], fc.conv2d(x[n : n + 1], w, padding=1))


HARD = {
    "an impulse": lambda s: np.eye(1, int(np.prod(s)), 777).reshape(s),
    "magnitudes over 60 decades": lambda s: RNG.standard_normal(s) * 10.0 ** RNG.uniform(-30, 8, s),
    "magnitudes over 12 decades": lambda s: RNG.standard_normal(s) * 10.0 ** RNG.uniform(-6, 6, s),
    "magnitudes over 4 decades": lambda s: RNG.standard_normal(s) * 10.0 ** RNG.uniform(-2, 2, s),
    "one in a hundred": lambda s: RNG.standard_normal(s) * (RNG.random(s) < 0.01),
    "one in ten": lambda s: RNG.standard_normal(s) * (RNG.random(s) < 0.1),
    "one outlier": lambda s: (
        RNG.standard_normal(s) + np.eye(1, int(np.prod(s)), 99).reshape(s) * 1e20
    ),
    "heavy tails": lambda s: RNG.standard_cauchy(s),
    "normal": lambda s: RNG.standard_normal(s),
    "after a ReLU": lambda s: np.maximum(RNG.standard_normal(s), 0),
    "tiny": lambda s: RNG.standard_normal(s) * 1e-30,
    "large": lambda s: RNG.standard_normal(s) * 1e16,
    "one channel far above the rest": lambda s: (
        RNG.standard_normal(s) * np.where(np.arange(s[1]) == 3, 1e6, 1.0).reshape(1, -1, 1, 1)
    ),
}


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3), 1), ((3, 3), 2), ((6, 6), 2), ((5, 5), 1), ((5, 5), 2), ((1, 3), 1)],
)
@pytest.mark.parametrize("weights", sorted(HARD))
@pytest.mark.parametrize("inputs", sorted(HARD))
def test_the_bound_holds_whatever_the_magnitudes(inputs, weights, kernel, stride):
    x = HARD[inputs]((1, 64, 16, 16)).astype(np.float32)
    w = HARD[weights]((24, 64, *kernel)).astype(np.float32)
    options = {"padding": 1, "stride": stride}
    got = fc.conv2d(x, w, algorithm="winograd", **options)
    s = absolute(x, w, **options)
    terms = w[0].size + 1
    # What underflows is no relative error: 2**-150 is half of the smallest number there is.
    bound = gamma(terms, UNIT) * s + terms * 2.0**-150
    assert (np.abs(got - conv(x, w, **options)) <= bound).all()


UNSEEN = {
    "rows": lambda i, j: i % 2,
    "columns": lambda i, j: j % 2,
    "a half": lambda i, j: i < 12,
    "dots": lambda i, j: i % 3 + j % 3,
}
MASKS = {
    "a row": lambda i, j: i == 1,
    "a column": lambda i, j: j == 1,
    "a point": lambda i, j: (i == 1) & (j == 1),
    "what came before": lambda i, j: (i < 1) | (i == 1) & (j < 1),
    "a diagonal": lambda i, j: i == j,
    "all but a corner": lambda i, j: (i > 0) | (j > 0),
}


@pytest.mark.parametrize("quiet", [0, 1e-6])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((5, 5), 1)])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("image", UNSEEN)
def test_the_bound_holds_where_a_kernel_hardly_looks(image, mask, kernel, stride, quiet):
    """Loud inputs under weights that are zero in all channels add to no output."""
    x, w = normal(1, 48, 24, 24), normal(24, 48, *kernel)
    x *= np.where(np.fromfunction(UNSEEN[image], (24, 24)), 1, quiet).astype(np.float32)
    w *= np.maximum(np.fromfunction(MASKS[mask], kernel), quiet).astype(np.float32)
    options = {"padding": 1, "stride": stride}
    named = {**options, "algorithm": "winograd"}
    bound = gamma(w[0].size + 1, UNIT) * absolute(x, w, **options)
    expected = conv(x, w, **options)
    for got in (fc.conv2d(x, w, **named), fc.Conv2d(w, **named)(x)):
        assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("boxes", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_weights_of_a_call_are_those_of_a_plan(isa, threads, boxes, stride):
    """Large weights for few boxes are transformed a panel at a time, as they are multiplied."""
    x, w = normal(1, 256, 14 * stride, 14 * boxes * stride), normal(272, 256, 3, 3)
    options = {"padding": 1, "stride": stride, "algorithm": "winograd"}
    with fc.num_threads(threads):
        np.testing.assert_array_equal(fc.conv2d(x, w, **options), fc.Conv2d(w, **options)(x))


@pytest.mark.parametrize("threads", [1, 2])
def test_large_weights_that_do_not_suit_take_the_direct_path(threads):
    """Found while the image is computed, in the last panel."""
    x, w = normal(1, 256, 14, 14), normal(256, 256, 3, 3)
    w[255] *= 1e-20
    w[255, 0, 1, 1] = 1
    with fc.num_threads(threads):
        got = fc.conv2d(x, w, padding=1)
        direct = fc.conv2d(x, w, padding=1, algorithm="direct")
    np.testing.assert_array_equal(got, direct)


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_precision_of_float32_is_not_that_of_float64(precision, dtype):
    x, w = (a.astype(dtype) for a in (normal(1, 64, 30, 30), normal(64, 64, 3, 3)))
    for algorithm in ("auto", "winograd"):
        options = {"padding": 1, "algorithm": algorithm}
        np.testing.assert_array_equal(
            fc.conv2d(x, w, precision=precision, **options), fc.conv2d(x, w, **options)
        )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_errors_beside_silence(isa, layout):
    """Under "highest" outputs that see zeros are zero; under "high" their tile bounds the error."""
    x, w = normal(1, 64, 33, 40), normal(24, 64, 3, 3)
    x[..., :18] = 0
    x[:, :, :9] = 0
    s, exact = absolute(x, w, padding=1), conv(x, w, padding=1)
    tile = np.lib.stride_tricks.sliding_window_view(
        np.pad(s, ((0, 0), (0, 0), (3, 3), (3, 3))), (7, 7), axis=(2, 3)
    ).max(axis=(-2, -1))
    given = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    for precision, bound in (("highest", gamma(64 * 9 + 1, UNIT) * s), ("high", 2.0**-15 * tile)):
        options = {"padding": 1, "layout": layout, "algorithm": "winograd"}
        y = fc.conv2d(given, w, precision=precision, **options)
        y = y if layout == "NCHW" else np.moveaxis(y, -1, 1)
        assert (np.abs(y - exact) <= bound).all()


def test_weights_of_few_channels_do_not_suit():
    """Of random ones some are small in all channels: packing them would be for nothing."""
    x, w = normal(1, 3, 15, 15), normal(49, 3, 13, 13)
    assert fc.explain(x, w, padding=6).algorithm != "winograd"


@pytest.mark.parametrize("channels", [4, 6])
def test_few_channels_last_are_not_sparse(channels):
    """What fills up their vectors are no elements of the input: it takes the algorithm."""
    options = {"padding": 2, "layout": "NDHWC"}
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 5, 5, 5, channels)).astype(np.float32)
    w = rng.standard_normal((10, channels, 5, 5, 5)).astype(np.float32)
    y = fc.conv3d(x, w, algorithm="winograd", **options)
    assert not np.array_equal(y, fc.conv3d(x, w, algorithm="direct", **options))
    first = np.moveaxis(x, -1, 1)
    s = absolute(first, w, padding=2)
    assert np.all(
        np.abs(np.moveaxis(y, -1, 1) - conv(first, w, padding=2))
        <= gamma(channels * 125 + 1, UNIT) * np.maximum(s, np.finfo(np.float64).tiny)
    )
