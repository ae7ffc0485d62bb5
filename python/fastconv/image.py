"""Linear filters of pictures, H x W or H x W x C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _core
from ._finder import Finder
from ._normalize import PADDING_MODES, as_choice, as_flag, as_int, as_sequence, image_spec, show

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


__all__ = ["filter2d"]

_run = _core.conv
_INTEGER = (np.uint8, np.uint16, np.int16)
_FLOAT = (np.float32, np.float64)
_NAMES = "uint8, uint16, int16, float32 or float64"


def filter2d(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    padding_mode: str = "reflect",
    fill_value: Any = 0,
    anchor: tuple[int, int] | None = None,
    delta: float = 0,
    flip: bool = False,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Slide a kernel over a picture, as OpenCV's ``filter2D``: cross-correlation, same size.

    Parameters
    ----------
    image : array_like
        ``(H, W)`` or ``(H, W, C)``, uint8, uint16, int16, float32 or float64. Each channel is
        filtered by itself.
    kernel : array_like
        ``(kernel_H, kernel_W)``, integers or floats.
    padding_mode : str
        What lies outside of the picture, with ``np.pad``'s meaning: ``"reflect"`` (OpenCV's
        ``BORDER_REFLECT_101``), ``"symmetric"`` (``BORDER_REFLECT``), ``"edge"`` or
        ``"replicate"``, ``"wrap"`` or ``"circular"``, ``"constant"`` or ``"zeros"``.
    fill_value : scalar
        The constant of ``padding_mode="constant"``.
    anchor : (int, int), optional
        Row and column of the kernel that lie on the pixel computed; the centre,
        ``(kernel_H // 2, kernel_W // 2)``, by default.
    delta : float
        Added to each result before it is rounded.
    flip : bool
        Flip the kernel, and its anchor with it: true convolution.
    dtype : dtype_like, optional
        Type of the result, by default that of `image`. An integer picture may become any of the
        types above, a float one float32 or float64.
    out : numpy.ndarray, optional
        Array of the shape of `image` and of the type of the result that receives it. It may be
        `image` itself.

    Returns
    -------
    numpy.ndarray
        Of the shape of `image`. Integers are rounded half to even and saturate.

    Raises
    ------
    ValueError, TypeError
        Names the argument, its value and what was expected.

    Notes
    -----
    As in OpenCV, sums are held in float64 where the picture or the result is float64, and else in
    float32, to which the kernel is then converted.

    A kernel that is an outer product, as those of `fastconv.filters.gaussian` and `box` are, is
    found to be one, and costs as many products as it has rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> step = np.array([[10, 10, 90, 90]] * 2, np.uint8)
    >>> fc.image.filter2d(step, fc.filters.box(3))
    array([[10, 37, 63, 90],
           [10, 37, 63, 90]], dtype=uint8)

    Negative results saturate to zero in uint8, and stay in int16:

    >>> fc.image.filter2d(step, [[1, 0, -1]], dtype="int16")
    array([[  0, -80, -80,   0],
           [  0, -80, -80,   0]], dtype=int16)
    """
    image = np.asarray(image)
    weights = np.asarray(kernel)
    x, k, shape, size, mode, flipped, to, at, filtering = _finder.latest
    if not (
        x is image.dtype and k is weights.dtype and shape == image.shape and size == weights.shape
        and mode is padding_mode and flipped is flip and to is dtype and at is anchor
    ):  # fmt: skip
        filtering = _finder.find(
            image.dtype, weights.dtype, image.shape, weights.shape, padding_mode, flip, dtype,
            anchor,
        )  # fmt: skip
    if weights.dtype is not filtering.kernel:
        weights = weights.astype(filtering.kernel)
    bias = None if type(delta) is int and delta == 0 else _bias(delta, filtering.kernel)
    flat = image.ndim == 2
    # The rows of dense pixels as they lie: a plane, in which columns of the kernel are C apart.
    rows = (1, 1, len(image), -1)
    if out is None and image.size and (flat or _has_dense_rows(image)):
        source = image[None, None] if flat else image.reshape(rows)
        plane: NDArray[Any] = _run(
            filtering.flat, source, weights[None, None], bias, fill_value, filtering.result, None
        )
        return plane[0, 0] if flat else plane.reshape(image.shape)
    out = _output(out, image.shape, filtering.result)
    if image.size == 0:
        return out
    if flat:
        spec, source, target = filtering.flat, image[None, None], out[None, None]
    elif _has_dense_rows(image) and _has_dense_rows(out):
        spec, source, target = filtering.flat, image.reshape(rows), out.reshape(rows)
    else:
        # Channels are the batch, with the strides of the picture.
        spec = filtering.apart
        source, target = (np.moveaxis(a[..., None], 2, 0)[:, None, ..., 0] for a in (image, out))
    _run(spec, source, weights[None, None], bias, fill_value, filtering.result, target)
    return out


