"""`filter2d` against OpenCV and against a NumPy reference."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import filters

BORDERS = {
    "reflect": "BORDER_REFLECT_101",
    "symmetric": "BORDER_REFLECT",
    "edge": "BORDER_REPLICATE",
    "constant": "BORDER_CONSTANT",
}
LIMITS = {np.uint8: 256, np.uint16: 65536, np.float32: 256, np.float64: 256}


def picture(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.integers(-200, 200, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def reference(image, kernel, *, mode="reflect", anchor=None, delta=0.0, dtype=None, fill=0):
    """Pad with NumPy, sum in float64, round half to even, saturate."""
    kernel = np.asarray(kernel, np.float64)
    anchor = anchor or tuple(side // 2 for side in kernel.shape)
    pads = [(a, k - 1 - a) for a, k in zip(anchor, kernel.shape, strict=True)]
    pads += [(0, 0)] * (image.ndim - 2)
    keywords = {"constant_values": fill} if mode == "constant" else {}
    padded = np.pad(image.astype(np.float64), pads, mode=mode, **keywords)
    total = np.full(image.shape, float(delta))
    height, width = image.shape[:2]
    for row, column in np.ndindex(kernel.shape):
        total += kernel[row, column] * padded[row : row + height, column : column + width]
    result = np.dtype(dtype or image.dtype)
    if result.kind in "iu":
        info = np.iinfo(result)
        total = np.clip(np.rint(total), info.min, info.max)
    return total.astype(result)


@pytest.mark.parametrize("mode", [*BORDERS, "wrap"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1), (9, 11, 3), (5, 6, 4)])
@pytest.mark.parametrize("name", ["sobel_x", "sharpen", "edge_laplace8", "gaussian_blur"])
def test_equals_the_reference(mode, dtype, shape, name):
    # Kernels of small integers (or of sixteenths) on 16-bit integers: sums are exact in float32.
    image, kernel = picture(shape, dtype), filters.get(name)
    np.testing.assert_array_equal(
        fc.image.filter2d(image, kernel, padding_mode=mode), reference(image, kernel, mode=mode)
    )


@pytest.mark.parametrize("mode", BORDERS)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(13, 17), (13, 17, 3)])
@pytest.mark.parametrize("side", [(3, 3), (5, 5), (1, 4), (4, 2), (7, 7)])
def test_equals_opencv(mode, dtype, shape, side):
    cv2 = pytest.importorskip("cv2")
    image = picture(shape, dtype, 1)
    kernel = np.random.default_rng(2).integers(-3, 4, side).astype(np.float32)
    expected = cv2.filter2D(image, -1, kernel, borderType=getattr(cv2, BORDERS[mode]))
    result = fc.image.filter2d(image, kernel, padding_mode=mode)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_is_within_one_step_of_opencv_where_rounding_may_differ(dtype):
    cv2 = pytest.importorskip("cv2")
    image, kernel = picture((40, 50, 3), dtype, 3), filters.gaussian(5, 1.1)
    expected = cv2.filter2D(image, -1, kernel).astype(int)
    result = fc.image.filter2d(image, kernel).astype(int)
    assert np.abs(result - expected).max() <= 1
    assert np.mean(result != expected) < 0.01


def test_half_goes_to_even():
    image = np.array([[1, 3, 5, 7, 2, 255]], np.uint8)
    np.testing.assert_array_equal(fc.image.filter2d(image, [[0.5]]), [[0, 2, 2, 4, 1, 128]])
    result = fc.image.filter2d(image, [[-0.5]], dtype=np.int16)
    np.testing.assert_array_equal(result, [[0, -2, -2, -4, -1, -128]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_integers_saturate(dtype):
    info = np.iinfo(dtype)
    image = np.array([[info.min, 1, info.max]], dtype)
    np.testing.assert_array_equal(
        fc.image.filter2d(image, [[3]]), [[max(3 * info.min, info.min), 3, info.max]]
    )
    np.testing.assert_array_equal(
        fc.image.filter2d(image, [[-3]]),
        [[info.max if info.min else 0, max(-3, info.min), info.min]],
    )
    np.testing.assert_array_equal(fc.image.filter2d(image, [[1]], delta=1e9), [[info.max] * 3])
    np.testing.assert_array_equal(fc.image.filter2d(image, [[1]], delta=-1e9), [[info.min] * 3])


def test_delta_is_added_before_rounding():
    image = np.array([[1, 2, 3]], np.uint8)
    np.testing.assert_array_equal(fc.image.filter2d(image, [[0.5]], delta=0.25), [[1, 1, 2]])
    result = fc.image.filter2d(image.astype(np.float32), [[0.5]], delta=0.25)
    np.testing.assert_array_equal(result, [[0.75, 1.25, 1.75]])


@pytest.mark.parametrize("mode", BORDERS)
@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (2, 1)])
def test_every_anchor_equals_opencv(mode, shape):
    cv2 = pytest.importorskip("cv2")
    image = picture((8, 9), np.uint8, 4)
    kernel = np.arange(1, 1 + shape[0] * shape[1], dtype=np.float32).reshape(shape) % 4
    for row, column in np.ndindex(shape):
        expected = cv2.filter2D(
            image, cv2.CV_32F, kernel, anchor=(column, row), borderType=getattr(cv2, BORDERS[mode])
        )
        result = fc.image.filter2d(
            image, kernel, anchor=(row, column), padding_mode=mode, dtype=np.float32
        )
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (1, 2)])
def test_flip_turns_kernel_and_anchor(shape):
    image = picture((8, 9), np.float64, 5)
    kernel = np.arange(shape[0] * shape[1]).reshape(shape) + 1.0
    for anchor in [None, *np.ndindex(shape)]:
        turned = tuple(
            side - 1 - (side // 2 if anchor is None else anchor[axis])
            for axis, side in enumerate(shape)
        )
        np.testing.assert_array_equal(
            fc.image.filter2d(image, kernel, flip=True, anchor=anchor),
            fc.image.filter2d(image, kernel[::-1, ::-1], anchor=turned),
        )


def test_flip_equals_scipys_convolution():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = picture((8, 9), np.float64, 6)
    for shape in ((3, 3), (2, 4), (5, 2)):
        kernel = np.arange(shape[0] * shape[1]).reshape(shape) + 1.0
        np.testing.assert_array_equal(
            fc.image.filter2d(image, kernel), ndimage.correlate(image, kernel, mode="mirror")
        )
        np.testing.assert_array_equal(
            fc.image.filter2d(image, kernel, flip=True),
            ndimage.convolve(image, kernel, mode="mirror"),
        )


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.uint8, np.int16),
        (np.uint8, np.uint16),
        (np.uint8, np.float32),
        (np.uint8, np.float64),
        (np.uint16, np.uint8),
        (np.uint16, np.float64),
        (np.int16, np.float32),
        (np.float32, np.float64),
        (np.float64, np.float32),
    ],
)
def test_result_types(source, target):
    image, kernel = picture((7, 8, 3), source, 7), filters.sobel_y()
    result = fc.image.filter2d(image, kernel, dtype=target)
    assert result.dtype == target
    np.testing.assert_array_equal(result, reference(image, kernel, dtype=target))


def test_float64_kernel_computes_in_float32_as_opencv_does():
    cv2 = pytest.importorskip("cv2")
    image = np.full((1, 1), 255, np.uint8)
    kernel = np.array([[1 / 3]])
    for dtype, depth in ((np.float32, cv2.CV_32F), (np.float64, cv2.CV_64F)):
        result = fc.image.filter2d(image, kernel, dtype=dtype)
        np.testing.assert_array_equal(result, cv2.filter2D(image, depth, kernel))
    assert result.item() == 255 * (1 / 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (3, 2, 3)])
@pytest.mark.parametrize("mode", [*BORDERS, "wrap"])
def test_kernel_larger_than_the_picture(shape, mode):
    image, kernel = picture(shape, np.uint8, 8), filters.box(9, np.float64) * 81
    result = fc.image.filter2d(image, kernel, padding_mode=mode, dtype=np.float32)
    np.testing.assert_array_equal(result, reference(image, kernel, mode=mode, dtype=np.float32))


@pytest.mark.parametrize("shape", [(0, 4), (1, 0), (0, 0), (3, 4, 0), (0, 5, 3)])
@pytest.mark.parametrize("mode", ["reflect", "constant", "wrap"])
def test_empty_pictures(shape, mode):
    result = fc.image.filter2d(np.zeros(shape, np.uint8), filters.box(3), padding_mode=mode)
    assert result.shape == shape
    assert result.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_views(dtype):
    base, kernel = picture((20, 24, 6), dtype, 9), filters.sharpen()
    views = [
        base[::-1, ::2, 1],
        base[3:9, -4::-3, ::-2],
        base.transpose(1, 0, 2),
        base[:, :, :1],
        np.broadcast_to(base[:1, :, :3], (5, 24, 3)),
        base.astype(base.dtype.newbyteorder(">")),
    ]
    for view in views:
        result = fc.image.filter2d(view, kernel)
        assert result.dtype.isnative
        np.testing.assert_array_equal(result, reference(view.astype(dtype), kernel))


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)])
def test_out(shape):
    image, kernel = picture(shape, np.uint8, 10), filters.box(3)
    expected = fc.image.filter2d(image, kernel)
    room = np.zeros((2 * shape[0], *shape[1:]), np.uint8)
    out = room[::-2]
    assert fc.image.filter2d(image, kernel, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert not room[::2].any()
    # In place, and shifted over itself.
    copy = image.copy()
    fc.image.filter2d(copy, kernel, out=copy)
    np.testing.assert_array_equal(copy, expected)
    copy = image.copy()
    fc.image.filter2d(copy[:-1], kernel, out=copy[1:])
    np.testing.assert_array_equal(copy[1:], fc.image.filter2d(image[:-1], kernel))


def test_bad_out():
    image, kernel = np.zeros((4, 5, 3), np.uint8), filters.box(3)
    with pytest.raises(TypeError, match=r"^out must be a numpy.ndarray"):
        fc.image.filter2d(image, kernel, out=[1])
    for out in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.float32)):
        with pytest.raises(ValueError, match=r"^out must have shape \(4, 5, 3\) and dtype uint8"):
            fc.image.filter2d(image, kernel, out=out)
    out = np.zeros((4, 5, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        fc.image.filter2d(image, kernel, out=out)
    with pytest.raises(ValueError, match="out"):
        fc.image.filter2d(
            image,
            kernel,
            out=np.lib.stride_tricks.as_strided(np.zeros(15, np.uint8), (4, 5, 3), (0, 3, 1)),
        )


@pytest.mark.parametrize("anchor", [(-1, -1), (-1, 0), (3, 0), (0, 5), (0, 2**40), (-3, 0)])
def test_anchor_outside_the_kernel(anchor):
    with pytest.raises(ValueError, match=r"^anchor"):
        fc.image.filter2d(np.zeros((4, 4), np.uint8), np.ones((3, 5)), anchor=anchor)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"anchor": 1}, TypeError, "^anchor must be a .row, column. pair"),
        ({"anchor": (1,)}, ValueError, "^anchor must be a .row, column. pair"),
        ({"anchor": (1.0, 1)}, TypeError, r"^anchor\[0\] must be an integer"),
        ({"delta": "1"}, TypeError, "^delta must be a real number"),
        ({"delta": 1j}, TypeError, "^delta must be a real number"),
        ({"delta": [1, 2]}, TypeError, "^delta must be a real number"),
        ({"padding_mode": "mirror"}, ValueError, "^padding_mode must be"),
        ({"flip": 1}, TypeError, "^flip must be True or False"),
        ({"dtype": np.int32}, TypeError, "^dtype must be uint8"),
        ({"dtype": bool}, TypeError, "^dtype must be uint8"),
        ({"dtype": np.complex64}, TypeError, "^dtype must be uint8"),
    ],
)
def test_bad_options(options, error, match):
    for shape in ((4, 4), (0, 4)):
        with pytest.raises(error, match=match):
            fc.image.filter2d(np.zeros(shape, np.uint8), np.ones((3, 3)), **options)


def test_bad_arrays():
    image, kernel = np.zeros((4, 4), np.uint8), np.ones((3, 3))
    for dtype in (bool, np.int8, np.int32, np.int64, np.float16, complex, object, "U1", "M8[s]"):
        with pytest.raises(TypeError, match=r"^image must be uint8"):
            fc.image.filter2d(np.zeros((4, 4), dtype), kernel)
    for shape in ((), (4,), (1, 4, 4, 3), (1,) * 40):
        with pytest.raises(ValueError, match=r"^image must be .H, W"):
            fc.image.filter2d(np.zeros(shape, np.uint8), kernel)
    for shape in ((3,), (), (1, 1, 3, 3)):
        with pytest.raises(ValueError, match=r"^kernel must have 2 dimensions"):
            fc.image.filter2d(image, np.ones(shape))
    for shape in ((0, 3), (3, 0), (0, 0)):
        with pytest.raises(ValueError, match=r"^kernel must not be empty"):
            fc.image.filter2d(image, np.ones(shape))
    for dtype in (bool, complex, object, "U1"):
        with pytest.raises(TypeError, match=r"^kernel must be of integers or floats"):
            fc.image.filter2d(image, np.ones((3, 3)).astype(dtype))
    with pytest.raises(TypeError, match=r"^dtype must be float32 or float64 for an image"):
        fc.image.filter2d(image.astype(np.float32), kernel, dtype=np.uint8)


def test_constant_border_has_the_fill_value():
    cv2 = pytest.importorskip("cv2")
    image, kernel = picture((5, 6), np.uint8, 11), np.ones((3, 3), np.float32)
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=100)
    expected = cv2.filter2D(padded, cv2.CV_32F, kernel)[1:-1, 1:-1]
    result = fc.image.filter2d(
        image, kernel, padding_mode="constant", fill_value=100, dtype=np.float32
    )
    np.testing.assert_array_equal(result, expected)


def test_calls_are_told_apart():
    # What is remembered of a call serves none that is wrong, or of other options.
    image, kernel = np.arange(30.0).reshape(5, 6), np.arange(9.0).reshape(3, 3)
    for _ in range(2):
        flipped = fc.image.filter2d(image, kernel, flip=True)
        np.testing.assert_array_equal(flipped, fc.image.filter2d(image, kernel[::-1, ::-1]))
        with pytest.raises(TypeError, match="flip must be True or False"):
            fc.image.filter2d(image, kernel, flip=1)
        moved = fc.image.filter2d(image, kernel, anchor=(0, 0), padding_mode="wrap")
        kept = fc.image.filter2d(image, kernel, padding_mode="wrap")
        np.testing.assert_array_equal(moved, np.roll(kept, (-1, -1), (0, 1)))
        np.testing.assert_array_equal(
            fc.image.filter2d(image, kernel, anchor=(1, 1), padding_mode="wrap"), kept
        )
        for wrong in ((1.0, 1.0), (True, 1), [1.0, 1]):
            with pytest.raises(TypeError, match="anchor"):
                fc.image.filter2d(image, kernel, anchor=wrong, padding_mode="wrap")
        where = [0, 0]
        for row in (0, 1):
            where[0] = row
            fixed = fc.image.filter2d(image, kernel, anchor=(row, 0))
            np.testing.assert_array_equal(fc.image.filter2d(image, kernel, anchor=where), fixed)
        assert fc.image.filter2d(image.astype("u1"), kernel, dtype=np.uint16).dtype == np.uint16
        assert fc.image.filter2d(image, kernel, dtype="f4").dtype == np.float32
        assert fc.image.filter2d(image.astype("u1"), kernel).dtype == np.uint8
        assert fc.image.filter2d(image.astype("u1"), kernel, dtype=np.int16).dtype == np.int16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_rows_of_any_length_round_alike(isa, dtype):
    info = np.iinfo(dtype)
    for length in (*range(1, 70), 128, 200, 259):
        image = np.linspace(info.min, info.max, length).astype(dtype)[None]
        for factor in (0.5, -1.5, 1e6, np.inf, np.nan):
            with np.errstate(invalid="ignore"):
                exact = image.astype(np.float64) * factor
            expected = np.clip(np.rint(exact), info.min, info.max)
            expected = np.where(np.isnan(exact), info.min, expected).astype(dtype)
            result = fc.image.filter2d(image, [[factor]])
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("columns", [150, 191, 200, 330, 333])
@pytest.mark.parametrize(
    "side", [(1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 2), (6, 1), (1, 17)]
)
def test_small_kernels_on_wide_pictures(isa, dtype, columns, side):
    kernel = np.random.default_rng(2).integers(-2, 3, side)
    for shape in ((9, columns), (6, columns // 3, 3)):
        image = picture(shape, dtype, 5) // (1 if np.dtype(dtype).itemsize == 1 else 8)
        for mode in ("reflect", "constant"):
            result = fc.image.filter2d(image, kernel, padding_mode=mode)
            np.testing.assert_array_equal(result, reference(image, kernel, mode=mode))
