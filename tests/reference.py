"""The judge: convolution in a page of plain NumPy, sharing nothing with the engine.

Read this file to learn what a convolution layer computes.  Everything else in the
package is a fast way to get the same numbers.

The whole definition, in one dimension, one channel:

    y[i] = sum over t of  padded_x[i * stride + t * dilation] * w[t]

That is *cross-correlation*.  Flip ``w`` first and it is *convolution*.  With channels, sum
over the input channels as well; with groups, a filter sees only the channels of its group.

Accuracy.  The sums run in a wider type than the one that is judged: float64 for float16,
bfloat16 and float32 (there each product of two float32 numbers is exact), long double for
float64, and for integers arithmetic modulo 2**64, which contains every narrower wrap.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

#: The names that fastconv accepts for each padding mode of ``np.pad``.
PAD_NAMES = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "edge": "edge",
    "replicate": "edge",
    "wrap": "wrap",
    "circular": "wrap",
}

CHANNELS_LAST = {"NHWC", "channels_last", "NWC", "NDHWC"}

#: What each activation does to a value.
ACTIVATIONS = {
    None: lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "relu6": lambda y: np.minimum(np.maximum(y, 0), 6),
    "leaky_relu": lambda y: np.where(y >= 0, y, y * y.dtype.type(0.01)),
    "sigmoid": lambda y: (1 + np.tanh(y / 2)) / 2,  # = 1 / (1 + exp(-y)), but cannot overflow
    "tanh": np.tanh,
    "silu": lambda y: y * (1 + np.tanh(y / 2)) / 2,
}


def result_dtype(x, w, dtype=None):
    """The dtype of the result: ``dtype`` where given, otherwise NumPy's promotion rule."""
    return np.dtype(dtype) if dtype is not None else np.result_type(x, w)


def wide_dtype(dtype):
    """The type in which sums of ``dtype`` values are (as good as) exact."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return np.dtype(np.uint64)
    if dtype.kind == "c":
        return np.dtype(np.complex128 if dtype.itemsize == 8 else np.clongdouble)
    return np.dtype(np.longdouble if dtype == np.float64 else np.float64)


def per_axis(value, rank):
    """One number per spatial axis."""
    return (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)


def same_padding(size, kernel, stride, dilation, extra_low):
    """``(lo, hi)`` such that the output has ``ceil(size / stride)`` elements."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if extra_low else (small, large)


def padding_pairs(padding, sizes, kernel, stride, dilation):
    """Any accepted form of ``padding`` as one ``(lo, hi)`` pair per axis."""
    rank = len(sizes)
    if padding == "valid":
        return ((0, 0),) * rank
    if padding in ("same", "same_lower"):
        axes = zip(sizes, kernel, stride, dilation, strict=True)
        return tuple(same_padding(*axis, padding == "same_lower") for axis in axes)
    each = per_axis(padding, rank)
    return tuple((p, p) if isinstance(p, (int, np.integer)) else tuple(p) for p in each)


def pad(x, pairs, mode, fill_value):
    """``np.pad`` on the spatial axes (the last ones) of a channels-first array."""
    widths = ((0, 0),) * (x.ndim - len(pairs)) + tuple(pairs)
    if PAD_NAMES[mode] == "constant":
        return np.pad(x, widths, mode="constant", constant_values=fill_value)
    return np.pad(x, widths, mode=PAD_NAMES[mode])


def windows(x, kernel, stride, dilation):
    """A view ``(N, C, *outputs, *kernel)``: the patch of ``x`` under the kernel at each place."""
    rank = len(kernel)
    spread = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, spread, axis=tuple(range(2, 2 + rank)))
    every_stride = tuple(slice(None, None, s) for s in stride)
    every_dilation = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *every_stride, *every_dilation)]


