"""OpenVINO: a compiled model of one convolution, in float32 and as it comes.

As it comes, OpenVINO computes in bfloat16 on machines that have it fast, so that side does not
count among the float32 peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from peers import Side, Task


def model(task: Task) -> openvino.Model:
    """The layer as an OpenVINO graph."""
    layer = task.layer
    x = ops.parameter(layer.input_shape, task.x.dtype.type, name="x")
    strides = [layer.stride] * layer.rank
    pads = [layer.padding] * layer.rank
    dilations = [layer.dilation] * layer.rank
    if layer.groups == 1:
        y = ops.convolution(x, ops.constant(task.w), strides, pads, pads, dilations)
    else:
        grouped = (layer.groups, layer.filters // layer.groups, *layer.weight_shape[1:])
        w = ops.constant(task.w.reshape(grouped))
        y = ops.group_convolution(x, w, strides, pads, pads, dilations)
    return openvino.Model([y], [x], layer.name)


def runner(task: Task, settings: dict[str, Any]) -> Callable[[], Any]:
    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinning would move the thread that also runs the other sides.
        "ENABLE_CPU_PINNING": False,
        **settings,
    }
    request = openvino.Core().compile_model(model(task), "CPU", settings).create_infer_request()
    # Shared on both sides: OpenVINO reads our array in place and hands out its own buffer.
    request.set_input_tensor(openvino.Tensor(task.x, shared_memory=True))
    return lambda: request.infer(share_outputs=True)


def unwrap(results: Any) -> NDArray[Any]:
    return np.asarray(results[0])


def sides(task: Task) -> Iterator[Side]:
    if task.x.dtype != np.float32:
        return
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    yield Side("ov-f32", runner(task, exact), unwrap)
    yield Side("ov-default", runner(task, {}), unwrap, full_precision=False)
