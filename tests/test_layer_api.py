"""Every option of conv1d, conv2d and conv3d against the NumPy reference."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings

import fastconv as fc
from reference import PAD_NAMES, absolute, conv, tolerance
from strategies import DTYPES, call, cases

FUNCTIONS = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}
ALGORITHMS = ("auto", "direct", "im2col", "reference")

IMAGE = np.array([[2, 0, 1, 3], [7, 1, 1, 0], [0, 2, 5, 0], [0, 5, 1, 4]])
KERNEL = np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]])


def check(x, w, bias=None, *, algorithm="auto", **options):
    """Compare one float call with the reference, within the bound scaled by S."""
    x, w = np.asarray(x), np.asarray(w)
    y = FUNCTIONS[w.ndim - 2](x, w, bias, algorithm=algorithm, **options)
    exact = conv(x, w, bias, wide=True, **options)
    assert y.shape == exact.shape
    terms = int(np.prod(w.shape[1:]))
    bound = tolerance(y.dtype, terms, absolute(x, w, bias, **options), exact)
    assert (np.abs(y - exact) <= bound).all()
    return y


def normal(*shape, dtype=np.float32, seed=0):
    """Seeded N(0, 1) values."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.complex64])
def test_worked_example(dtype):
    x, w = IMAGE[None, None].astype(dtype), KERNEL[None, None].astype(dtype)
    assert fc.conv2d(x, w)[0, 0].tolist() == [[-4, -3], [3, -8]]
    assert fc.conv2d(x, w, flip=True)[0, 0].tolist() == [[4, 3], [-3, 8]]


def test_worked_example_in_the_signal_face():
    assert fc.correlate(IMAGE, KERNEL, mode="valid").tolist() == [[-4, -3], [3, -8]]
    assert fc.convolve(IMAGE, KERNEL, mode="valid").tolist() == [[4, 3], [-3, 8]]


@settings(max_examples=300)
@given(cases(kind="exact", dtypes=DTYPES))
def test_whole_option_space(case):
    np.testing.assert_array_equal(call(fc, case), case.expected(), strict=True)


@settings(max_examples=200)
@given(cases(kind="normal", dtypes=("float32", "float64", "float16", "complex64", "complex128")))
def test_whole_option_space_with_real_numbers(case):
    y = call(fc, case)
    exact = case.expected(wide=True)
    s = absolute(case.x, case.w, **case.options)
    assert (np.abs(y - exact) <= tolerance(y.dtype, case.terms, s, exact)).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_each_algorithm_in_each_rank(rank, algorithm):
    check(
        normal(2, 6, *(9,) * rank),
        normal(10, 3, *(3,) * rank),
        normal(10),
        algorithm=algorithm,
        padding=1,
        groups=2,
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, 7, 100])
def test_stride(rank, stride):
    check(normal(1, 3, *(11,) * rank), normal(4, 3, *(3,) * rank), stride=stride)


def test_stride_per_axis():
    y = check(normal(1, 2, 9, 10, 11), normal(3, 2, 2, 2, 2), stride=(1, 2, 3))
    assert y.shape == (1, 3, 8, 5, 4)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
def test_dilation(rank, dilation):
    check(normal(1, 3, *(13,) * rank), normal(4, 3, *(3,) * rank), dilation=dilation)


def test_dilation_per_axis():
    y = check(normal(1, 2, 9, 10, 11), normal(3, 2, 2, 3, 4), dilation=(3, 2, 1))
    assert y.shape == (1, 3, 6, 6, 8)


@pytest.mark.parametrize("padding", [0, 2, (1, 3), ((0, 2), (3, 1)), "valid"])
def test_padding_forms(padding):
    check(normal(2, 3, 8, 9), normal(4, 3, 3, 4), padding=padding)


def test_one_pair_is_one_number_per_axis_in_2d_and_a_pair_in_1d():
    x, w = normal(1, 1, 8), normal(1, 1, 3)
    assert fc.conv1d(x, w, padding=((1, 4),)).shape == (1, 1, 11)
    assert fc.conv2d(x[..., None], w[..., None], padding=(1, 4)).shape == (1, 1, 8, 9)


