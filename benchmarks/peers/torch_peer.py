"""PyTorch: ``torch.nn.functional.conv*d`` on tensors that are in torch's layout already."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peers import Side, Task

torch.set_grad_enabled(False)
CONVOLUTIONS = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def tensor(array: NDArray[Any]) -> torch.Tensor:
    if array.dtype.name == "bfloat16":  # torch cannot read ml_dtypes' arrays
        return torch.from_numpy(array.astype("f4")).to(torch.bfloat16)
    return torch.from_numpy(array)


def unwrap(result: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = (result.float() if result.dtype == torch.bfloat16 else result).numpy()
    return array


def quantized_sides(task: Task) -> Iterator[Side]:
    """uint8 by int8: the weights are packed, the result is uint8."""
    layer = task.layer
    name = f"conv{layer.rank}d"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantized tensors are deprecated; there is no other way
        x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(task.x), 1.0, 0)
        w = torch._make_per_tensor_quantized_tensor(torch.from_numpy(task.w), 1.0, 0)
    axes = ([v] * layer.rank for v in (layer.stride, layer.padding, layer.dilation))
    packed = getattr(torch.ops.quantized, f"{name}_prepack")(w, None, *axes, layer.groups)
    conv = getattr(torch.ops.quantized, name)

    def unwrap(result: torch.Tensor) -> NDArray[Any]:
        array: NDArray[Any] = result.dequantize().numpy()
        return array

    yield Side("torch-u8", partial(conv, x, packed, task.step, 128), unwrap)
    if layer.rank in CHANNELS_LAST:
        x = x.contiguous(memory_format=CHANNELS_LAST[layer.rank])
        yield Side("torch-u8-nhwc", partial(conv, x, packed, task.step, 128), unwrap)


def sides(task: Task) -> Iterator[Side]:
    torch.set_num_threads(task.threads)
    if task.x.dtype == np.uint8:
        yield from quantized_sides(task)
        return
    layer = task.layer
    conv = CONVOLUTIONS[layer.rank]
    options = (None, layer.stride, layer.padding, layer.dilation, layer.groups)
    x, w = tensor(task.x), tensor(task.w)
    yield Side("torch", partial(conv, x, w, *options), unwrap)
    if layer.rank in CHANNELS_LAST:
        memory = CHANNELS_LAST[layer.rank]
        x = x.contiguous(memory_format=memory)
        w = w.contiguous(memory_format=memory)
        yield Side("torch-nhwc", partial(conv, x, w, *options), unwrap)
