"""SciPy's correlation and convolution of one array with another, in one, two and three dimensions.

Both are windows of the same "full" result, and each window is computed as such: padding that the
window does not need is never made, and of two arrays the smaller one is the kernel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _core
from ._finder import Finder
from ._normalize import as_choice, show, signal_spec

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


__all__ = ["convolve", "correlate"]

_MODES = ("full", "same", "valid")


def correlate(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto"
) -> NDArray[Any]:
    """Cross-correlate two arrays, as ``scipy.signal.correlate``.

    Parameters
    ----------
    in1, in2 : array_like
        Arrays of one, two or three dimensions, both of the same number.
    mode : {"full", "same", "valid"}
        ``"full"`` gives every overlap, ``"same"`` the centre of that in the shape of `in1`,
        ``"valid"`` the overlaps without padding, for which one array must be at least as large
        as the other along every axis.
    method : {"auto", "direct", "fft"}
        ``"direct"`` adds products, ``"fft"`` multiplies Fourier transforms, which is faster from
        a hundred elements or so of the smaller array on, and ``"auto"`` takes the faster. Accuracy
        is that of a sum of products either way: see Notes.

    Returns
    -------
    numpy.ndarray
        Of type ``np.result_type(in1, in2)``; integers wrap as NumPy's do.

    Raises
    ------
    ValueError, TypeError
        Also for an empty array.

    See Also
    --------
    convolve : The same with `in2` flipped.

    Notes
    -----
    ``z[k] = sum(in1[l] * conj(in2[l - k + len(in2) - 1]))`` over all ``l``, and so in each
    dimension. Outside of the arrays there are zeros, and they are multiplied: an infinity in the
    smaller array makes the border NaN.

    Transforms never spread an infinity or NaN, nor the rounding of a loud part over a quiet one:
    what they cannot make as accurately as a sum of products is summed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.correlate([1, 2, 3], [0, 1, 2])
    array([2, 5, 8, 3, 0])
    >>> fc.correlate([1j, 2], [1j], mode="same")
    array([1.+0.j, 0.-2.j])
    """
    first, second = np.asarray(in1), np.asarray(in2)
    if second.dtype.kind == "c":
        second = second.conj()
    return _compute(first, second, mode, method, False)


def convolve(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto"
) -> NDArray[Any]:
    """Convolve two arrays, as ``scipy.signal.convolve``.

    Parameters
    ----------
    in1, in2 : array_like
        Arrays of one, two or three dimensions, both of the same number.
    mode : {"full", "same", "valid"}
        ``"full"`` gives every overlap, ``"same"`` the centre of that in the shape of `in1`,
        ``"valid"`` the overlaps without padding, for which one array must be at least as large
        as the other along every axis.
    method : {"auto", "direct", "fft"}
        ``"direct"`` adds products, ``"fft"`` multiplies Fourier transforms, which is faster from
        a hundred elements or so of the smaller array on, and ``"auto"`` takes the faster. Accuracy
        is that of a sum of products either way: see Notes.

    Returns
    -------
    numpy.ndarray
        Of type ``np.result_type(in1, in2)``; integers wrap as NumPy's do.

    Raises
    ------
    ValueError, TypeError
        Also for an empty array.

    See Also
    --------
    correlate : The same with `in2` not flipped, and conjugated.

    Notes
    -----
    ``z[k] = sum(in1[l] * in2[k - l])`` over all ``l``, and so in each dimension. Outside of the
    arrays there are zeros, and they are multiplied: an infinity in the smaller array makes the
    border NaN.

    Transforms never spread an infinity or NaN, nor the rounding of a loud part over a quiet one:
    what they cannot make as accurately as a sum of products is summed.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.convolve([1, 2, 3], [0, 1, 2])
    array([0, 1, 4, 7, 6])
    >>> fc.convolve([[1, 2], [3, 4]], [[1, 1]], mode="valid")
    array([[3],
           [7]])
    """
    return _compute(np.asarray(in1), np.asarray(in2), mode, method, True)


def _compute(
    first: NDArray[Any], second: NDArray[Any], mode: object, method: object, flip: bool
) -> NDArray[Any]:
    x, k, shape, size, by, how, flipped, window = _finder.latest
    if not (
        x is first.dtype and k is second.dtype and shape == first.shape and size == second.shape
        and by is mode and how is method and flipped is flip
    ):  # fmt: skip
        window = _finder.find(
            first.dtype, second.dtype, first.shape, second.shape, mode, method, flip
        )
    if window.swapped:
        # Correlating with an array is convolving with its reverse, and convolution commutes.
        first, second = second if flip else np.flip(second), first
    first = first[window.cut]
    if window.dots is not None:
        return _sum_products(window.dots, first, np.flip(second) if window.flip else second)
    plane = None if window.mixed is None else _in_real_parts(window.mixed, first, second)
    if plane is None:
        plane = _core.conv(window.spec, first, second[None, None], None, 0, None, None)[0]
    return plane


def _in_real_parts(mixed: _Mixed, x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any] | None:
    """Compute half of the products, those of real numbers with both parts of the complex ones.

    None where complex numbers do not lie side by side.
    """
    plane: NDArray[Any]
    if mixed.complex_kernel:
        kernel = kernel.astype(mixed.result, copy=False)
        filters = np.stack((kernel.real, kernel.imag))[:, None]
        pixels = x.astype(mixed.real, copy=False)[..., None]
        plane = _core.conv(mixed.spec, pixels, filters, None, 0, None, None)[0]
        return plane.view(mixed.result)[..., 0]
    x = x.astype(mixed.result, copy=False)
    if x.strides[-1] != x.itemsize:
        return None
    kernel = kernel.astype(mixed.real, copy=False)[None, None]
    plane = _core.conv(mixed.spec, x.view(mixed.real), kernel, None, 0, None, None)[0]
    return plane.view(mixed.result)


def _sum_products(dots: _Dots, x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Compute few outputs, each the sum of the products of the kernel and as many elements."""
    kernel = np.ascontiguousarray(kernel).reshape(1, -1, 1)
    if dots.spec is None:
        total: NDArray[Any] = np.dot(x.reshape(-1), kernel[0, :, 0]).reshape(dots.shape)
        return total
    x = np.ascontiguousarray(x)
    step = x.itemsize
    windows = np.ndarray((dots.outputs, kernel.size, 1), x.dtype, x, 0, (step, step, step))
    plane: NDArray[Any] = _core.conv(dots.spec, windows, kernel, None, 0, None, None)
    return plane.reshape(dots.shape)


