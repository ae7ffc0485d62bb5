"""SciPy's correlation and convolution of one array with another, in one, two and three dimensions.

Both are windows of the same "full" result, and each window is computed as such: padding that the
window does not need is never made, and of two arrays the smaller one is the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
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
    method : {"auto", "direct"}
        Both mean the sum of products. SciPy's ``"fft"`` is not in this version.

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

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.correlate([1, 2, 3], [0, 1, 2])
    array([2, 5, 8, 3, 0])
    >>> fc.correlate([1j, 2], [1j], mode="same")
    array([1.+0.j, 0.-2.j])
    """
    first, second = _checked(in1, in2, mode, method)
    if second.dtype.kind == "c":
        second = second.conj()
    if first.size >= second.size:
        return _window(first, second, _bounds(first.shape, second.shape, mode), flip=False)
    # Correlating with an array is convolving with its reverse, and convolution commutes.
    return _window(np.flip(second), first, _bounds(first.shape, second.shape, mode), flip=True)


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
    method : {"auto", "direct"}
        Both mean the sum of products. SciPy's ``"fft"`` is not in this version.

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

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.convolve([1, 2, 3], [0, 1, 2])
    array([0, 1, 4, 7, 6])
    >>> fc.convolve([[1, 2], [3, 4]], [[1, 1]], mode="valid")
    array([[3],
           [7]])
    """
    first, second = _checked(in1, in2, mode, method)
    bounds = _bounds(first.shape, second.shape, mode)
    if first.size < second.size:
        first, second = second, first
    return _window(first, second, bounds, flip=True)


def _checked(
    in1: ArrayLike, in2: ArrayLike, mode: object, method: object
) -> tuple[NDArray[Any], NDArray[Any]]:
    as_choice("mode", mode, _MODES)
    if isinstance(method, str) and method == "fft":
        raise ValueError("method 'fft' is not in this version; it has 'auto' and 'direct'")
    as_choice("method", method, ("auto", "direct"))
    arrays = np.asarray(in1), np.asarray(in2)
    for name, array in zip(("in1", "in2"), arrays, strict=True):
        if array.dtype.kind in "bOSUTmM" or array.dtype.char in "gG":
            raise TypeError(f"{name} must be of a numeric type, got dtype {array.dtype}")
        if array.ndim not in (1, 2, 3):
            raise ValueError(
                f"{name} must have 1, 2 or 3 dimensions, got {array.ndim}: shape "
                f"{show(array.shape)}"
            )
        if array.size == 0:
            raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if arrays[0].ndim != arrays[1].ndim:
        raise ValueError(
            "in1 and in2 must have the same number of dimensions, "
            f"got shapes {arrays[0].shape} and {arrays[1].shape}"
        )
    return arrays


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


def _window(
    x: NDArray[Any], kernel: NDArray[Any], bounds: list[tuple[int, int]], *, flip: bool
) -> NDArray[Any]:
    """Compute the part `bounds` of the full result of sliding `kernel` over `x`.

    Element j of the full result needs x[j - k + 1 : j + 1]. What a window does not need of `x` is
    cut off, and what it needs beyond the ends becomes padding.
    """
    cut, padding = [], []
    for n, k, (start, stop) in zip(x.shape, kernel.shape, bounds, strict=True):
        low, high = start - k + 1, stop
        cut.append(slice(max(low, 0), min(high, n)))
        padding.append((max(-low, 0), max(high - n, 0)))
    spec = signal_spec(x.ndim, tuple(padding), flip)
    result = _core.conv(spec, x[tuple(cut)][None], kernel[None, None], None, 0, None, None)
    plane: NDArray[Any] = result[0]
    return plane
