"""The kernels of `fastconv.filters` that have a size and parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._normalize import as_int, as_sequence, show

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


def kernel_array(values: ArrayLike, dtype: DTypeLike, divisor: float = 1) -> NDArray[Any]:
    """Return `values` / `divisor` as a new array, refusing a type that would change them.

    Examples
    --------
    >>> kernel_array([[1, 1]], int, 2)
    Traceback (most recent call last):
        ...
    ValueError: dtype int64 cannot hold the values of this kernel
    """
    exact = np.asarray(values, np.float64) / divisor
    result = np.dtype(dtype)
    if result.kind in "iu":
        limits = np.iinfo(result)
        whole = np.rint(exact)
        if np.any(exact != whole) or whole.min() < limits.min or whole.max() > limits.max:
            raise ValueError(f"dtype {result} cannot hold the values of this kernel")
    elif result.kind != "f" and result.name != "bfloat16":
        raise TypeError(f"dtype must be of integers or floats, got {result}")
    return exact.astype(result)


def box(size: int | tuple[int, int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Blur by the mean of a rectangle.

    ::

                        1 ... 1
        1/(rows*cols) * .     .
                        1 ... 1

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns.
    dtype : dtype_like
        Type of the result.

    Notes
    -----
    Gonzalez and Woods, *Digital Image Processing*, the section on smoothing.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.box((1, 4))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    rows, columns = _size(size)
    return kernel_array(np.ones((rows, columns)), dtype, rows * columns)


def gaussian(
    size: int | tuple[int, int],
    sigma: float | tuple[float, float] | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Blur by a Gaussian, sampled at the pixels and scaled to the sum 1.

    ::

        kernel[i, j] = exp(-(y**2 / sigma_y**2 + x**2 / sigma_x**2) / 2) / total
        y = i - (rows - 1) / 2,  x = j - (columns - 1) / 2

        gaussian(3, 1):  0.075 0.124 0.075
                         0.124 0.204 0.124
                         0.075 0.124 0.075

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns.
    sigma : float or (float, float), optional
        Standard deviation, in pixels, of both axes or of rows and columns; by default OpenCV's
        ``0.3 * ((size - 1) * 0.5 - 1) + 0.8``.
    dtype : dtype_like
        Type of the result.

    Notes
    -----
    For odd sizes the outer product of OpenCV's ``getGaussianKernel``. Marr and Hildreth, *Theory
    of Edge Detection*, 1980.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.gaussian(3, 1).round(3)
    array([[0.075, 0.124, 0.075],
           [0.124, 0.204, 0.124],
           [0.075, 0.124, 0.075]], dtype=float32)
    """
    lengths = _size(size)
    items = as_sequence(sigma)
    deviations = (sigma, sigma) if items is None else items
    if len(deviations) != 2:
        raise ValueError(f"sigma must be a number or two of them, got {show(sigma)}")
    sides = []
    for length, deviation in zip(lengths, deviations, strict=True):
        if deviation is None:
            deviation = 0.3 * ((length - 1) * 0.5 - 1) + 0.8
        scaled = _centred(length) / _number("sigma", deviation, positive=True)
        side = np.exp(-0.5 * scaled * scaled)
        sides.append(side / side.sum())
    return kernel_array(np.outer(*sides), dtype)


def gabor(
    size: int | tuple[int, int],
    sigma: float,
    theta: float,
    wavelength: float,
    gamma: float = 1.0,
    psi: float = 0.0,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Answer to stripes of one direction and wavelength: a Gaussian times a cosine.

    ::

        kernel[i, j] = exp(-(u**2 + gamma**2 * v**2) / (2 * sigma**2))
                       * cos(2 * pi * u / wavelength + psi)
        u =  x * cos(theta) + y * sin(theta)
        v = -x * sin(theta) + y * cos(theta)
        y = i - (rows - 1) / 2,  x = j - (columns - 1) / 2

        gabor(3, 1, 0, 4):  0  0.607  0
                            0  1      0
                            0  0.607  0

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns.
    sigma : float
        Standard deviation of the Gaussian, in pixels.
    theta : float
        Direction across the stripes, in radians; 0 answers to vertical stripes.
    wavelength : float
        Distance between two stripes, in pixels.
    gamma : float
        How much shorter the Gaussian is along the stripes than across them.
    psi : float
        Phase of the cosine: 0 is even, ``pi / 2`` is odd.
    dtype : dtype_like
        Type of the result.

    Notes
    -----
    OpenCV's ``getGaborKernel`` turned by 180 degrees. Daugman, *Uncertainty relation for
    resolution in space, spatial frequency, and orientation optimized by two-dimensional visual
    cortical filters*, 1985.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.gabor(3, 1, 0, 4).round(3) + 0
    array([[0.   , 0.607, 0.   ],
           [0.   , 1.   , 0.   ],
           [0.   , 0.607, 0.   ]], dtype=float32)
    """
    rows, columns = _size(size)
    width = _number("sigma", sigma, positive=True)
    period = _number("wavelength", wavelength, positive=True)
    angle, ratio, phase = (
        _number(name, value) for name, value in (("theta", theta), ("gamma", gamma), ("psi", psi))
    )
    y, x = _centred(rows)[:, None], _centred(columns)
    across = x * math.cos(angle) + y * math.sin(angle)
    along = -x * math.sin(angle) + y * math.cos(angle)
    envelope = np.exp(-((across / width) ** 2 + (ratio * along / width) ** 2) / 2)
    return kernel_array(envelope * np.cos(2 * math.pi * across / period + phase), dtype)


def _size(size: object) -> tuple[int, int]:
    items = as_sequence(size)
    if items is None:
        side = as_int("size", size, 1)
        return side, side
    if len(items) != 2:
        raise ValueError(f"size must be an integer or a (rows, columns) pair, got {show(size)}")
    return as_int("size[0]", items[0], 1), as_int("size[1]", items[1], 1)


def _number(name: str, value: object, *, positive: bool = False) -> float:
    array = np.asarray(value)
    if array.ndim != 0 or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a real number, got {show(value)}")
    number = float(array)
    if not math.isfinite(number) or (positive and number <= 0):
        wanted = "positive and finite" if positive else "finite"
        raise ValueError(f"{name} must be {wanted}, got {show(value)}")
    return number


def _centred(length: int) -> NDArray[Any]:
    return np.arange(length) - (length - 1) / 2
