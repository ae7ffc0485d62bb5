"""onnxruntime: a session with one node, whose weights the session packs once.

The node is a Conv. For uint8 by int8 it is a ConvInteger, which gives int32, and in a second
session a QLinearConv, which gives uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from peers import Side, Task


def model(task: Task, kind: str, result: np.dtype[Any]) -> onnx.ModelProto:
    """The layer as an ONNX graph of one node."""
    layer = task.layer
    constants: dict[str, NDArray[Any]] = {"w": task.w}
    inputs = ["x", "w"]
    if kind == "QLinearConv":
        inputs = ["x", "one", "x_zero", "w", "one", "w_zero", "step", "y_zero"]
        constants |= {
            "one": np.float32(1),
            "x_zero": np.uint8(0),
            "w_zero": np.int8(0),
            "step": np.float32(task.step),
            "y_zero": np.uint8(128),
        }
    node = onnx.helper.make_node(
        kind,
        inputs,
        ["y"],
        kernel_shape=layer.kernel,
        strides=[layer.stride] * layer.rank,
        pads=[layer.padding] * (2 * layer.rank),
        dilations=[layer.dilation] * layer.rank,
        group=layer.groups,
    )
    x_type, y_type = map(onnx.helper.np_dtype_to_tensor_dtype, (task.x.dtype, result))
    graph = onnx.helper.make_graph(
        [node],
        layer.name,
        [onnx.helper.make_tensor_value_info("x", x_type, layer.input_shape)],
        [onnx.helper.make_tensor_value_info("y", y_type, layer.output_shape)],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    # An old IR version, because an onnx package newer than the runtime writes one it cannot read.
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def session(
    task: Task, kind: str, result: np.dtype[Any]
) -> tuple[Callable[[], None], Callable[[Any], NDArray[Any]]]:
    """A call that runs the node, and what fetches its result."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a refusal is reported by the exception
    session = onnxruntime.InferenceSession(
        model(task, kind, result).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    # Bound arrays: faster on small layers than ``session.run`` with a dictionary.
    binding = session.io_binding()
    binding.bind_cpu_input("x", task.x)
    binding.bind_output("y", "cpu")
    return lambda: session.run_with_iobinding(binding), lambda _: binding.copy_outputs_to_cpu()[0]


def sides(task: Task) -> Iterator[Side]:
    if task.x.dtype != np.uint8:
        yield Side("ort", *session(task, "Conv", task.x.dtype))
        return
    yield Side("ort-i32", *session(task, "ConvInteger", np.dtype(np.int32)))
    run, fetch = session(task, "QLinearConv", task.x.dtype)
    yield Side("ort-u8", run, lambda y: (fetch(y).astype(np.float64) - 128) * task.step)
