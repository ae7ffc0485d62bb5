"""`correlate` and `convolve` against SciPy's, bit for bit where the numbers are integers."""

import itertools

import numpy as np
import pytest

import fastconv as fc

MODES = ("full", "same", "valid")
SHAPES = [
    ((1,), (1,)),
    ((5,), (3,)),
    ((5,), (4,)),
    ((3,), (5,)),
    ((3,), (8,)),
    ((2,), (9,)),
    ((40,), (17,)),
    ((5, 6), (3, 2)),
    ((4, 4), (4, 4)),
    ((2, 3), (5, 7)),
    ((2, 9), (6, 3)),
    ((9, 1), (1, 9)),
    ((3, 4, 5), (2, 3, 2)),
    ((2, 2, 2), (3, 4, 5)),
    ((4, 2, 3), (2, 5, 3)),
]


def made(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "c":
        return (rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)).astype(dtype)
    low = 0 if np.dtype(dtype).kind == "u" else -9
    return rng.integers(low, 9, shape).astype(dtype)


def judged(name, a, b, mode):
    """SciPy's answer, or None where it refuses the shapes."""
    signal = pytest.importorskip("scipy.signal")
    # Where the types differ, SciPy casts the memory it has allocated for its answer, which warns of
    # whatever lies there.
    dtype = np.result_type(a, b)
    a, b = a.astype(dtype), b.astype(dtype)
    try:
        return getattr(signal, name)(a, b, mode, method="direct")
    except ValueError:
        return None


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape1", "shape2"), SHAPES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.complex128])
def test_equals_scipy(name, mode, shape1, shape2, dtype):
    a, b = made(shape1, dtype, 1), made(shape2, dtype, 2)
    expected = judged(name, a, b, mode)
    if expected is None:
        with pytest.raises(ValueError, match="for mode 'valid' one array must be at least"):
            getattr(fc, name)(a, b, mode)
        return
    result = getattr(fc, name)(a, b, mode)
    assert result.dtype == dtype
    # Small integers: every sum is exact in every type.
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape1", "shape2"), SHAPES)
@pytest.mark.parametrize(
    "types", [("c8", "f4"), ("f4", "c8"), ("c8", "f8"), ("i2", "c8"), (">c16", "f4"), ("f8", ">c8")]
)
def test_real_by_complex_equals_scipy(name, mode, shape1, shape2, types):
    # As it lies, and with complex numbers apart.
    for step in (1, 2):
        a, b = (
            made((*s[:-1], s[-1] * step), t, i)[..., ::step]
            for i, (s, t) in enumerate(zip((shape1, shape2), types, strict=True))
        )
        expected = judged(name, a, b, mode)
        if expected is None:
            continue
        result = getattr(fc, name)(a, b, mode)
        assert result.dtype == np.result_type(a, b)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
def test_calls_are_told_apart(name):
    # What is remembered of a call serves none that is wrong, or of other types.
    a, b = np.arange(6.0), np.arange(3.0)
    call = getattr(fc, name)
    for _ in range(2):
        assert call(a, b, "same").dtype == np.float64
        assert call(a.astype("f4"), b.astype("f4"), "same").dtype == np.float32
        assert call(b, a, "same").shape == (3,)
        with pytest.raises(TypeError, match="in1 must be of a numeric type"):
            call(a > 0, b, "same")
        with pytest.raises(ValueError, match="mode must be"):
            call(a, b, "all")
        with pytest.raises(TypeError, match="mode must be a string"):
            call(a, b, ["same"])


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.float64, ">f4", np.float16])
@pytest.mark.parametrize(
    "shapes",
    [
        ((900,), (900,)),
        ((900,), (898,)),
        ((2990,), (2997,)),
        ((900,), (892,)),
        ((30, 40), (30, 40)),
    ],
)
def test_few_outputs_of_long_kernels(name, dtype, shapes):
    a, b = (made(shape, dtype, 1 + seed) for seed, shape in enumerate(shapes))
    a, b = (values // 3 for values in (a, b))  # sums below 2048, exact in float16
    turned = tuple(slice(None, None, -1) for _ in a.shape)
    for first, second in ((a, b), (b, a), (a[turned], b), (a, b[turned])):
        wide = np.float64 if np.dtype(dtype).kind == "f" else dtype
        expected = judged(name, first.astype(wide), second.astype(wide), "valid")
        result = getattr(fc, name)(first, second, "valid")
        assert result.dtype == np.dtype(dtype).newbyteorder("=")
        assert result.shape == expected.shape
        np.testing.assert_array_equal(result, expected)


def test_one_output_of_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    ones = np.ones(1000, ml_dtypes.bfloat16)  # sums of bfloat16 would stop at 256
    result = fc.correlate(ones, ones, "valid")
    assert result.dtype == ones.dtype
    np.testing.assert_array_equal(result.astype(float), [1000])


def test_one_output_of_what_is_not_finite():
    ones = np.ones(600)
    for value in (np.inf, np.nan):
        x = ones.copy()
        x[7] = value
        np.testing.assert_array_equal(fc.correlate(x, ones, "valid"), [value])
    zeros = np.zeros(600)
    assert np.isnan(fc.convolve(zeros, x, "valid"))


def test_some_shapes_are_refused_by_both():
    assert judged("convolve", made((2, 9), int, 1), made((6, 3), int, 2), "valid") is None


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape1", "shape2"), [((31,), (8,)), ((9, 12), (4, 5))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_rounding_is_bounded(name, mode, shape1, shape2, dtype):
    rng = np.random.default_rng(3)
    a, b = (
        (rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(np.complex128)
        for s in (shape1, shape2)
    )
    if np.dtype(dtype).kind != "c":
        a, b = a.real.copy(), b.real.copy()
    a, b = a.astype(dtype), b.astype(dtype)
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    exact = judged(name, a.astype(wide), b.astype(wide), mode)
    scale = judged(name, np.abs(a).astype(float), np.abs(b).astype(float), mode)
    bound = 4 * b.size * np.finfo(dtype).eps * scale
    assert np.all(np.abs(getattr(fc, name)(a, b, mode) - exact) <= bound)


def test_correlate_conjugates_the_second_and_convolve_does_not():
    a, b = np.array([1 + 2j]), np.array([3 + 4j])
    assert fc.correlate(a, b).item() == (1 + 2j) * (3 - 4j)
    assert fc.convolve(a, b).item() == (1 + 2j) * (3 + 4j)
    # In either order of sizes.
    long = np.array([1j, 2, 3j])
    np.testing.assert_array_equal(fc.correlate(b, long), np.correlate(b, long, "full"))
    np.testing.assert_array_equal(fc.correlate(long, b), np.correlate(long, b, "full"))


@pytest.mark.parametrize("mode", MODES)
def test_convolution_commutes_where_scipys_does(mode):
    a, b = made((7, 4), np.int32, 5), made((3, 2), np.int32, 6)
    if mode != "same":
        np.testing.assert_array_equal(fc.convolve(a, b, mode), fc.convolve(b, a, mode))
    assert fc.convolve(b, a, "same").shape == b.shape


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product([np.int8, np.uint16, np.float32, np.float64], [np.int64, np.float32])),
)
def test_result_type(first, second):
    a, b = made((6,), first, 7), made((3,), second, 8)
    result = fc.convolve(a, b)
    assert result.dtype == np.result_type(a, b)
    np.testing.assert_array_equal(result, np.convolve(a.astype(float), b.astype(float)))


