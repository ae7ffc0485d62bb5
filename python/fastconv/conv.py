"""The layer API: cross-correlation of batches of multi-channel signals, images and volumes.

The positional order of the arguments is torch's. `conv1d`, `conv2d` and `conv3d` compute
cross-correlation, as layers do; ``flip=True`` makes it true convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from . import config as _config
from ._explain import Candidate, Explanation
from ._normalize import (
    as_int,
    as_sequence,
    canonical_options,
    make_spec,
    show,
    spec_finder,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


__all__ = [
    "Candidate",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Explanation",
    "conv1d",
    "conv2d",
    "conv3d",
    "explain",
]

_run = _core.conv
_finder1, _finder2, _finder3 = spec_finder(1), spec_finder(2), spec_finder(3)

# The bodies of the three functions repeat each other, because a call on a small array costs less
# than three microseconds only where nothing stands between the caller and the engine.


def conv1d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
    layout: str = "NCHW",
    activation: str | None = None,
    precision: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Cross-correlate a batch of multi-channel signals with a bank of kernels.

    Parameters
    ----------
    x : array_like
        ``(N, C, W)`` or ``(C, W)``; with ``layout="NHWC"``, ``(N, W, C)`` or ``(W, C)``.
    w : array_like
        ``(K, C // groups, kernel_W)``.
    bias, stride, padding, dilation, groups
        As for `conv2d`, with one item per axis, that is one. A pair is ``padding=[(lo, hi)]``.
    padding_mode, fill_value, flip, layout, activation, precision, algorithm, dtype, out
        As for `conv2d`. ``"NCW"`` and ``"NWC"`` are further names of the two layouts.

    Returns
    -------
    numpy.ndarray
        ``(N, K, out_W)``, or without ``N``, or with the channels last, as `x` is.

    See Also
    --------
    conv2d : Describes every option.
    fastconv.correlate, fastconv.convolve : SciPy's functions, for one signal without channels.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1, 2, 4, 8]])
    >>> fc.conv1d(x, np.array([[[-1, 1]]]))
    array([[1, 2, 4]])
    """
    if precision is None:
        precision = _config.default_precision
    s, p, d, g, mode, flipped, order, function, least, named, spec = _finder1.latest
    if not (
        s is stride and p is padding and d is dilation and g is groups and mode is padding_mode
        and flipped is flip and order is layout and function is activation and least is precision
        and named is algorithm
    ):  # fmt: skip
        spec = _finder1.find(
            stride, padding, dilation, groups, padding_mode, flip, layout, activation, precision,
            algorithm,
        )  # fmt: skip
    return _run(spec, x, w, bias, fill_value, dtype, out)


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
    layout: str = "NCHW",
    activation: str | None = None,
    precision: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Cross-correlate a batch of multi-channel images with a bank of kernels.

    Parameters
    ----------
    x : array_like
        ``(N, C, H, W)``, or ``(C, H, W)`` without a batch; with ``layout="NHWC"``,
        ``(N, H, W, C)`` or ``(H, W, C)``. Any strides and byte order.
    w : array_like
        ``(K, C // groups, kernel_H, kernel_W)`` in both layouts.
    bias : array_like, optional
        ``(K,)``, added to each output channel.
    stride, dilation : int or sequence of int
        One for all axes or one per axis; at least 1.
    padding : int, sequence, or {"valid", "same", "same_lower"}
        One int, one int per axis, or one ``(lo, hi)`` pair per axis. ``"same"`` makes the output
        ``ceil(size / stride)`` long and puts an odd surplus at the end, ``"same_lower"`` at the
        beginning.
    groups : int
        Channels and kernels are split into this many independent groups.
    padding_mode : str
        One of ``np.pad``'s ``"constant"`` (or ``"zeros"``), ``"reflect"``, ``"symmetric"``,
        ``"edge"`` (or ``"replicate"``), ``"wrap"`` (or ``"circular"``). The result equals padding
        with ``np.pad`` and then sliding without padding.
    fill_value : scalar
        The constant of ``padding_mode="constant"``, taken in the type of the result: with integer
        `x` and ``dtype="float64"``, 1.5 pads 1.5. An integer result cuts its fraction off and
        wraps it.
    flip : bool
        Flip the kernel along every spatial axis: true convolution.
    layout : str
        ``"NCHW"`` or ``"channels_first"``; ``"NHWC"`` or ``"channels_last"``.
    activation : {"relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu"}, optional
        Applied to the result; the slope of ``"leaky_relu"`` is 0.01.
    precision : {"highest", "high", "medium"}, optional
        The least precision that float32 products may have; None means `get_precision`'s. It is a
        permission, not a request (`set_precision`).
    algorithm : {"auto", "direct", "winograd", "im2col", "amx_split", "fft", "separable", \
"reference"}
        An algorithm that cannot run the call raises a ValueError that says why. ``"amx_split"``
        makes float32 products of bfloat16 parts; without the instructions it is slow. ``"fft"``
        is for kernels that are long along an axis, and transforms along that. ``"separable"`` sums
        along one axis after the other, for kernels of single channels that are outer products,
        such as Gaussians.
    dtype : dtype_like, optional
        Type of the result, by default ``np.result_type(x, w)``. Integers wrap as NumPy's do;
        a wider `dtype` avoids that.
    out : numpy.ndarray, optional
        Array of the right shape and type that receives the result. It may share memory with an
        input.

    Returns
    -------
    numpy.ndarray
        ``(N, K, out_H, out_W)``, or without ``N``, or with the channels last, as `x` is; `out`
        where it was given.

    Raises
    ------
    ValueError, TypeError, MemoryError
        Names the argument, its value and what was expected. Nothing is computed then.

    See Also
    --------
    Conv2d : The same with the weights packed once.
    explain : What the engine would do with a call.
    fastconv.image.filter2d : One kernel over an H x W or H x W x C picture.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> image = np.array([[2, 0, 1, 3], [7, 1, 1, 0], [0, 2, 5, 0], [0, 5, 1, 4]])
    >>> kernel = np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]])
    >>> fc.conv2d(image[None], kernel[None, None])[0]
    array([[-4, -3],
           [ 3, -8]])

    Convolution flips the kernel, and this kernel is odd under the flip:

    >>> fc.conv2d(image[None], kernel[None, None], flip=True)[0]
    array([[ 4,  3],
           [-3,  8]])
    """
    if precision is None:
        precision = _config.default_precision
    s, p, d, g, mode, flipped, order, function, least, named, spec = _finder2.latest
    if not (
        s is stride and p is padding and d is dilation and g is groups and mode is padding_mode
        and flipped is flip and order is layout and function is activation and least is precision
        and named is algorithm
    ):  # fmt: skip
        spec = _finder2.find(
            stride, padding, dilation, groups, padding_mode, flip, layout, activation, precision,
            algorithm,
        )  # fmt: skip
    return _run(spec, x, w, bias, fill_value, dtype, out)


def conv3d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
    layout: str = "NCHW",
    activation: str | None = None,
    precision: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Cross-correlate a batch of multi-channel volumes with a bank of kernels.

    Parameters
    ----------
    x : array_like
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``; with ``layout="NHWC"``, ``(N, D, H, W, C)`` or
        ``(D, H, W, C)``.
    w : array_like
        ``(K, C // groups, kernel_D, kernel_H, kernel_W)``.
    bias, stride, padding, dilation, groups
        As for `conv2d`, with three axes.
    padding_mode, fill_value, flip, layout, activation, precision, algorithm, dtype, out
        As for `conv2d`. ``"NCDHW"`` and ``"NDHWC"`` are further names of the two layouts.

    Returns
    -------
    numpy.ndarray
        ``(N, K, out_D, out_H, out_W)``, or without ``N``, or with the channels last, as `x` is.

    See Also
    --------
    conv2d : Describes every option.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> fc.conv3d(x, np.ones((1, 1, 2, 2, 2)))
    array([[[[28.]]]])
    """
    if precision is None:
        precision = _config.default_precision
    s, p, d, g, mode, flipped, order, function, least, named, spec = _finder3.latest
    if not (
        s is stride and p is padding and d is dilation and g is groups and mode is padding_mode
        and flipped is flip and order is layout and function is activation and least is precision
        and named is algorithm
    ):  # fmt: skip
        spec = _finder3.find(
            stride, padding, dilation, groups, padding_mode, flip, layout, activation, precision,
            algorithm,
        )  # fmt: skip
    return _run(spec, x, w, bias, fill_value, dtype, out)


