"""Every dtype: what is accepted, what the result is, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from reference import absolute, conv, tolerance
from strategies import COMPLEX, DTYPES, FLOATS, INTEGERS, MIXED, values

ALGORITHMS = ("auto", "direct", "im2col", "reference")
OPTIONS = {"padding": 1, "stride": (1, 2)}
SHAPES = ((2, 5, 8, 21), (18, 5, 3, 3), (18,))


# Where long double is double, NumPy may still keep two types; only wider ones are refused.
DOUBLES = [t for t in (np.longdouble, np.clongdouble) if np.finfo(t).nmant == 52]


def arrays(dtype, kind="exact", seed=0):
    """An input, a filter bank and a bias of one dtype."""
    rng = np.random.default_rng(seed)
    return [values(shape, dtype, rng, kind) for shape in SHAPES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_result_dtype_and_value(isa, dtype, algorithm, layout):
    x, w, b = arrays(dtype)
    expected = conv(x, w, b, **OPTIONS)
    if layout == "NHWC":
        x, expected = np.moveaxis(x, 1, -1).copy(), np.moveaxis(expected, 1, -1)
    y = fc.conv2d(x, w, b, layout=layout, algorithm=algorithm, **OPTIONS)
    np.testing.assert_array_equal(y, expected, strict=True)


@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_real_numbers_within_the_bound(isa, dtype, algorithm):
    x, w, b = arrays(dtype, "normal")
    y = fc.conv2d(x, w, b, algorithm=algorithm, **OPTIONS)
    exact = conv(x, w, b, wide=True, **OPTIONS)
    bound = tolerance(y.dtype, 45, absolute(x, w, b, **OPTIONS), exact)
    assert (np.abs(y - exact) <= bound).all()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap(dtype):
    info = np.iinfo(dtype)
    x = np.array([[[info.max, info.max, info.min, 1]]], dtype)
    y = fc.conv1d(x, np.array([[[1, 1]]], dtype))
    with np.errstate(over="ignore"):
        expected = x[0, 0, :-1] + x[0, 0, 1:]  # NumPy's own wrap
    np.testing.assert_array_equal(y[0, 0], expected, strict=True)
    square = np.array([[[info.max]]], dtype)
    np.testing.assert_array_equal(fc.conv1d(square, square)[0, 0], square[0, 0] * square[0, 0])


def test_dtype_asks_for_wider_integers():
    x, w = np.full((1, 1, 4), 200, np.uint8), np.full((1, 1, 4), 200, np.uint8)
    assert fc.conv1d(x, w).item() == 160_000 % 256
    assert fc.conv1d(x, w, dtype=np.uint32).item() == 160_000
    assert fc.conv1d(x, w, dtype="int64").dtype == np.int64
    assert fc.conv1d(x, w, dtype=float).item() == 160_000.0


@pytest.mark.parametrize(("x_dtype", "w_dtype", "dtype"), MIXED, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_mixed_dtypes(x_dtype, w_dtype, dtype, algorithm):
    x, w = arrays(x_dtype)[0], arrays(w_dtype, seed=1)[1]
    y = fc.conv2d(x, w, dtype=dtype, algorithm=algorithm, **OPTIONS)
    assert y.dtype == (np.result_type(x, w) if dtype is None else np.dtype(dtype))
    np.testing.assert_array_equal(y, conv(x, w, dtype=dtype, **OPTIONS), strict=True)


@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("w_dtype", DTYPES)
def test_the_result_is_what_numpy_promotes_to(x_dtype, w_dtype):
    x, w = np.ones((1, 2, 5), x_dtype), np.ones((3, 2, 2), w_dtype)
    y = fc.conv1d(x, w)
    assert y.dtype == np.result_type(x_dtype, w_dtype)
    assert (y == 4).all()


@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_follows_same_kind_casting(x_dtype, dtype):
    x, w = np.ones((1, 2, 5), x_dtype), np.ones((3, 2, 2), x_dtype)
    if np.can_cast(x_dtype, dtype, "same_kind"):
        y = fc.conv1d(x, w, dtype=dtype)
        assert y.dtype == dtype
        assert (y == 4).all()
    else:
        with pytest.raises(TypeError, match=dtype):
            fc.conv1d(x, w, dtype=dtype)


def test_calls_in_turn_with_one_dtype_and_another():
    """What a call keeps for the next one of its shapes goes by the dtype as well."""

    class Changing:
        dtype = np.dtype(np.int32)

    x, w = np.full((1, 2, 5, 5), 200, np.uint8), np.full((3, 2, 3, 3), 3, np.uint8)
    wanted = [np.int32, np.int64, None, "int32", np.dtype("int16"), np.int32, ">i4", "int64"]
    for dtype in wanted * 2:
        got = fc.conv2d(x, w, dtype=dtype)
        assert got.dtype == (np.uint8 if dtype is None else np.dtype(dtype).newbyteorder("="))
        assert (got == np.array(200 * 3 * 18).astype(got.dtype)).all()
    for dtype in (np.int32, np.int64):
        Changing.dtype = np.dtype(dtype)
        assert fc.conv2d(x, w, dtype=Changing).dtype == dtype


def test_dtype_of_out_must_be_that_of_the_result():
    x, w = np.ones((1, 2, 5), np.float32), np.ones((3, 2, 2), np.float32)
    for dtype in ("float64", "float16", "int32", "complex64"):
        with pytest.raises(ValueError, match="out"):
            fc.conv1d(x, w, out=np.empty((1, 3, 4), dtype))
    out = np.empty((1, 3, 4), np.float64)
    assert fc.conv1d(x, w, dtype=np.float64, out=out) is out


def test_wider_dtype_is_computed_wider():
    """float32 arrays with dtype=float64: the sum is a float64 one."""
    x = np.array([[[2.0**24, 1, 1]]], np.float32)
    w = np.ones((1, 1, 3), np.float32)
    assert fc.conv1d(x, w, dtype=np.float64).item() == 2.0**24 + 2


@pytest.mark.parametrize(
    "bad",
    [
        np.ones((1, 2, 5), bool),
        np.ones((1, 2, 5), object),
        np.full((1, 2, 5), "1"),
        np.full((1, 2, 5), b"1"),
        np.ones((1, 2, 5), "m8[s]"),
        np.zeros((1, 2, 5), "M8[s]"),
        np.zeros((1, 2, 5), "V4"),
        np.zeros((1, 2, 5), [("a", "f4")]),
        *[np.ones((1, 2, 5), t) for t in (np.longdouble, np.clongdouble) if t not in DOUBLES],
    ],
    ids=lambda a: a.dtype.name,
)
def test_other_dtypes_are_refused(bad):
    good = np.ones((1, 2, 5), np.float32)
    with pytest.raises(TypeError, match=r"dtype|type"):
        fc.conv1d(bad, good)
    with pytest.raises(TypeError, match=r"dtype|type"):
        fc.conv1d(good, bad)
    with pytest.raises(TypeError):
        fc.Conv1d(bad)
    with pytest.raises(TypeError):
        fc.conv1d(good, good, bad[0, 0, :1])
    with pytest.raises(TypeError):
        fc.conv1d(good, good, dtype=bad.dtype)


def test_ragged_lists_are_refused():
    with pytest.raises((TypeError, ValueError)):
        fc.conv1d([[1, 2], [3]], np.ones((1, 2, 1)))


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_integer_activations_act_on_the_wrapped_result(activation, dtype, algorithm):
    x, w, b = arrays(dtype)
    y = fc.conv2d(x, w, b, activation=activation, algorithm=algorithm, **OPTIONS)
    expected = conv(x, w, b, activation=activation, **OPTIONS)
    np.testing.assert_array_equal(y, expected, strict=True)


@pytest.mark.parametrize("activation", ["leaky_relu", "sigmoid", "tanh", "silu"])
def test_activations_that_make_fractions_need_floats(activation):
    x, w, _ = arrays("int32")
    with pytest.raises(TypeError, match=activation):
        fc.conv2d(x, w, activation=activation)
    assert fc.conv2d(x, w, activation=activation, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu"])
def test_complex_numbers_have_no_activation(activation):
    x, w, _ = arrays("complex64")
    with pytest.raises(TypeError, match=activation):
        fc.conv2d(x, w, activation=activation)


def test_complex_is_not_conjugated_in_the_layer_face():
    x, w = np.array([[[1j, 2]]]), np.array([[[1j, 1]]])
    assert fc.conv1d(x, w).item() == 1j * 1j + 2


class TestBfloat16:
    """The storage type of ml_dtypes: converted while it is read and written."""

    @pytest.fixture(autouse=True)
    def _bfloat16(self):
        self.bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_exact_values(self, algorithm):
        x, w, b = (a.astype(self.bfloat16) for a in arrays("float32"))
        y = fc.conv2d(x, w, b, algorithm=algorithm, **OPTIONS)
        expected = conv(x, w, b, **OPTIONS)
        assert y.dtype == self.bfloat16
        assert y.tobytes() == expected.tobytes()

    def test_real_numbers_accumulate_in_float32(self):
        x, w, b = (a.astype(self.bfloat16) for a in arrays("float32", "normal"))
        y = fc.conv2d(x, w, b, **OPTIONS)
        exact = conv(x, w, b, wide=True, **OPTIONS)
        bound = tolerance(self.bfloat16, 45, absolute(x, w, b, **OPTIONS), exact)
        assert (np.abs(y.astype(np.float64) - exact) <= bound).all()
        assert fc.explain(x, w).compute_dtype == "float32"

    def test_promotion_out_and_plans(self):
        x, w, _ = (a.astype(self.bfloat16) for a in arrays("float32"))
        assert fc.conv2d(x, w.astype(np.float32)).dtype == np.float32
        assert fc.conv2d(x, w, dtype=np.float32).dtype == np.float32
        expected = fc.conv2d(x, w)
        out = np.zeros_like(expected)[::-1]
        assert fc.Conv2d(w)(x, out=out) is out
        assert out.tobytes() == expected.tobytes()

    def test_rounding_is_to_nearest_even(self):
        """1 + 2**-8 lies in the middle of two bfloat16 numbers, 1 and 1 + 2**-7."""
        x = np.array([[[1, 2.0**-8, 0, 1 + 2.0**-7, 2.0**-8]]]).astype(self.bfloat16)
        w = np.ones((1, 1, 2), self.bfloat16)
        y = fc.conv1d(x, w)[0, 0].astype(float)
        assert y[0] == 1.0
        assert y[3] == 1 + 2.0**-6

    def test_nan_and_infinity(self):
        x = np.array([[[np.nan, 1, np.inf, 1, -np.inf, 3e38, 3e38]]]).astype(self.bfloat16)
        y = fc.conv1d(x, np.ones((1, 1, 2), self.bfloat16))[0, 0].astype(float)
        np.testing.assert_array_equal(y, [np.nan, np.inf, np.inf, -np.inf, -np.inf, np.inf])


def test_float16_rounding_and_limits():
    x = np.array([[[1, 2.0**-11, 0, 1 + 2.0**-10, 2.0**-11, 65504, 65504]]], np.float16)
    y = fc.conv1d(x, np.ones((1, 1, 2), np.float16))[0, 0]
    assert y[0] == 1  # the middle goes to the even neighbour
    assert y[3] == np.float16(1 + 2.0**-9)
    assert y[5] == np.inf
    tiny = np.finfo(np.float16).smallest_subnormal
    y = fc.conv1d(np.full((1, 1, 3), tiny), np.ones((1, 1, 2), np.float16))
    np.testing.assert_array_equal(y, np.full((1, 1, 2), 2 * tiny))


def test_every_float16_value_is_read_and_written_right():
    """All 65536 of them, through the conversions of every path."""
    x = np.arange(65536, dtype=np.uint16).view(np.float16)[None, None]
    for isa in fc.available_isas():
        for algorithm in ALGORITHMS:
            with fc.isa(isa):
                y = fc.conv1d(x, np.ones((1, 1, 1), np.float16), algorithm=algorithm)
            np.testing.assert_array_equal(y, x)