def test_integers_wrap():
    assert fc.convolve(np.array([100], np.int8), np.array([2], np.int8)).item() == -56
    assert fc.correlate([2], [2**62])[0] == -(2**63)


def test_views_and_lists():
    base = made((12, 14), np.int64, 9)
    view = base[::-2, 1::3]
    kernel = made((3, 2), np.int64, 10)[:, ::-1]
    for mode in MODES:
        expected = judged("correlate", view.copy(), kernel.copy(), mode)
        np.testing.assert_array_equal(fc.correlate(view, kernel, mode), expected)
        np.testing.assert_array_equal(fc.correlate(view.tolist(), kernel.tolist(), mode), expected)
    swapped = base.astype(">i8")
    np.testing.assert_array_equal(fc.correlate(swapped, kernel), fc.correlate(base, kernel))
    assert fc.correlate(swapped, kernel).dtype.isnative


def test_result_does_not_share_memory():
    a = np.array([1.0, 2.0, 3.0])
    b = np.array([1.0])
    result = fc.convolve(a, b)
    assert not np.shares_memory(result, a)
    assert result.flags.writeable
    assert result.flags.c_contiguous


@pytest.mark.parametrize("name", ["correlate", "convolve"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape1", "shape2", "which"),
    [
        ((0,), (100,), "in1"),
        ((1,), (0,), "in2"),
        ((0,), (0,), "in1"),
        ((3, 0), (1, 1), "in1"),
        ((3, 3), (0, 1), "in2"),
    ],
)
def test_empty_arrays_are_refused(name, mode, shape1, shape2, which):
    with pytest.raises(ValueError, match=f"^{which} must not be empty"):
        getattr(fc, name)(np.zeros(shape1), np.zeros(shape2), mode)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
def test_bad_arguments(name):
    function = getattr(fc, name)
    for bad in (True, [True], "abc", ["a"], [None], np.array([1], "M8[s]"), np.longdouble(1)):
        with pytest.raises(TypeError, match=r"^in1 must be of a numeric type"):
            function(bad, np.ones(1000))
        with pytest.raises(TypeError, match=r"^in2 must be of a numeric type"):
            function(np.ones(3), bad)
    for shape in ((), (1,) * 4, (1,) * 40):
        with pytest.raises(ValueError, match=r"^in1 must have 1, 2 or 3 dimensions") as raised:
            function(np.ones(shape), np.ones(shape))
        assert len(str(raised.value)) < 200
    with pytest.raises(ValueError, match="same number of dimensions"):
        function(np.ones(3), np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"^mode must be 'full', 'same' or 'valid', got 'fill'"):
        function([1], [1], "fill")
    with pytest.raises(TypeError, match=r"^mode must be a string"):
        function([1], [1], 2)
    with pytest.raises(ValueError, match=r"^method must be 'auto', 'direct' or 'fft', got 'dft'"):
        function([1], [1], method="dft")
    np.testing.assert_array_equal(function([1, 2], [1], method="direct"), [1, 2])


def test_no_padding_that_the_window_does_not_need():
    # A "valid" or "same" window of a kernel much longer than the signal touches few elements.
    a, b = made((3,), np.int64, 11), made((100_000,), np.int64, 12)
    np.testing.assert_array_equal(fc.convolve(a, b, "same"), np.convolve(b, a)[49_999:50_002])
    np.testing.assert_array_equal(fc.correlate(a, b, "valid"), np.correlate(b, a, "valid")[::-1])
