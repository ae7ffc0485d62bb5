"""OpenCV: ``cv2.filter2D``, for one-channel pictures only, one call for each filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from peers import Side, Task


def sides(task: Task) -> Iterator[Side]:
    layer = task.layer
    if not layer.single_channel or layer.rank != 2 or task.x.dtype not in ("float32", "float64"):
        return
    cv2.setNumThreads(task.threads)
    picture = task.x[0, 0]
    kernels = list(task.w[:, 0])
    border = cv2.BORDER_CONSTANT

    def call() -> list[NDArray[Any]]:
        return [cv2.filter2D(picture, -1, k, borderType=border) for k in kernels]

    yield Side("cv2", call, lambda results: np.stack(results)[None][layer.kept])
