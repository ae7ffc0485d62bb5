"""OpenVINO: a compiled model of one convolution, computed in float32.

uint8 by int8 is a convolution of fake-quantized values, which OpenVINO turns into one of 8-bit
integers. It gives the sums as float32, exact below 2^24, and in a second model as uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from peers import Side, Task

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def model(task: Task, narrow: bool = False) -> openvino.Model:
    """The layer as an OpenVINO graph, for uint8 with a `narrow` result or a float32 one."""
    layer = task.layer
    parameter = x = ops.parameter(layer.input_shape, task.x.dtype.type, name="x")
    strides = [layer.stride] * layer.rank
    pads = [layer.padding] * layer.rank
    dilations = [layer.dilation] * layer.rank
    grouped = (layer.groups, layer.filters // layer.groups, *layer.weight_shape[1:])
    w = ops.constant(task.w if layer.groups == 1 else task.w.reshape(grouped))
    if task.x.dtype == np.uint8:
        x = quantized(ops.convert(x, "f32"), 0, 255)
        w = ops.multiply(ops.convert(w, "f32"), np.float32(1))
    convolution = ops.convolution if layer.groups == 1 else ops.group_convolution
    y = convolution(x, w, strides, pads, pads, dilations)
    if narrow:
        y = ops.convert(quantized(y, -128 * task.step, 127 * task.step), "u8")
    return openvino.Model([y], [parameter], layer.name)


def quantized(x: openvino.Node, low: float, high: float) -> openvino.Node:
    """`x` from `low` to `high` as the 256 values of uint8."""
    ranges = (np.float32(v) for v in (low, high, 0, 255))
    return ops.fake_quantize(x, *ranges, 256)


def compiled(
    task: Task, settings: dict[str, Any], narrow: bool = False
) -> tuple[Callable[[], Any], str]:
    """A call that runs the model, and the kernel of its convolution."""
    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinning would move the thread that also runs the other sides.
        "ENABLE_CPU_PINNING": False,
        **settings,
    }
    network = openvino.Core().compile_model(model(task, narrow), "CPU", settings)
    request = network.create_infer_request()
    # Shared on both sides: OpenVINO reads our array in place and hands out its own buffer.
    request.set_input_tensor(openvino.Tensor(task.x, shared_memory=True))
    nodes = (node.get_rt_info() for node in network.get_runtime_model().get_ops())
    kernel = [n["primitiveType"].astype(str) for n in nodes if n["layerType"] == "Convolution"]
    return lambda: request.infer(share_outputs=True), " ".join(kernel)


def expect(kind: str, kernel: str) -> None:
    """Refuse a kernel of another kind: OpenVINO falls back without a word."""
    if kind not in kernel.lower():
        raise RuntimeError(f"runs {kernel}, which does not compute in {kind}")


def unwrap(results: Any) -> NDArray[Any]:
    return np.asarray(results[0])


def sides(task: Task) -> Iterator[Side]:
    if task.x.dtype == np.float32:
        call, kernel = compiled(task, EXACT)
        yield Side("ov-f32", call, unwrap, kernel=kernel)
    if task.x.dtype == np.uint8:
        for name, narrow in (("ov-i8", False), ("ov-u8", True)):
            call, kernel = compiled(task, EXACT, narrow)
            expect("i8", kernel)

            def fetch(results: Any, narrow: bool = narrow) -> NDArray[Any]:
                y = unwrap(results)
                return (y.astype(np.float64) - 128) * task.step if narrow else y

            yield Side(name, call, fetch, kernel=kernel)