class _Dots(NamedTuple):
    """Few outputs of a long kernel.

    Each is a dense layer of one pixel, of which elements are the channels, so that the lanes of
    vectors are products instead of outputs.
    """

    outputs: int
    shape: tuple[int, ...]
    spec: _core.Spec | None  # None: integers, whose sums NumPy makes as fast


class _Mixed(NamedTuple):
    """How real and complex numbers are multiplied.

    A complex kernel is two filters, whose results are the channels of the last axis. Complex
    numbers and a real kernel are twice as many real ones and a kernel whose elements lie two apart.
    """

    complex_kernel: bool
    result: np.dtype[Any]
    real: np.dtype[Any]  # of its parts
    spec: _core.Spec


class _Window(NamedTuple):
    """What the types and shapes of a call decide.

    `cut` is the part of the larger array that is needed, with a new axis for the channel.
    """

    swapped: bool
    flip: bool
    cut: tuple[Any, ...]
    spec: _core.Spec
    mixed: _Mixed | None  # where one array is complex and the other is not
    dots: _Dots | None


def _window(
    dtype1: np.dtype[Any],
    dtype2: np.dtype[Any],
    shape1: tuple[int, ...],
    shape2: tuple[int, ...],
    mode: object,
    method: object,
    flip: bool,
) -> _Window:
    """Check a call, and find the part of the full result that it asks for.

    Element j of the full result needs x[j - k + 1 : j + 1]. What a window does not need of `x` is
    cut off, and what it needs beyond the ends becomes padding.
    """
    mode = as_choice("mode", mode, _MODES)
    algorithm = as_choice("method", method, ("auto", "direct", "fft"))
    for name, dtype, shape in (("in1", dtype1, shape1), ("in2", dtype2, shape2)):
        if dtype.kind in "bOSUTmM" or dtype.char in "gG":
            raise TypeError(f"{name} must be of a numeric type, got dtype {dtype}")
        if len(shape) not in (1, 2, 3):
            raise ValueError(
                f"{name} must have 1, 2 or 3 dimensions, got {len(shape)}: shape {show(shape)}"
            )
        if math.prod(shape) == 0:
            raise ValueError(f"{name} must not be empty, got shape {shape}")
    if len(shape1) != len(shape2):
        raise ValueError(
            f"in1 and in2 must have the same number of dimensions, got shapes {shape1} and {shape2}"
        )
    bounds = _bounds(shape1, shape2, mode)
    swapped = math.prod(shape1) < math.prod(shape2)
    if swapped:
        shape1, shape2 = shape2, shape1
    cut, padding = [], []
    for n, k, (start, stop) in zip(shape1, shape2, bounds, strict=True):
        low, high = start - k + 1, stop
        cut.append(slice(max(low, 0), min(high, n)))
        padding.append((max(-low, 0), max(high - n, 0)))
    flip = flip or swapped
    spec = signal_spec(tuple(padding), flip, algorithm=algorithm)
    if swapped:
        dtype1, dtype2 = dtype2, dtype1
    mixed = _mixed(dtype1, dtype2, tuple(padding), flip, algorithm)
    outputs = tuple(stop - start for start, stop in bounds)
    dots = None
    if algorithm != "fft" and np.sum(padding) == 0:
        dots = _dots(dtype1, dtype2, outputs, shape2)
    return _Window(swapped, flip, (None, *cut), spec, mixed, dots)


