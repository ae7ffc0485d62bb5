"""fastconv: the one-shot call and, when asked for, the plan object with packed weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv
from peers import Side, Task


def sides(task: Task) -> Iterator[Side]:
    fastconv.set_num_threads(task.threads)
    layer = task.layer
    conv = {1: fastconv.conv1d, 2: fastconv.conv2d, 3: fastconv.conv3d}[layer.rank]
    plan = {1: fastconv.Conv1d, 2: fastconv.Conv2d, 3: fastconv.Conv3d}[layer.rank]
    x = np.ascontiguousarray(np.moveaxis(task.x, 1, -1)) if task.channels_last else task.x
    layout = "NHWC" if task.channels_last else "NCHW"
    positional = (None, layer.stride, layer.padding, layer.dilation, layer.groups)
    options: dict[str, Any] = {"layout": layout, "algorithm": task.algorithm}
    if task.precision:
        options["precision"] = task.precision

    def unwrap(result: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(result, -1, 1) if task.channels_last else result

    yield Side("fastconv", partial(conv, x, task.w, *positional, **options), unwrap)
    if task.plan:
        yield Side("plan", partial(plan(task.w, *positional, **options), x), unwrap)