def multiply_and_sum(patches, w, groups):
    """Sum ``patches * w`` over the channels of each group and over the kernel."""
    n, c, *rest = patches.shape
    k, rank = w.shape[0], w.ndim - 2
    patches = patches.reshape(n, groups, c // groups, *rest)
    w = w.reshape(groups, k // groups, *w.shape[1:])
    outputs, taps = "xyz"[:rank], "abc"[:rank]
    rule = f"ngi{outputs}{taps},goi{taps}->ngo{outputs}"
    return np.einsum(rule, patches, w).reshape(n, k, *rest[:rank])


def conv(
    x,
    w,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    padding_mode="zeros",
    fill_value=0,
    flip=False,
    layout="NCHW",
    activation=None,
    dtype=None,
    wide=False,
):
    """The convolution layer.  ``wide=True`` leaves the result in the wide type, unrounded."""
    x, w = np.asarray(x), np.asarray(w)
    result = result_dtype(x, w, dtype)
    compute = wide_dtype(result)
    rank = w.ndim - 2
    stride, dilation = per_axis(stride, rank), per_axis(dilation, rank)

    batched = x.ndim == rank + 2
    x = x if batched else x[np.newaxis]
    x = np.moveaxis(x, -1, 1) if layout in CHANNELS_LAST else x
    w = w[(slice(None), slice(None), *(slice(None, None, -1),) * rank)] if flip else w

    pairs = padding_pairs(padding, x.shape[2:], w.shape[2:], stride, dilation)
    padded = pad(x, pairs, padding_mode, fill_value)
    patches = windows(padded.astype(compute), w.shape[2:], stride, dilation)
    y = multiply_and_sum(patches, w.astype(compute), groups)
    if bias is not None:
        y = y + np.asarray(bias).astype(compute).reshape(-1, *(1,) * rank)
    if result.kind in "iu":
        y = y.astype(result)  # keep the low bits: this is the wrap modulo 2**n
    y = ACTIVATIONS[activation](y)

    y = np.moveaxis(y, 1, -1) if layout in CHANNELS_LAST else y
    y = y if batched else y[0]
    with np.errstate(over="ignore", invalid="ignore"):  # float16 beyond 65504 becomes infinity
        return y if wide else y.astype(result)


def magnitude(a):
    """Absolute values as float64 (ml_dtypes' types included)."""
    a = np.asarray(a)
    return np.abs(a.astype(np.complex128 if a.dtype.kind == "c" else np.float64))


def absolute(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, **options):
    """``S``: the same convolution of absolute values, by which every tolerance is scaled."""
    options.update(activation=None, dtype=np.float64, fill_value=abs(options.get("fill_value", 0)))
    b = None if bias is None else magnitude(bias)
    return conv(magnitude(x), magnitude(w), b, stride, padding, dilation, groups, **options)


def gamma(n, unit):
    """The classical bound on the relative error of ``n`` roundings of size ``unit``."""
    return n * unit / (1 - n * unit)


def tolerance(result, terms, s, y=None, conversions=0):
    """How far a ``result``-typed sum of ``terms`` products may be from the exact ``y``.

    ``gamma(terms + 1) * S``, in the unit of the type that sums.  ``conversions`` counts the
    further roundings a call asks for, as when float64 arrays are summed as float32.  A narrow
    type that is summed in float32 is rounded once more, by half a unit in its last place.
    """
    result = np.dtype(result)
    n = terms + 1 + conversions
    if result.kind == "c":
        # The four real sums of a complex one hold 2 * terms products each.
        unit = 2.0 ** (-24 if result.itemsize == 8 else -53)
        return 2 * np.sqrt(2) * gamma(2 * n, unit) * s
    if result.itemsize == 2:
        bits = 11 if result == np.float16 else 8
        least = 2.0**-24 if result == np.float16 else 2.0**-133
        return gamma(n, 2.0**-24) * s * 1.01 + 2.0**-bits * np.abs(y).astype(np.float64) + least
    unit, least = (2.0**-24, 2.0**-149) if result == np.float32 else (2.0**-53, 2.0**-1074)
    return gamma(n, unit) * s + n * least
