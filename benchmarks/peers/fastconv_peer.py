"""fastconv: the one-shot call and, when asked for, the plan object with packed weights.

Each in every variant of the task. uint8 by int8 gives int32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    common: dict[str, Any] = {"layout": layout}
    if task.x.dtype == np.uint8:
        common["dtype"] = np.int32

    def unwrap(result: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(result, -1, 1) if task.channels_last else result

    def planned(options: dict[str, Any]) -> Callable[[], Any]:
        try:
            return partial(plan(task.w, *positional, **options), x)
        except ValueError as error:  # as late as the one-shot call, which refuses when called
            return partial(refuse, error)

    for suffix, variant in task.variants.items():
        options = {**common, **variant}
        call = partial(conv, x, task.w, *positional, **options)
        full = variant.get("precision") != "medium"
        yield Side(f"fastconv{suffix}", call, unwrap, full)
        if task.plan:
            yield Side(f"plan{suffix}", planned(options), unwrap, full)


def refuse(error: Exception) -> None:
    raise error
