"""Products of tiles: float32 by parts of bfloat16, half precision, bytes and int16.

Where the processor has no tiles, plain loops take their place when the algorithm is named, with the
same bits (``tests/cpp/test_tiles.cpp`` compares them), so all of this runs everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from reference import absolute, conv, gamma
from test_accuracy import CHANCE, rms, sequential_fma

UNIT = 2.0**-24
SEED = 31
RNG = np.random.default_rng(SEED)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def split(x, w, bias=None, **options):
    return getattr(fc, f"conv{x.ndim - 2}d")(x, w, bias, algorithm="amx_split", **options)


LAYERS = {
    "3x3": ((1, 64, 13, 14), (40, 64, 3, 3), {"padding": 1}),
    "1x1": ((2, 70, 7, 7), (33, 70, 1, 1), {}),
    "7x7": ((1, 512, 7, 7), (16, 512, 3, 3), {"padding": 1}),
    "stride 2": ((1, 40, 15, 17), (20, 40, 3, 3), {"stride": 2, "padding": 1}),
    "stride 3, dilation 2": ((1, 33, 20, 21), (17, 33, 3, 2), {"stride": 3, "dilation": 2}),
    "groups": ((1, 96, 9, 12), (48, 32, 3, 3), {"groups": 3, "padding": (2, 0)}),
    "few channels": ((1, 12, 20, 20), (32, 12, 5, 5), {"padding": 2, "padding_mode": "reflect"}),
    "one channel more": ((1, 33, 9, 9), (16, 33, 2, 2), {}),
    "1-D": ((2, 32, 700), (16, 32, 9), {"padding": 4}),
    "3-D": ((1, 34, 5, 6, 7), (18, 34, 3, 3, 3), {"padding": 1, "padding_mode": "wrap"}),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("layer", LAYERS)
def test_against_the_reference(isa, layer, layout):
    x_shape, w_shape, options = LAYERS[layer]
    x, w, bias = normal(*x_shape), normal(*w_shape), normal(w_shape[0])
    exact, s = conv(x, w, bias, wide=True, **options), absolute(x, w, bias, **options)
    given_x = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    terms = w[0].size + 1
    for precision, bound in (
        ("highest", gamma(terms, UNIT)),
        ("high", 2.0**-15 + gamma(terms, UNIT)),
        ("medium", 2.0**-7 + gamma(terms, UNIT)),
    ):
        got = split(given_x, w, bias, layout=layout, precision=precision, **options)
        got = got if layout == "NCHW" else np.moveaxis(got, -1, 1)
        assert (np.abs(got - exact) <= bound * s).all(), precision
        # Not the float32 path under another name.
        direct = fc.explain(given_x, w, layout=layout, algorithm="direct", **options)
        assert direct.algorithm == "direct"
        if precision != "highest":
            assert rms(got - exact) > 2.0**-21 * rms(exact)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_error_is_that_of_a_sum_in_order(layer, relu):
    x_shape, w_shape, options = LAYERS[layer]
    x, w = normal(*x_shape), normal(*w_shape)
    if relu:
        x = np.maximum(x, 0)
    zero = np.zeros(w_shape[0], np.float32)
    exact = conv(x, w, zero, wide=True, **options)
    in_order = max(
        rms(sequential_fma(x, w, zero, inside, **options) - exact) for inside in (False, True)
    )
    assert rms(split(x, w, **options) - exact) <= CHANCE * in_order


def test_every_instruction_set_gives_the_same_bits():
    x, w = normal(2, 48, 11, 12), normal(40, 48, 3, 3)
    results = []
    for name in fc.available_isas():
        with fc.isa(name):
            results.append(split(x, w, padding=1))
    for got in results[1:]:
        np.testing.assert_array_equal(got, results[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_plan_gives_the_bits_of_a_call(isa, threads):
    x, w = normal(3, 64, 14, 14), normal(96, 64, 3, 3)
    layer = fc.Conv2d(w, padding=1, algorithm="amx_split")
    with fc.num_threads(1):
        expected = split(x, w, padding=1)
    with fc.num_threads(threads):
        np.testing.assert_array_equal(layer(x), expected)
        for n in range(3):
            np.testing.assert_array_equal(layer(x[n : n + 1]), expected[n : n + 1])


@given(
    rank=st.integers(1, 3),
    channels=st.integers(1, 70),
    filters=st.integers(1, 40),
    groups=st.integers(1, 2),
    data=st.data(),
)
@settings(max_examples=60)
def test_small_integers_are_exact(rank, channels, filters, groups, data):
    draw = data.draw
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    stride = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilation = [draw(st.integers(1, 2)) for _ in range(rank)]
    size = [(k - 1) * d + draw(st.integers(1, 9)) for k, d in zip(kernel, dilation, strict=True)]
    options = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": [draw(st.integers(0, 2)) for _ in range(rank)],
        "padding_mode": draw(st.sampled_from(["zeros", "edge", "wrap"])),
        "flip": draw(st.booleans()),
    }
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-4, 5, (2, groups * channels, *size)).astype(np.float32)
    w = rng.integers(-4, 5, (groups * filters, channels, *kernel)).astype(np.float32)
    precision = draw(st.sampled_from(["highest", "high", "medium"]))
    if precision == "highest" and channels < 12:
        with pytest.raises(ValueError, match=r"amx_split.*too few input channels"):
            split(x, w, **options)
        return
    assert np.array_equal(split(x, w, precision=precision, **options), conv(x, w, **options))


HARD = {
    "an infinity": lambda s: _with(s, np.inf),
    "a NaN": lambda s: _with(s, np.nan),
    "a denormal": lambda s: _with(s, 1e-40),
    "the largest": lambda s: _with(s, np.finfo(np.float32).max),
    "magnitudes over 60 decades": lambda s: (
        RNG.standard_normal(s) * 10.0 ** RNG.uniform(-30, 30, s)
    ),
    "magnitudes over 12 decades": lambda s: RNG.standard_normal(s) * 10.0 ** RNG.uniform(-6, 6, s),
    "tiny": lambda s: RNG.standard_normal(s) * 1e-30,
    "large": lambda s: RNG.standard_normal(s) * 1e16,
    "one in ten": lambda s: RNG.standard_normal(s) * (RNG.random(s) < 0.1),
    "zeros": np.zeros,
    "normal": lambda s: RNG.standard_normal(s),
}


def _with(shape, value):
    x = RNG.standard_normal(shape)
    x.flat[77] = value
    return x


@pytest.mark.parametrize("weights", HARD)
@pytest.mark.parametrize("inputs", HARD)
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_the_bound_holds_whatever_the_magnitudes(inputs, weights, precision):
    """Where the parts would not do, the result is that of the direct path, bit for bit."""
    x = HARD[inputs]((1, 40, 8, 9)).astype(np.float32)
    w = HARD[weights]((16, 40, 3, 3)).astype(np.float32)
    got = split(x, w, padding=1, precision=precision)
    direct = fc.conv2d(x, w, padding=1, algorithm="direct")
    if not {inputs, weights}.isdisjoint(
        {"an infinity", "a NaN", "a denormal", "the largest", "magnitudes over 60 decades"}
    ):
        # All-zero weights go with any finite input.
        if not (weights == "zeros" and np.isfinite(x).all()):
            np.testing.assert_array_equal(got, direct)
        return
    s = absolute(x, w, padding=1)
    terms = w[0].size + 1
    bound = gamma(terms, UNIT) * s + terms * 2.0**-150
    if precision == "high":
        bound += 2.0**-15 * s
    assert (np.abs(got - conv(x, w, padding=1)) <= bound).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-42, 3e38])
@pytest.mark.parametrize("layer", [False, True])
def test_one_image_of_a_batch_takes_the_direct_path(value, layer):
    x, w = normal(3, 40, 9, 10), normal(20, 40, 3, 3)
    alone = split(x, w)
    x[1, 5, 3, 4] = value
    call = fc.Conv2d(w, algorithm="amx_split") if layer else lambda x: split(x, w)
    got = call(x)
    np.testing.assert_array_equal(got[[0, 2]], alone[[0, 2]])
    np.testing.assert_array_equal(got[1:2], fc.conv2d(x[1:2], w, algorithm="direct"))


# Outputs of more than one box, whatever the size of L2.
LARGE = {
    "3x3": ((64, 64, 66), (16, 64, 3, 3), {"padding": 1}),
    "channels last": ((64, 64, 66), (16, 64, 3, 3), {"padding": 1, "layout": "NHWC"}),
    "stride 2": ((64, 70, 68), (16, 64, 3, 3), {"padding": 1, "stride": 2}),
    "1x1": ((96, 60, 70), (32, 96, 1, 1), {}),
    "groups": ((128, 50, 50), (32, 64, 3, 3), {"groups": 2}),
    "3-D": ((64, 9, 20, 24), (16, 64, 2, 1, 3), {"padding": 1}),
}


@pytest.mark.parametrize(("value", "corner"), [(np.nan, False), (1e-42, True)])
@pytest.mark.parametrize("layer", LARGE)
def test_only_outputs_around_it_take_the_direct_path(layer, value, corner):
    x_shape, w_shape, options = LARGE[layer]
    x, w = normal(2, *x_shape), normal(*w_shape)
    if "layout" in options:
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    options = {**options, "precision": "high"}
    alone = split(x, w, **options)
    pixel = tuple(0 if corner else n // 2 for n in x_shape[1:])
    at = (*pixel, 5) if "layout" in options else (5, *pixel)
    x[1][at] = value
    mark = np.zeros_like(x[1:])
    mark[0][at] = 1
    by_direct = {**options, "algorithm": "direct"}
    convolve = getattr(fc, f"conv{x.ndim - 2}d")
    direct = convolve(x[1:], w, **by_direct)[0]
    sees_it = convolve(mark, np.ones_like(w), **by_direct)[0] != 0
    with fc.num_threads(1):
        got = split(x, w, **options)
    with fc.num_threads(3):
        np.testing.assert_array_equal(split(x[1:], w, **options)[0], got[1])
    np.testing.assert_array_equal(got[0], alone[0])
    is_direct = (got[1] == direct) | np.isnan(got[1]) & np.isnan(direct)
    assert (is_direct | (got[1] == alone[1])).all()
    assert is_direct[sees_it].all()
    assert sees_it.any()
    assert np.mean(got[1] != alone[1]) < 0.9


def test_medium_lets_values_that_are_not_finite_through():
    x, w = normal(1, 32, 6, 6), normal(16, 32, 3, 3)
    x[0, 3, 2, 2], x[0, 4, 5, 5] = np.inf, np.nan
    got = split(x, w, precision="medium")
    direct = fc.conv2d(x, w, algorithm="direct")
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(direct))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(direct))


def test_precision_is_named_in_three_places():
    x, w = normal(1, 32, 6, 6), normal(16, 32, 3, 3)
    by_call = split(x, w, precision="medium")
    with fc.precision("medium"):
        np.testing.assert_array_equal(split(x, w), by_call)
        layer = fc.Conv2d(w, algorithm="amx_split")
    np.testing.assert_array_equal(layer(x), by_call)
    fc.set_precision("medium")
    try:
        np.testing.assert_array_equal(split(x, w), by_call)
    finally:
        fc.set_precision("highest")
    assert not np.array_equal(split(x, w), by_call)


@pytest.mark.parametrize("padding_mode", ["zeros", "symmetric"])
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_half_precision_arrays_lose_nothing_but_the_last_rounding(isa, precision, padding_mode):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype, unit in ((np.float16, 2.0**-11), (ml_dtypes.bfloat16, 2.0**-8)):
        x, w = normal(1, 40, 10, 11).astype(dtype), normal(20, 40, 3, 3).astype(dtype)
        options = {"padding": 1, "padding_mode": padding_mode}
        got = split(x, w, precision=precision, **options)
        assert got.dtype == dtype
        wide = [a.astype(np.float64) for a in (x, w)]
        exact, s = conv(*wide, **options), absolute(*wide, **options)
        sums = gamma(w[0].size + 1, UNIT)
        if precision != "highest" and dtype is np.float16:
            sums += 2.0**-15
        assert (
            np.abs(got.astype(np.float64) - exact) <= unit * np.abs(exact) + 1.01 * sums * s
        ).all()


@pytest.mark.parametrize("exponent", [-24, -14, 4])
@pytest.mark.parametrize("layer", [*LAYERS])
def test_products_of_float16_are_exact(layer, exponent):
    """Of subnormal numbers too: nothing but the sums is rounded, as those of AMX-FP16 are."""
    x_shape, w_shape, options = LAYERS[layer]
    x = (RNG.integers(-2047, 2048, x_shape) * 2.0**exponent).astype(np.float16)
    w = (RNG.integers(-15, 16, w_shape) * 2.0**-20).astype(np.float16)
    wide = [a.astype(np.float64) for a in (x, w)]
    exact, s = conv(*wide, **options), absolute(*wide, **options)
    got = split(x, w, dtype=np.float32, **options)
    assert got.dtype == np.float32
    assert (np.abs(got - exact) <= gamma(w[0].size + 1, UNIT) * s).all()
    assert rms(got - exact) <= 2.0**-20 * rms(exact)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["input", "weights"])
def test_float16_that_is_not_finite_takes_the_direct_path(isa, where, value):
    x, w = normal(2, 40, 9, 10, dtype=np.float16), normal(20, 40, 3, 3, dtype=np.float16)
    (x if where == "input" else w)[1, 5, 2, 2] = value
    got = split(x, w, padding=1)
    direct = fc.conv2d(x, w, padding=1, algorithm="direct")
    np.testing.assert_array_equal(got[1], direct[1])
    if where == "weights":
        np.testing.assert_array_equal(got, direct)


@pytest.mark.parametrize("fill", [0.1, -3.0, 1e-6])
def test_a_border_that_half_precision_cannot_hold(fill):
    x, w = normal(1, 20, 5, 6).astype(np.float16), normal(16, 20, 3, 3).astype(np.float16)
    got = split(x, w, padding=1, fill_value=fill)
    direct = fc.conv2d(x, w, padding=1, fill_value=fill, algorithm="direct")
    np.testing.assert_allclose(got.astype(float), direct.astype(float), rtol=2e-3, atol=2e-3)


def test_complex_numbers_are_split_too():
    x = normal(1, 20, 8, 9) + 1j * normal(1, 20, 8, 9)
    w = normal(12, 20, 3, 3) - 1j * normal(12, 20, 3, 3)
    x, w = x.astype(np.complex64), w.astype(np.complex64)
    got = split(x, w, padding=1)
    bound = 2 * gamma(2 * w[0].size + 1, UNIT) * absolute(x, w, padding=1)
    assert (np.abs(got - conv(x, w, padding=1)) <= bound).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float64, np.complex128])
def test_what_has_no_parts_is_refused(dtype):
    x, w = np.ones((1, 32, 5, 5), dtype), np.ones((16, 32, 3, 3), dtype)
    with pytest.raises(ValueError, match=r"amx_split.*only float32, float16 and bfloat16"):
        fc.conv2d(x, w, algorithm="amx_split")


def test_plain_loops_are_not_chosen():
    x, w = normal(1, 64, 28, 28), normal(64, 64, 3, 3)
    with fc.isa("scalar"):
        explained = fc.explain(x, w, padding=1)
    assert explained.algorithm != "amx_split"
    reasons = {c.name: c.reason for c in explained.candidates}
    assert "no instruction" in reasons["amx_split (tile_product)"]


# Few channels: the terms of all taps share the words that are multiplied.
GATHERED = {
    "a picture": ((2, 3, 33, 35), (24, 3, 3, 3), {"padding": 1}),
    "stem": ((1, 3, 40, 41), (33, 3, 7, 7), {"stride": 2, "padding": 3}),
    "stem, mirrored": ((1, 3, 23, 25), (32, 3, 3, 3), {"padding": 2, "padding_mode": "reflect"}),
    "one channel": ((2, 1, 28, 28), (16, 1, 5, 5), {}),
    "narrower than a tile": ((2, 2, 9, 7), (17, 2, 3, 3), {"padding": 1}),
    "five channels": ((1, 5, 20, 19), (20, 5, 3, 3), {"stride": 3, "dilation": 2}),
    "sixteen": ((1, 16, 20, 18), (32, 16, 3, 3), {"padding": 1}),
    "groups of four": ((1, 12, 15, 16), (48, 4, 3, 3), {"groups": 3, "padding": 1}),
    "1-D of one": ((2, 1, 900), (16, 1, 100), {"stride": 2}),
    "3-D of two": ((1, 2, 6, 9, 17), (16, 2, 3, 3, 3), {"padding": 1}),
}


def extreme(dtype, shape):
    """Of the whole range, its ends often, so that products reach their largest."""
    info = np.iinfo(dtype)
    values = RNG.integers(info.min, info.max + 1, shape)
    ends = RNG.choice([info.min, info.max], shape)
    return np.where(RNG.random(shape) < 0.3, ends, values).astype(dtype)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "types", ["uint8 int8", "int8 int8", "uint8 uint8", "int16 int16", "int16 int8"]
)
@pytest.mark.parametrize("layer", [*LAYERS, *GATHERED])
def test_narrow_integers_are_exact(isa, layer, types, layout):
    x_shape, w_shape, options = {**LAYERS, **GATHERED}[layer]
    x_type, w_type = types.split()
    x, w = extreme(x_type, x_shape), extreme(w_type, w_shape)
    bias = RNG.integers(-(2**31), 2**31, w_shape[0]).astype(np.int32)
    expected = conv(x, w, bias, dtype=np.int32, **options)
    x = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    convolve = getattr(fc, f"conv{x.ndim - 2}d")
    got = convolve(x, w, bias, layout=layout, dtype=np.int32, **options)
    got = got if layout == "NCHW" else np.moveaxis(got, -1, 1)
    assert np.array_equal(got, expected)


# Pictures of which a border of zeros makes up much: taps that see nothing else are left out.
BORDERED = {
    "7 x 7": ((2, 64, 7, 7), (64, 64, 3, 3), {"padding": 1}),
    "14 x 14": ((1, 40, 14, 14), (48, 40, 3, 3), {"padding": 1}),
    "5 x 5 on 3 x 4": ((2, 70, 3, 4), (33, 70, 5, 5), {"padding": 2}),
    "nothing but border": ((1, 64, 2, 2), (32, 64, 3, 3), {"padding": 6}),
    "dilated": ((1, 64, 7, 9), (32, 64, 3, 3), {"padding": 6, "dilation": 6}),
    "by 2": ((1, 64, 15, 14), (32, 64, 3, 3), {"padding": 1, "stride": 2}),
    "by 2 and 3": ((2, 33, 15, 14), (32, 33, 4, 5), {"padding": (3, 2), "stride": (2, 3)}),
    "by 2, pointwise": ((1, 72, 15, 14), (80, 72, 1, 1), {"stride": 2, "padding": 1}),
    "pointwise": ((1, 130, 7, 7), (80, 130, 1, 1), {}),
    "on one side": ((1, 64, 9, 7), (32, 64, 3, 3), {"padding": ((0, 2), (1, 0))}),
    "rows by rows": ((1, 64, 60, 30), (16, 64, 3, 3), {"padding": 1}),
    "a wide row": ((1, 64, 1300), (16, 64, 5), {"padding": 2}),
    "a wide row by 2": ((1, 64, 1301), (16, 64, 5), {"padding": 2, "stride": 2}),
    "3-D": ((1, 64, 3, 5, 4), (32, 64, 3, 3, 3), {"padding": 1}),
    "groups": ((1, 128, 6, 7), (64, 64, 3, 3), {"padding": 1, "groups": 2}),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("types", ["uint8 int8", "int8 int8", "int16 int16"])
@pytest.mark.parametrize("layer", BORDERED)
def test_narrow_integers_beside_a_border(isa, layer, types, layout):
    x_shape, w_shape, options = BORDERED[layer]
    x_type, w_type = types.split()
    x, w = extreme(x_type, x_shape), extreme(w_type, w_shape)
    bias = RNG.integers(-(2**31), 2**31, w_shape[0]).astype(np.int32)
    expected = conv(x, w, dtype=np.int32, **options)
    if layout == "NHWC":
        x, expected = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, expected))
    options = {"layout": layout, "dtype": np.int32, **options}
    plan = getattr(fc, f"Conv{x.ndim - 2}d")(w, bias, **options)
    convolve = getattr(fc, f"conv{x.ndim - 2}d")
    assert np.array_equal(convolve(x, w, **options), expected)
    ending = (slice(None), *[None] * (x.ndim - 2)) if layout == "NCHW" else ()
    assert np.array_equal(plan(x), expected + bias[ending])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_medium_multiplies_a_border_where_a_weight_is_not_finite(isa, value):
    x, w = np.ones((1, 64, 7, 7), np.float32), normal(64, 64, 3, 3)
    w[5, 6, 0, 1] = value
    for got in (
        fc.conv2d(x, w, padding=1, precision="medium", algorithm="amx_split"),
        fc.Conv2d(w, padding=1, precision="medium", algorithm="amx_split")(x),
    ):
        assert np.isnan(got[0, 5, 0]).all()
        assert not np.isfinite(got[0, 5]).any()
        assert np.isfinite(np.delete(got, 5, axis=1)).all()


# One box of outputs and many weights: a call packs them as it multiplies, some also a part of a
# panel at a time (where L2 has 2 MiB or less).
LATE = {
    "3x3 on 7x7": ((1, 512, 7, 7), (70, 512, 3, 3), {"padding": 1}),
    "3x3 on 7x7, by 2": ((1, 288, 7, 7), (64, 288, 3, 3), {"padding": 1, "stride": 2}),
    "1x1 on 7x7": ((1, 2048, 7, 7), (96, 2048, 1, 1), {}),
    "1x1 on 4x4": ((1, 9000, 4, 4), (40, 9000, 1, 1), {}),
    "7x7 on 7x7": ((1, 200, 7, 7), (33, 200, 7, 7), {"padding": 3}),
    "17x17 on 20x20": ((1, 40, 20, 20), (20, 40, 17, 17), {"padding": 2}),
    "two groups": ((1, 640, 6, 7), (100, 320, 3, 3), {"padding": 1, "groups": 2}),
    "3-D": ((1, 512, 2, 7, 7), (40, 512, 3, 3, 3), {"padding": 1}),
}


def late(layer, layout, call, x_type=np.float32, w_type=np.float32, more=None):
    x_shape, w_shape, options = LATE[layer]
    ending = 2**31 if np.issubdtype(x_type, np.integer) else 0
    x = extreme(x_type, x_shape) if ending else normal(*x_shape, dtype=x_type)
    w = extreme(w_type, w_shape) if ending else normal(*w_shape, dtype=w_type)
    if layout == "NHWC":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    bias = RNG.integers(-ending, ending, w_shape[0]).astype(np.int32) if ending else None
    options = {**options, "layout": layout, **call}
    if more is not None:
        more(x, w)
    rank = x.ndim - 2
    with fc.num_threads(1):
        plan = getattr(fc, f"Conv{rank}d")(w, bias, **options)(x)
        results = [getattr(fc, f"conv{rank}d")(x, w, bias, **options)]
        flipped = w[(...,) + (slice(None, None, -1),) * rank]
        results.append(getattr(fc, f"conv{rank}d")(x, flipped, bias, flip=True, **options))
        if ending == 0:
            both = getattr(fc, f"conv{rank}d")(np.concatenate([x, x]), w, bias, **options)
            results += list(both[:, None])
    with fc.num_threads(2):
        results.append(getattr(fc, f"conv{rank}d")(x, w, bias, **options))
    return plan, results


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("precision", ["medium", "high"])
@pytest.mark.parametrize("layer", LATE)
def test_late_layers_in_one_call(layer, layout, precision):
    if layer == "17x17 on 20x20" and precision == "high":
        pytest.skip("seconds in plain loops")
    plan, results = late(layer, layout, {"algorithm": "amx_split", "precision": precision})
    for got in results:
        np.testing.assert_array_equal(got, plan)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("types", ["uint8 int8", "int8 int8", "int16 int16"])
@pytest.mark.parametrize("layer", LATE)
def test_late_layers_of_narrow_integers(isa, layer, types, layout):
    x_type, w_type = types.split()
    plan, results = late(layer, layout, {"dtype": np.int32}, np.dtype(x_type), np.dtype(w_type))
    for got in results:
        np.testing.assert_array_equal(got, plan)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("value", [0.5, np.nan, 1e-40])
@pytest.mark.parametrize("layer", LATE)
def test_late_layers_of_bfloat16(layer, value, layout):
    """Weights in order are turned as they lie, flipped ones by way of floats."""
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)

    def put(_, w):
        w[-1].reshape(-1)[0] = value

    plan, results = late(layer, layout, {"algorithm": "amx_split"}, bfloat16, bfloat16, put)
    # Direct paths, of a call and a plan, need not be the same.
    bound = 0 if value == 0.5 else 2.0**-7
    for got in results:
        np.testing.assert_allclose(
            got.astype(np.float32), plan.astype(np.float32), rtol=bound, atol=bound / 8
        )


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e-40, 2.0**-126 * (1 - 2.0**-20)])
@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("layer", ["3x3 on 7x7", "1x1 on 4x4", "3-D"])
def test_late_layers_with_hard_weights(layer, where, value):
    """In the first part of a panel or the last, beside panels that are as others."""

    def put(x, w):
        x[..., 0] = 0
        w[35].reshape(-1)[where] = value

    call = {"algorithm": "amx_split", "precision": "medium"}
    plan, results = late(layer, "NCHW", call, more=put)
    for got in results:
        np.testing.assert_array_equal(got, plan)
    assert np.isfinite(plan[0, :32]).all()


@pytest.mark.parametrize("value", [np.inf, 1e-40])
@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize("precision", ["high", "highest"])
def test_late_layers_of_which_a_part_does_not_suit(precision, argument, value):
    def put(*arrays):
        arrays[argument][-1].reshape(-1)[-1] = value

    call = {"algorithm": "amx_split", "precision": precision}
    plan, results = late("3x3 on 7x7", "NCHW", call, more=put)
    for got in results:
        np.testing.assert_array_equal(got, plan)


@pytest.mark.parametrize("types", ["uint8 int8", "int8 int8"])
@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_sums_of_nothing_but_extremes(isa, types, low, high):
    """Where saturating instructions would clip: 255 times -128, and all their like."""
    x_type, w_type = types.split()
    ends = [(np.iinfo(t).min, np.iinfo(t).max) for t in (x_type, w_type)]
    x = np.full((1, 64, 9, 9), ends[0][low], x_type)
    w = np.full((32, 64, 3, 3), ends[1][high], w_type)
    for channels in (64, 3):
        got = fc.conv2d(x[:, :channels], w[:, :channels], padding=1, dtype=np.int32)
        expected = conv(x[:, :channels], w[:, :channels], padding=1, dtype=np.int32)
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("x_type", [np.uint8, np.int8, np.int16])
def test_narrow_integers_in_any_order_of_axes(isa, x_type, flip):
    """Where rows or channels do not lie side by side, or lie backwards; in input and weights."""
    x = extreme(x_type, (2, 30, 40, 22)).transpose(0, 3, 2, 1)[:, :20, ::-2, ::-1]
    w = extreme(np.int8, (3, 3, 20, 32)).transpose(3, 2, 1, 0)[:, :, ::-1]
    expected = conv(x, w, padding=1, dtype=np.int32, flip=flip)
    assert np.array_equal(fc.conv2d(x, w, padding=1, dtype=np.int32, flip=flip), expected)
    expected = conv(x[:, :3], w[:, :3], padding=1, dtype=np.int32, flip=flip)
    got = fc.conv2d(x[:, :3], w[:, :3], padding=1, dtype=np.int32, flip=flip)
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("x_type", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("channels", [64, 3])
@pytest.mark.parametrize("fill", [0, 5, -7, 200, 1000, 70_000])
def test_narrow_integers_with_any_border(isa, x_type, fill, channels):
    x = RNG.integers(0, 128, (2, channels, 9, 10)).astype(x_type)
    w = RNG.integers(-128, 128, (32, channels, 3, 3)).astype(np.int8)
    options = {"padding": 2, "fill_value": fill, "dtype": np.int32}
    expected = conv(x.astype(np.int32), w.astype(np.int32), padding=2, fill_value=fill)
    assert np.array_equal(fc.conv2d(x, w, **options), expected)
    assert np.array_equal(fc.Conv2d(w, **options)(x), expected)


def test_bytes_by_instruction():
    """Where the processor has one: the candidate says so, and takes heavy layers."""
    x = np.zeros((1, 64, 28, 28), np.uint8)
    w = np.zeros((64, 64, 3, 3), np.int8)
    explained = fc.explain(x, w, padding=1, dtype=np.int32)
    reasons = {c.name: c.reason for c in explained.candidates}
    if "no instruction" in reasons["direct (byte_dots)"]:
        pytest.skip("no dot products of bytes here")
    assert explained.kernel == "byte_dots"
    # Unsigned weights are pairs of int16.
    assert fc.explain(x, w.astype(np.uint8), padding=1, dtype=np.int32).kernel == "short_dots"


@pytest.mark.skipif("avx2" not in fc.available_isas(), reason="an instruction of AVX2")
def test_narrow_integers_by_avx2():
    """Without dot products of bytes, pairs of int16 are multiplied, not int32."""
    x = np.zeros((1, 64, 28, 28), np.int16)
    w = np.zeros((64, 64, 3, 3), np.int16)
    with fc.isa("avx2"):
        assert fc.explain(x, w, padding=1, dtype=np.int32).kernel == "short_dots"
        assert fc.explain(x, w, padding=1, dtype=np.int64).kernel != "short_dots"


@pytest.mark.parametrize("scale", [1e-32, 1e30, np.nan])
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_groups_do_not_decide_about_each_other(isa, scale, precision):
    """A call of one image packs as it runs, and sees the weights of one group."""
    x, w = normal(3, 64, 18, 18), normal(64, 32, 3, 3)
    w[32:] *= scale
    options = {"groups": 2, "padding": 1}
    got = split(x, w, precision=precision, **options)
    one = [split(x[n : n + 1], w, precision=precision, **options) for n in range(3)]
    np.testing.assert_array_equal(got, np.concatenate(one))
    layer = fc.Conv2d(w, algorithm="amx_split", precision=precision, **options)
    np.testing.assert_array_equal(layer(x), got)
    direct = fc.conv2d(x, w, algorithm="direct", **options)
    np.testing.assert_array_equal(got[:, 32:], direct[:, 32:])
    assert not np.array_equal(got[:, :32], direct[:, :32])


@pytest.mark.parametrize("algorithm", ["amx_split", "winograd"])
@pytest.mark.parametrize("scale", [1e-37, 1e-35])
def test_weights_that_do_not_suit_are_left_to_the_direct_path(algorithm, scale):
    """Which itself leaves out taps that no output sees."""
    x, w = normal(2, 16, 4, 4), normal(24, 16, 31, 31) * np.float32(scale)
    options = {"padding": 15}
    direct = fc.conv2d(x, w, algorithm="direct", **options)
    for n in (1, 2):
        got = fc.conv2d(x[:n], w, algorithm=algorithm, **options)
        np.testing.assert_array_equal(got, direct[:n])
    layer = fc.Conv2d(w, algorithm=algorithm, **options)
    np.testing.assert_array_equal(layer(x), fc.Conv2d(w, algorithm="direct", **options)(x))