class _Filtering(NamedTuple):
    """What the types and shapes of a call decide, and its options."""

    result: np.dtype[Any]
    kernel: np.dtype[Any]  # that of the sums
    flat: _core.Spec  # of rows as they lie
    apart: _core.Spec  # of one channel


def _filtering(
    image_type: np.dtype[Any],
    kernel_type: np.dtype[Any],
    image_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    padding_mode: object,
    flip: object,
    dtype: DTypeLike | None,
    anchor: object,
) -> _Filtering:
    if image_type.type not in _INTEGER + _FLOAT:
        raise TypeError(f"image must be {_NAMES}, got dtype {image_type}")
    if len(image_shape) not in (2, 3):
        raise ValueError(f"image must be (H, W) or (H, W, C), got shape {show(image_shape)}")
    result = _result_type(image_type, dtype)
    compute = np.dtype(np.float64 if np.float64 in (image_type.type, result.type) else np.float32)
    if kernel_type.kind not in "iuf":
        raise TypeError(f"kernel must be of integers or floats, got dtype {kernel_type}")
    if len(kernel_shape) != 2:
        raise ValueError(
            f"kernel must have 2 dimensions, got {len(kernel_shape)}: shape {show(kernel_shape)}"
        )
    if 0 in kernel_shape:
        raise ValueError(f"kernel must not be empty, got shape {kernel_shape}")
    mode = PADDING_MODES[as_choice("padding_mode", padding_mode, PADDING_MODES)]
    flip = as_flag("flip", flip)
    padding = _padding(kernel_shape, anchor, flip)
    saturate = result.type in _INTEGER
    channels = image_shape[2] if len(image_shape) == 3 else 1
    specs = (image_spec(padding, mode, flip, saturate, max(c, 1)) for c in (channels, 1))
    return _Filtering(result, compute, *specs)


def _has_dense_rows(image: NDArray[Any]) -> bool:
    """Return whether the elements of a row lie side by side, so that it can be seen as flat."""
    _, pixel, element = image.strides
    return element == image.itemsize and pixel == image.shape[2] * element


def _result_type(source: np.dtype[Any], dtype: DTypeLike | None) -> np.dtype[Any]:
    result = source.newbyteorder("=") if dtype is None else np.dtype(dtype)
    allowed = _FLOAT if source.type in _FLOAT else _INTEGER + _FLOAT
    if result.type not in allowed:
        names = "float32 or float64" if allowed is _FLOAT else _NAMES
        raise TypeError(f"dtype must be {names} for an image of dtype {source}, got {result}")
    return result


def _padding(
    shape: tuple[int, ...], anchor: object, flip: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    if anchor is None:
        rows, columns = shape[0] // 2, shape[1] // 2
    else:
        items = as_sequence(anchor)
        if items is None:
            raise TypeError(f"anchor must be a (row, column) pair, got {show(anchor)}")
        if len(items) != 2:
            raise ValueError(f"anchor must be a (row, column) pair, got {show(anchor)}")
        rows, columns = (as_int(f"anchor[{i}]", item, 0) for i, item in enumerate(items))
        if rows >= shape[0] or columns >= shape[1]:
            raise ValueError(
                f"anchor must lie inside the kernel of shape {shape}, got {show(anchor)}"
            )
    rows_after, columns_after = shape[0] - 1 - rows, shape[1] - 1 - columns
    if flip:
        return (rows_after, rows), (columns_after, columns)
    return (rows, rows_after), (columns, columns_after)


def _bias(delta: object, compute: np.dtype[Any]) -> NDArray[Any] | None:
    value = np.asarray(delta)
    if value.dtype.kind not in "iuf" or value.ndim != 0:
        raise TypeError(f"delta must be a real number, got {show(delta)}")
    return None if value == 0 else value.astype(compute).reshape(1)


def _output(out: object, shape: tuple[int, ...], result_type: np.dtype[Any]) -> NDArray[Any]:
    if out is None:
        return np.empty(shape, result_type)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy.ndarray, got {show(out)}")
    if out.shape != shape or out.dtype.newbyteorder("=") != result_type:
        raise ValueError(
            f"out must have shape {shape} and dtype {result_type}, "
            f"got {show(out.shape)} and {out.dtype}"
        )
    return out


_single = np.dtype(np.float32)
_finder = Finder(_filtering, 5, _single, _single, (1, 1), (1, 1), "reflect", False, None, None)
