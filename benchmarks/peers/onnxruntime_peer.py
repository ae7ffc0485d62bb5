"""onnxruntime: a session with one Conv node, whose weights the session packs once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx
import onnxruntime

from _layers import Layer
from peers import Side, Task


def model(task: Task) -> onnx.ModelProto:
    """The layer as an ONNX graph."""
    layer: Layer = task.layer
    kind = onnx.helper.np_dtype_to_tensor_dtype(task.x.dtype)
    node = onnx.helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        kernel_shape=layer.kernel,
        strides=[layer.stride] * layer.rank,
        pads=[layer.padding] * (2 * layer.rank),
        dilations=[layer.dilation] * layer.rank,
        group=layer.groups,
    )
    graph = onnx.helper.make_graph(
        [node],
        layer.name,
        [onnx.helper.make_tensor_value_info("x", kind, layer.input_shape)],
        [onnx.helper.make_tensor_value_info("y", kind, layer.output_shape)],
        [onnx.numpy_helper.from_array(task.w, "w")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    # An old IR version, because an onnx package newer than the runtime writes one it cannot read.
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def sides(task: Task) -> Iterator[Side]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a refusal is reported by the exception
    session = onnxruntime.InferenceSession(
        model(task).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    # Bound arrays: faster on small layers than ``session.run`` with a dictionary.
    binding = session.io_binding()
    binding.bind_cpu_input("x", task.x)
    binding.bind_output("y", "cpu")
    run = partial(session.run_with_iobinding, binding)
    yield Side("ort", run, lambda _: binding.copy_outputs_to_cpu()[0])