def _dots(
    x_type: np.dtype[Any],
    kernel_type: np.dtype[Any],
    outputs: tuple[int, ...],
    kernel_shape: tuple[int, ...],
) -> _Dots | None:
    count, products = math.prod(outputs), math.prod(kernel_shape)
    most = 8 if len(outputs) == 1 else 1  # windows of several axes do not lie side by side
    if count > most or products < 256 * (count + 1) or "c" in (x_type.kind, kernel_type.kind):
        return None
    kind = np.result_type(x_type, kernel_type).kind
    if kind == "f":
        return _Dots(count, outputs, signal_spec(((0, 0),), False))
    # NumPy's sums cannot be interrupted.
    if kind in "iu" and count == 1 and products <= 1 << 24:
        return _Dots(count, outputs, None)
    return None


def _mixed(
    x_type: np.dtype[Any],
    kernel_type: np.dtype[Any],
    padding: tuple[tuple[int, int], ...],
    flip: bool,
    algorithm: str,
) -> _Mixed | None:
    complex_kernel = kernel_type.kind == "c"
    if complex_kernel == (x_type.kind == "c"):
        return None
    result = np.result_type(x_type, kernel_type)
    if result.char not in "FD":
        return None
    real = np.dtype(np.float32 if result.char == "F" else np.float64)
    if complex_kernel:
        spec = signal_spec(padding, flip, channels_last=True, algorithm=algorithm)
    else:
        before, after = padding[-1]
        doubled = (*padding[:-1], (2 * before, 2 * after))
        spec = signal_spec(doubled, flip, interleave=2, algorithm=algorithm)
    return _Mixed(complex_kernel, result, real, spec)


def _bounds(shape1: tuple[int, ...], shape2: tuple[int, ...], mode: str) -> list[tuple[int, int]]:
    """Return the part (start, stop) of the full result that `mode` asks for, per axis."""
    pairs = list(zip(shape1, shape2, strict=True))
    if mode == "full":
        return [(0, n + k - 1) for n, k in pairs]
    if mode == "same":
        return [((k - 1) // 2, (k - 1) // 2 + n) for n, k in pairs]
    if not (all(n >= k for n, k in pairs) or all(n <= k for n, k in pairs)):
        raise ValueError(
            "for mode 'valid' one array must be at least as large as the other along every axis, "
            f"got in1 of shape {shape1} and in2 of shape {shape2}"
        )
    return [(min(n, k) - 1, max(n, k)) for n, k in pairs]


_double = np.dtype(np.float64)
_finder = Finder(_window, 7, _double, _double, (1,), (1,), "full", "auto", False)
