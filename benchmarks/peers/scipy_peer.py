"""SciPy: ndimage.correlate and signal.correlate, for one channel only, one call a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from peers import Side, Task


def sides(task: Task) -> Iterator[Side]:
    layer = task.layer
    if not layer.single_channel or task.x.dtype.name in ("float16", "bfloat16", "uint8"):
        return
    picture = task.x[0, 0]
    kernels = list(task.w[:, 0])
    # SciPy conjugates the second operand, the layer does not.
    conjugated = [kernel.conj() for kernel in kernels]
    mode = "same" if layer.padding else "valid"

    def by_ndimage() -> list[NDArray[Any]]:
        return [scipy.ndimage.correlate(picture, k, mode="constant") for k in conjugated]

    def by_signal() -> list[NDArray[Any]]:
        return [scipy.signal.correlate(picture, k, mode) for k in conjugated]

    yield Side("ndimage", by_ndimage, lambda results: np.stack(results)[None][layer.kept])
    yield Side("signal", by_signal, lambda results: np.stack(results)[None])
