"""Pictures of a kernel sliding over an input, for small cases. Needs matplotlib.

The numbers come from `fastconv.conv2d` itself, so the picture shows what the library computes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._normalize import PADDING_MODES, as_choice, as_flag, as_int, as_padding, per_axis, show
from ._viz_draw import Case, draw
from .conv import conv2d

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = ["animate", "frame"]

_LARGEST = 400


def animate(
    image: ArrayLike | tuple[int, int] = (5, 5),
    kernel: ArrayLike | tuple[int, int] = (3, 3),
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
    interval: int = 700,
) -> FuncAnimation:
    """Animate a kernel that slides over an input and fills the output, cell by cell.

    Parameters
    ----------
    image : array_like or (int, int)
        A 2-D array, or a size for which small integers are made up.
    kernel : array_like or (int, int)
        A 2-D array, or a size for which small integers are made up.
    stride, padding, dilation, padding_mode, fill_value, flip
        As for `fastconv.conv2d`.
    interval : int
        Milliseconds per step.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        Its ``save("slide.gif", writer="pillow")`` writes a file, ``to_jshtml()`` returns a player
        for notebooks, and ``matplotlib.pyplot.show()`` plays it in a window.

    Raises
    ------
    ImportError
        Without matplotlib: ``pip install matplotlib``.
    ValueError, TypeError
        Names the argument, its value and what was expected; also where the padded input has more
        than 400 cells.

    Examples
    --------
    >>> import fastconv as fc
    >>> movie = fc.viz.animate((4, 4), (3, 3), padding=1, stride=2)
    >>> player = movie.to_jshtml()
    >>> movie.save("slide.gif", writer="pillow")  # doctest: +SKIP
    """
    case = _case(image, kernel, stride, padding, dilation, padding_mode, fill_value, flip)
    interval = as_int("interval", interval, 1)
    figure, update = draw(case)
    from matplotlib.animation import FuncAnimation

    def step(index: int) -> list[Any]:
        update(index)
        return []

    # The movie starts at the first step again after it: the last picture is shown thrice.
    steps = [*range(case.output.size), case.output.size - 1, case.output.size - 1]
    movie = FuncAnimation(figure, step, frames=steps, interval=interval, blit=False)
    return movie


def frame(
    image: ArrayLike | tuple[int, int] = (5, 5),
    kernel: ArrayLike | tuple[int, int] = (3, 3),
    *,
    step: int = 0,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    padding_mode: str = "zeros",
    fill_value: Any = 0,
    flip: bool = False,
) -> Figure:
    """Draw one step of `animate`.

    Parameters
    ----------
    image, kernel, stride, padding, dilation, padding_mode, fill_value, flip
        As for `animate`.
    step : int
        Which cell of the output is being computed, in reading order.

    Returns
    -------
    matplotlib.figure.Figure
        Its ``savefig("step.png")`` writes a file.

    Examples
    --------
    >>> import fastconv as fc
    >>> figure = fc.viz.frame((4, 4), (3, 3), step=2)
    >>> figure.texts[1].get_text()
    '5·0 + 7·2 + 8·(-1) + 9·1 + 6·(-2) + 5·0 + 9·2 + 1·(-1) + 8·1 = 28'
    >>> figure.savefig("step.png")  # doctest: +SKIP
    """
    case = _case(image, kernel, stride, padding, dilation, padding_mode, fill_value, flip)
    step = as_int("step", step, 0)
    if step >= case.output.size:
        raise ValueError(
            f"step must be less than {case.output.size}, the cells of the output, got {show(step)}"
        )
    figure, update = draw(case)
    update(step)
    return figure


def _case(
    image: Any,
    kernel: Any,
    stride: object,
    padding: object,
    dilation: object,
    padding_mode: object,
    fill_value: Any,
    flip: object,
) -> Case:
    picture = _plane("image", image)
    weights = _plane("kernel", kernel)
    mode = as_choice("padding_mode", padding_mode, PADDING_MODES)
    strides, dilations = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    pads = _resolve(as_padding(padding, 2), picture.shape, weights.shape, strides, dilations)
    flip = as_flag("flip", flip)
    total = math.prod(n + lo + hi for n, (lo, hi) in zip(picture.shape, pads, strict=True))
    if total > _LARGEST:
        raise ValueError(f"the padded input has {total} cells; at most {_LARGEST} can be drawn")
    # Refuses shapes that do not fit, before anything is padded here.
    output = conv2d(
        picture[None], weights[None, None], None, strides, pads, dilations,
        padding_mode=mode, fill_value=fill_value, flip=flip,
    )[0]  # fmt: skip
    keywords = {"constant_values": fill_value} if PADDING_MODES[mode] == "constant" else {}
    padded = np.pad(picture, pads, mode=PADDING_MODES[mode], **keywords)  # type: ignore[call-overload]
    rows, columns = (slice(lo, lo + n) for n, (lo, _) in zip(picture.shape, pads, strict=True))
    caption = "   ".join(
        f"{name} {' x '.join(map(_brief, values))}"
        for name, values in (("stride", strides), ("dilation", dilations), ("padding", pads))
    )
    if any(side for pair in pads for side in pair):
        caption += f" {mode}"
    return Case(
        padded,
        (rows, columns),
        weights[::-1, ::-1] if flip else weights,
        flip,
        output,
        strides,
        dilations,
        caption,
    )


def _brief(value: int | tuple[int, int]) -> str:
    if isinstance(value, int):
        return str(value)
    return str(value[0]) if value[0] == value[1] else f"{value[0]}+{value[1]}"


def _plane(name: str, value: Any) -> NDArray[Any]:
    """Return a 2-D array of int64 or float64: `value`, or made up where `value` is a size."""
    if isinstance(value, tuple) and len(value) == 2 and all(hasattr(v, "__index__") for v in value):
        size = tuple(as_int(f"{name}[{axis}]", side, 1) for axis, side in enumerate(value))
        if math.prod(size) > _LARGEST:
            raise ValueError(f"{name} must have at most {_LARGEST} cells, got {show(size)}")
        cells = np.arange(math.prod(size), dtype=np.int64)
        # Quadratic residues look arbitrary, and are the same in every run.
        values = cells * (cells + 3) % 23 % 10 if name == "image" else (cells + 1) * 7 % 5 - 2
        return values.reshape(size)
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be of integers or floats, got dtype {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be a 2-D array with cells, got shape {show(array.shape)}")
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def _resolve(
    padding: str | tuple[tuple[int, int], ...],
    shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, str):
        return padding
    pads = []
    for n, k, s, d in zip(shape, kernel_shape, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if padding == "same" else (more, less))
    return tuple(pads)