class _Layer:
    """What the three plan classes share."""

    _rank: int

    def __init__(
        self,
        w: ArrayLike,
        bias: ArrayLike | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        fill_value: Any = 0,
        flip: bool = False,
        layout: str = "NCHW",
        activation: str | None = None,
        precision: str | None = None,
        algorithm: str = "auto",
        dtype: DTypeLike | None = None,
    ) -> None:
        if precision is None:
            precision = _config.default_precision
        options = canonical_options(
            self._rank, stride, padding, dilation, groups, padding_mode, flip, layout, activation,
            precision, algorithm,
        )  # fmt: skip
        self._set(w, bias, options, fill_value, dtype)

    def _set(
        self,
        w: ArrayLike,
        bias: ArrayLike | None,
        options: tuple[Any, ...],
        fill_value: object,
        dtype: DTypeLike | None,
    ) -> None:
        # Own copies, so that later changes of the caller's arrays reach neither a copy of the
        # plan nor `weight`; the plan itself holds packed weights.
        self._weight = np.array(w)
        self._weight.flags.writeable = False
        self._bias = None if bias is None else np.array(bias)
        self._options = options
        if isinstance(fill_value, np.ndarray):
            fill_value = fill_value.copy()
        self._plan = _core.Plan(make_spec(*options), self._weight, self._bias, fill_value, dtype)
        self._rest = (fill_value, None if dtype is None else np.dtype(dtype))

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Apply the layer to `x`, as the function of the same name does."""
        return self._plan(x, out)

    @property
    def weight(self) -> NDArray[Any]:
        """A read-only copy of the weights."""
        return self._weight

    def explain(self, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> Explanation:
        """Say what the engine would do with an input of this shape.

        Parameters
        ----------
        shape : tuple of int
            Shape of `x`.
        dtype : dtype_like, optional
            Type of `x`, by default that of the weights.

        Returns
        -------
        Explanation
            Its ``str()`` is a table.
        """
        x_dtype = self._weight.dtype if dtype is None else np.dtype(dtype)
        return Explanation.from_core(self._plan.explain(_as_shape(shape), x_dtype))

    def __repr__(self) -> str:
        weight = self._weight
        # The fields of _core.Spec, in its order.
        names = ("stride", "padding", "dilation", "groups", "padding_mode", "flip")
        plain = ((1,) * self._rank, ((0, 0),) * self._rank, (1,) * self._rank, 1, "constant", False)
        changed = [
            f", {name}={value!r}"
            for name, value, usual in zip(names, self._options[1:], plain, strict=False)
            if value != usual
        ]
        return f"{type(self).__name__}(<{weight.dtype} {weight.shape}>{''.join(changed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._weight, self._bias, self._options, *self._rest)


def _rebuild(cls: type[_Layer], *arguments: Any) -> _Layer:
    layer = cls.__new__(cls)
    layer._set(*arguments)
    return layer


def _as_shape(shape: object) -> tuple[int, ...]:
    items = as_sequence(shape)
    if items is None:
        raise TypeError(f"shape must be a tuple of integers, got {show(shape)}")
    return tuple(as_int(f"shape[{axis}]", size, 0) for axis, size in enumerate(items))


class Conv1d(_Layer):
    """`conv1d` with its weights packed once.

    Takes the options of `conv1d`, all but `x` and `out`. The weights and the bias are copied.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> difference = fc.Conv1d(np.array([[[-1, 1]]]))
    >>> difference(np.array([[1, 2, 4, 8]]))
    array([[1, 2, 4]])
    """

    _rank = 1


class Conv2d(_Layer):
    """`conv2d` with its weights packed once.

    Takes the options of `conv2d`, all but `x` and `out`. The weights and the bias are copied.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> layer = fc.Conv2d(np.ones((1, 1, 2, 2), np.float32), stride=2)
    >>> layer
    Conv2d(<float32 (1, 1, 2, 2)>, stride=(2, 2))
    >>> layer(np.arange(16, dtype=np.float32).reshape(1, 4, 4))
    array([[[10., 18.],
            [42., 50.]]], dtype=float32)
    """

    _rank = 2


class Conv3d(_Layer):
    """`conv3d` with its weights packed once.

    Takes the options of `conv3d`, all but `x` and `out`. The weights and the bias are copied.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> total = fc.Conv3d(np.ones((1, 1, 2, 2, 2), int))
    >>> total(np.arange(8).reshape(1, 2, 2, 2))
    array([[[[28]]]])
    """

    _rank = 3


def explain(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
    layout: str = "NCHW",
    activation: str | None = None,
    precision: str | None = None,
    algorithm: str = "auto",
    dtype: DTypeLike | None = None,
) -> Explanation:
    """Say what the engine would do with a call of `conv1d`, `conv2d` or `conv3d`.

    Nothing is computed. Takes the options of `conv2d`, all but `out`; the rank is that of `w`.

    Returns
    -------
    Explanation
        Chosen algorithm, why each other candidate was not chosen, ISA, threads, FLOPs, bytes and
        scratch; its ``str()`` is a table.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> why = fc.explain(np.ones((1, 16, 32, 32), np.float32), np.ones((8, 16, 3, 3), np.float32))
    >>> why.output_shape, why.flops
    ((1, 8, 30, 30), 2073600)
    >>> print(why)  # doctest: +ELLIPSIS
    algorithm ...
    """
    x, w = np.asarray(x), np.asarray(w)
    rank = w.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"w must have 3, 4 or 5 dimensions, got shape {show(w.shape)}")
    if precision is None:
        precision = _config.default_precision
    options = canonical_options(
        rank, stride, padding, dilation, groups, padding_mode, flip, layout, activation, precision,
        algorithm,
    )  # fmt: skip
    return Explanation.from_core(_core.explain(make_spec(*options), x, w, bias, fill_value, dtype))