@pytest.mark.parametrize("padding", ["same", "same_lower"])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding(padding, stride, kernel, dilation):
    for size in (1, 2, 7, 12):
        y = check(
            normal(1, 2, size),
            normal(3, 2, kernel),
            padding=padding,
            stride=stride,
            dilation=dilation,
        )
        assert y.shape == (1, 3, -(-size // stride))


def test_same_and_same_lower_differ_in_where_the_odd_element_goes():
    x, w = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 10.0]]])
    assert fc.conv1d(x, w, padding="same").tolist() == [[[21.0, 32.0, 3.0]]]
    assert fc.conv1d(x, w, padding="same_lower").tolist() == [[[10.0, 21.0, 32.0]]]


@pytest.mark.parametrize("mode", PAD_NAMES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("padding", [2, ((0, 3), (4, 0)), ((11, 17), (23, 5))])
def test_padding_modes(mode, algorithm, padding):
    x, w = normal(2, 3, 6, 5), normal(4, 3, 3, 2)
    check(x, w, padding=padding, padding_mode=mode, algorithm=algorithm)


@pytest.mark.parametrize("mode", PAD_NAMES)
def test_padding_modes_on_every_axis_and_far_beyond_the_image(mode):
    for size in (1, 2, 3):
        check(
            normal(1, 2, size, 3, size),
            normal(2, 2, 2, 3, 2),
            padding=((7, 5), (0, 9), (6, 10)),
            padding_mode=mode,
        )


@pytest.mark.parametrize("mode", sorted(PAD_NAMES))
def test_padding_modes_with_stride_dilation_and_channels_last(mode):
    check(
        normal(2, 9, 7, 5),
        normal(4, 5, 3, 2),
        padding=((3, 1), (2, 4)),
        padding_mode=mode,
        stride=(2, 3),
        dilation=(2, 1),
        layout="NHWC",
    )


@pytest.mark.parametrize("fill", [0, 1.5, -3, np.float32(2), np.inf])
def test_fill_value(fill):
    x, w = np.abs(normal(1, 2, 4, 4)), np.abs(normal(3, 2, 3, 3))
    y = fc.conv2d(x, w, padding=2, fill_value=fill)
    expected = conv(x, w, padding=2, fill_value=fill)
    np.testing.assert_allclose(y, expected, rtol=1e-5)  # all terms share a sign: S is |result|


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("fill", [1e10, -5e9, 300.7, 2.0**62, 2**40 + 5])
def test_a_fill_value_wraps_to_integers(dtype, fill):
    x, w = np.ones((1, 2), dtype), np.array([[[1, 3]]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = fc.conv1d(x, w, padding=1, fill_value=fill)
    wrapped = np.array(int(fill)).astype(dtype)
    np.testing.assert_array_equal(y, conv(x, w, padding=1, fill_value=wrapped))


def test_a_fill_value_has_the_type_of_the_result():
    x, w = np.zeros((1, 2), np.float16), np.full((1, 1, 1), 2000, np.float16)
    y = fc.conv1d(x, w, [-200], padding=1, fill_value=0.1)
    assert y[0, 0] == np.float16(2000 * float(np.float16(0.1)) - 200) < -0.04


@pytest.mark.parametrize(
    ("groups", "c", "k"), [(1, 6, 4), (2, 6, 4), (3, 9, 3), (6, 6, 6), (6, 6, 12), (64, 64, 64)]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_groups(groups, c, k, layout, algorithm):
    shape = (2, c, 7, 8) if layout == "NCHW" else (2, 7, 8, c)
    w = normal(k, c // groups, 3, 3)
    check(
        normal(*shape), w, normal(k), groups=groups, layout=layout, padding=1, algorithm=algorithm
    )


@pytest.mark.parametrize("filters", [*range(1, 66, 4), 2, 3, 4, 7, 8, 15, 16, 63, 64])
def test_every_number_of_filters(filters):
    check(normal(1, 3, 9, 10), normal(filters, 3, 3, 3), normal(filters), padding=1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_flip_turns_correlation_into_convolution(rank):
    x, w = normal(2, 3, *(7,) * rank), normal(4, 3, *(2, 3, 4)[:rank])
    backwards = (slice(None), slice(None), *(slice(None, None, -1),) * rank)
    y = check(x, w, flip=True, padding=1)
    np.testing.assert_array_equal(y, FUNCTIONS[rank](x, w[backwards], padding=1), strict=True)


LAYOUT_NAMES = {
    1: (["NCHW", "NCW", "channels_first"], ["NHWC", "NWC", "channels_last"]),
    2: (["NCHW", "channels_first"], ["NHWC", "channels_last"]),
    3: (["NCHW", "NCDHW", "channels_first"], ["NHWC", "NDHWC", "channels_last"]),
}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("batched", [True, False])
def test_layouts_and_their_aliases(rank, batched):
    x, w = normal(2, 3, *(7, 6, 5)[:rank]), normal(4, 3, *(2, 3, 2)[:rank])
    x = x if batched else x[0]
    channel = 1 if batched else 0
    first, last = LAYOUT_NAMES[rank]
    expected = check(x, w)
    for layout in first:
        np.testing.assert_array_equal(FUNCTIONS[rank](x, w, layout=layout), expected, strict=True)
    for layout in last:
        y = check(np.moveaxis(x, channel, -1), w, layout=layout)
        np.testing.assert_allclose(np.moveaxis(y, -1, channel), expected, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layout_letters_of_another_rank_are_refused(rank):
    others = {1: ["NDHWC", "NCDHW"], 2: ["NWC", "NCDHW"], 3: ["NCW", "NWC"]}[rank]
    for layout in others:
        with pytest.raises(ValueError, match="layout"):
            FUNCTIONS[rank](normal(1, 2, *(5,) * rank), normal(2, 2, *(2,) * rank), layout=layout)


@pytest.mark.parametrize(
    "activation", [None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_activation(activation, dtype, algorithm):
    x, w, b = normal(2, 3, 9, 20, dtype=dtype), normal(5, 3, 3, 3, dtype=dtype), normal(5)
    b = b.astype(dtype)
    y = fc.conv2d(x, w, b, activation=activation, padding=1, algorithm=algorithm)
    before = conv(x, w, b, padding=1, wide=True)
    exact = conv(x, w, b, activation=activation, padding=1, wide=True)
    # No activation is steeper than 1.1; evaluating it costs a few more roundings.
    bound = 1.1 * tolerance(y.dtype, 27, absolute(x, w, b, padding=1), before)
    bound = bound + 8 * np.finfo(dtype).eps * np.maximum(np.abs(before), 1).astype(float)
    assert (np.abs(y - exact) <= bound).all()


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_of_huge_values_is_its_limit(activation, dtype):
    x = np.array([[[-1e4, -100, 0, 100, 1e4]]], dtype)
    y = fc.conv1d(x, np.ones((1, 1, 1), dtype), activation=activation)
    np.testing.assert_allclose(
        y, conv(x, np.ones((1, 1, 1), dtype), activation=activation), rtol=1e-6, atol=1e-30
    )


def test_bias_is_added_to_every_output_of_its_filter():
    x, w = np.zeros((2, 3, 5), np.float32), np.zeros((4, 3, 2), np.float32)
    y = fc.conv1d(x, w, [1, 2, 3, 4])
    np.testing.assert_array_equal(y, np.broadcast_to([[1], [2], [3], [4]], (2, 4, 4)))


def test_bias_casts_to_the_result_and_does_not_promote_it():
    x, w = np.ones((1, 1, 3), np.float32), np.ones((1, 1, 2), np.float32)
    assert fc.conv1d(x, w, np.ones(1, np.float64)).dtype == np.float32
    with pytest.raises(TypeError, match="bias"):
        fc.conv1d(x, w, np.ones(1, np.complex64))
    with pytest.raises(TypeError, match="bias"):
        fc.conv1d(x.astype(np.int32), w.astype(np.int32), np.ones(1, np.float32))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_out_is_filled_and_returned(layout):
    x, w = normal(2, 3, 3, 3), normal(4, 3, 2, 2)
    expected = fc.conv2d(x, w, layout=layout)
    out = np.full_like(expected, np.nan)
    assert fc.conv2d(x, w, layout=layout, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_without_out_every_result_is_new_and_dense():
    x, w = normal(2, 3, 5), normal(4, 3, 2)
    first, second = fc.conv1d(x, w), fc.conv1d(x, w)
    assert not np.shares_memory(first, second)
    assert first.flags.c_contiguous
    assert first.flags.owndata
    assert first.flags.writeable


def test_large_results_begin_with_a_cache_line():
    results = [fc.conv2d(normal(1, 16, 16), normal(n, 1, 1, 1)) for n in range(16, 33)]
    for y in results:
        assert y.ctypes.data % 64 == 0
        assert y.flags.c_contiguous
        assert y.flags.writeable


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unbatched_input_gives_unbatched_output(layout):
    x, w = normal(3, 3, 3), normal(4, 3, 2, 2)
    batched = fc.conv2d(x[None], w, layout=layout)
    np.testing.assert_array_equal(fc.conv2d(x, w, layout=layout), batched[0], strict=True)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_empty_batch_gives_an_empty_result(rank, layout):
    x = np.zeros((0, 4, *(4,) * rank), np.float32)
    y = FUNCTIONS[rank](x, np.zeros((5, 4, *(2,) * rank), np.float32), layout=layout)
    spatial = (3,) * rank
    assert y.shape == ((0, 5, *spatial) if layout == "NCHW" else (0, *spatial, 5))
    assert y.dtype == np.float32


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "fft"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_an_image_without_elements_has_a_border(isa, algorithm, layout, groups):
    """Once a depthwise layer of it divided by its width, and the process died."""
    w = np.ones((6, 6 // groups, 3, 3), np.float32)
    options = {"padding": 2, "fill_value": 1, "groups": groups, "layout": layout}
    for height, width in ((0, 5), (5, 0), (0, 0)):
        shape = (2, 6, height, width) if layout == "NCHW" else (2, height, width, 6)
        x = np.zeros(shape, np.float32)
        for stride in (1, 2, 3):
            assert fc.explain(x, w, stride=stride, **options).algorithm == "reference"
            y = fc.conv2d(x, w, stride=stride, algorithm=algorithm, **options)
            assert y.size > 0
            inside = {"NCHW": y, "NHWC": np.moveaxis(y, -1, 1)}[layout]
            np.testing.assert_array_equal(inside[:, :, 0, 0], 9 * 6 // groups)
            if height == width == 0:
                assert (y == 9 * 6 // groups).all()


def test_lists_and_scalars_are_arrays_too():
    assert fc.conv1d([[1, 2, 3]], [[[1, 1]]]).tolist() == [[3, 5]]
    assert fc.conv1d([[1.0, 2, 3]], [[[1, 1]]], bias=[0.5]).tolist() == [[3.5, 5.5]]


def test_positional_order_is_torchs():
    x, w, b = normal(1, 4, 9, 9), normal(4, 2, 3, 3), normal(4)
    y = fc.conv2d(x, w, b, 2, 1, 2, 2)
    np.testing.assert_array_equal(y, fc.conv2d(x, w, b, stride=2, padding=1, dilation=2, groups=2))
    with pytest.raises(TypeError):
        fc.conv2d(x, w, b, 2, 1, 2, 2, "zeros")


def test_numpy_integers_are_integers():
    x, w = normal(1, 4, 9, 9), normal(4, 2, 3, 3)
    y = fc.conv2d(x, w, stride=np.int8(2), padding=(np.uint8(1), 2), groups=np.int64(2))
    np.testing.assert_array_equal(y, fc.conv2d(x, w, stride=2, padding=(1, 2), groups=2))
    y = fc.conv2d(x, w, stride=np.array([2, 1]), padding=np.array([[0, 1], [2, 3]]), groups=2)
    np.testing.assert_array_equal(
        y, fc.conv2d(x, w, stride=(2, 1), padding=((0, 1), (2, 3)), groups=2)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_agrees_with_torch(rank):
    torch = pytest.importorskip("torch")
    x, w, b = normal(2, 4, *(9,) * rank), normal(6, 2, *(3,) * rank), normal(6)
    theirs = getattr(torch.nn.functional, f"conv{rank}d")(
        *map(torch.from_numpy, (x, w, b)), stride=2, padding=2, dilation=2, groups=2
    )
    options = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
    y = FUNCTIONS[rank](x, w, b, **options)
    bound = 2 * tolerance(y.dtype, 2 * 3**rank, absolute(x, w, b, **options))
    assert (np.abs(y - theirs.numpy()) <= bound).all()
