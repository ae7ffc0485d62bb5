"""Fast convolution and cross-correlation of NumPy arrays on the CPU.

Faces
-----
`conv1d`, `conv2d`, `conv3d`
    Layers: batches, channels, stride, padding, dilation, groups; torch's argument order.
`correlate`, `convolve`
    SciPy's functions for 1-D, 2-D and 3-D arrays.
`fastconv.image.filter2d`
    One kernel over a picture, as OpenCV's ``filter2D``.
`fastconv.filters`
    Kernels by name.
`fastconv.viz`
    Pictures of a kernel sliding over an input (needs matplotlib).

Cross-correlation slides the kernel, multiplies and sums; convolution does so with the kernel
flipped along every spatial axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core, config, conv, filters, image, signal
from .config import (
    available_isas,
    cpu_features,
    get_isa,
    get_num_threads,
    get_precision,
    isa,
    num_threads,
    precision,
    register_threadpoolctl,
    set_isa,
    set_num_threads,
    set_precision,
    show_config,
)
from .conv import Conv1d, Conv2d, Conv3d, conv1d, conv2d, conv3d, explain
from .signal import convolve, correlate

if TYPE_CHECKING:
    from . import viz

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "__version__",
    "available_isas",
    "config",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "convolve",
    "correlate",
    "cpu_features",
    "explain",
    "filters",
    "get_isa",
    "get_num_threads",
    "get_precision",
    "image",
    "isa",
    "num_threads",
    "precision",
    "register_threadpoolctl",
    "set_isa",
    "set_num_threads",
    "set_precision",
    "show_config",
    "signal",
    "viz",
]

__version__: str = _core.build_info()["version"]


def __getattr__(name: str) -> Any:
    # viz alone is loaded on first use, since it needs matplotlib.
    if name == "viz":
        import importlib

        return importlib.import_module(".viz", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "viz"})
