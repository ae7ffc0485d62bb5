"""The named kernels: their values, types and parameters."""

import math

import numpy as np
import pytest

from fastconv import filters

LECTURE = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "edge1": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
    "edge2": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "edge3": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "edge_diagonal": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
    "edge_laplace4": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "edge_laplace8": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "prewitt_x": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "scharr_x": [[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]],
}


@pytest.mark.parametrize("name", LECTURE)
def test_values(name):
    kernel = filters.get(name)
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, LECTURE[name])
    np.testing.assert_array_equal(filters.get(name, dtype=np.int16), LECTURE[name])


def test_blurs():
    np.testing.assert_array_equal(filters.gaussian_blur() * 16, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_array_equal(filters.box_blur(), np.full((3, 3), np.float32(1 / 9)))
    np.testing.assert_array_equal(filters.box_blur(), filters.box(3))


@pytest.mark.parametrize("family", ["sobel", "prewitt", "scharr"])
def test_y_is_x_transposed(family):
    across, down = (filters.get(f"{family}_{axis}") for axis in "xy")
    np.testing.assert_array_equal(down, across.T)
    assert down.flags.c_contiguous


def test_gallery_is_whole_and_documented():
    gallery = filters.gallery()
    assert tuple(gallery) == filters.names()
    assert len(gallery) == 14
    for name, kernel in gallery.items():
        assert kernel.shape == (3, 3)
        rows = getattr(filters, name).__doc__.split("::")[1].split("\n\n")[1]
        shown = [line.split("*")[-1].split() for line in rows.splitlines()]
        factor = {"box_blur": 9, "gaussian_blur": 16}.get(name, 1)
        np.testing.assert_allclose(np.array(shown, float), kernel * factor, rtol=1e-6)


def test_every_call_makes_a_new_array():
    for name in filters.names():
        kernel = filters.get(name)
        kernel[...] = 77
        assert not np.any(filters.get(name) == 77)


def test_type_must_hold_the_values():
    for dtype in (np.float16, np.float64, ">f4", np.int8):
        assert filters.sharpen(dtype).dtype == dtype
    with pytest.raises(ValueError, match="dtype int64 cannot hold"):
        filters.box_blur(int)
    with pytest.raises(ValueError, match="dtype uint8 cannot hold"):
        filters.sobel_x(np.uint8)
    for dtype in (bool, complex, object, "U4"):
        with pytest.raises(TypeError, match="dtype must be of integers or floats"):
            filters.identity(dtype)


def test_get_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"name must be 'identity'.*'gabor', got 'sobel'"):
        filters.get("sobel")
    with pytest.raises(TypeError, match="name must be a string"):
        filters.get(3)


def test_box():
    np.testing.assert_array_equal(filters.box((2, 4)), np.full((2, 4), 0.125))
    np.testing.assert_array_equal(filters.get("box", size=1), [[1]])


@pytest.mark.parametrize("size", [3, 5, 9, (3, 7), (1, 5)])
@pytest.mark.parametrize("sigma", [0.5, 1, 2.5, (0.8, 3.0)])
def test_gaussian_is_opencvs(size, sigma):
    cv2 = pytest.importorskip("cv2")
    sizes = (size, size) if isinstance(size, int) else size
    sigmas = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    column, row = (
        cv2.getGaussianKernel(n, s, cv2.CV_64F) for n, s in zip(sizes, sigmas, strict=True)
    )
    kernel = filters.gaussian(size, sigma, np.float64)
    np.testing.assert_allclose(kernel, column @ row.T, rtol=1e-12)


def test_gaussian_of_even_size_is_centred_between_pixels():
    side = np.exp(-(np.array([1.5, 0.5, 0.5, 1.5]) ** 2) / 2 / 0.8**2)
    side /= side.sum()
    np.testing.assert_allclose(filters.gaussian(4, 0.8, float), np.outer(side, side), rtol=1e-12)


def test_gaussian_without_sigma_follows_opencvs_rule():
    np.testing.assert_array_equal(filters.gaussian(7), filters.gaussian(7, 1.4))
    np.testing.assert_array_equal(
        filters.gaussian((7, 9)), filters.gaussian((7, 9), (1.4, 0.3 * 3 + 0.8))
    )
    assert filters.gaussian(1).item() == 1
    assert filters.gaussian(21, 0.01).max() == 1


@pytest.mark.parametrize("theta", [0, 0.3, math.pi / 2, -2])
@pytest.mark.parametrize("psi", [0, 0.4, math.pi / 2])
def test_gabor_is_opencvs_turned_round(theta, psi):
    cv2 = pytest.importorskip("cv2")
    theirs = cv2.getGaborKernel((9, 7), 2.0, theta, 4.0, 0.6, psi, cv2.CV_64F)
    ours = filters.gabor((7, 9), 2.0, theta, 4.0, 0.6, psi, np.float64)
    np.testing.assert_allclose(ours, theirs[::-1, ::-1], atol=1e-12)


def test_gabor_answers_to_its_stripes():
    stripes = np.cos(2 * np.pi * np.arange(9) / 4)
    vertical = np.tile(np.roll(stripes, 0), (9, 1))
    kernel = filters.gabor(9, 2, 0, 4, dtype=np.float64)
    assert np.sum(kernel * vertical) > 10 * abs(np.sum(kernel * vertical.T))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "match"),
    [
        (filters.box, (0,), ValueError, "size must be between 1"),
        (filters.box, (3.0,), TypeError, "size must be an integer"),
        (filters.box, ((3, 3, 3),), ValueError, "size must be an integer or a"),
        (filters.box, ((3, -1),), ValueError, r"size\[1\] must be between 1"),
        (filters.gaussian, (3, 0), ValueError, "sigma must be positive"),
        (filters.gaussian, (3, float("nan")), ValueError, "sigma must be positive"),
        (filters.gaussian, (3, (1, 2, 3)), ValueError, "sigma must be a number or two"),
        (filters.gaussian, (3, "1"), TypeError, "sigma must be a real number"),
        (filters.gabor, (3, 1, 0, 0), ValueError, "wavelength must be positive"),
        (filters.gabor, (3, 1, math.inf, 4), ValueError, "theta must be finite"),
        (filters.gabor, (3, 1, 0, 4, 1j), TypeError, "gamma must be a real number"),
        (filters.gabor, (3, 1, 0, 4, True), TypeError, "gamma must be a real number"),
    ],
)
def test_bad_parameters(function, arguments, error, match):
    with pytest.raises(error, match=match):
        function(*arguments)
