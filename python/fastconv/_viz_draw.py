"""The drawing of `fastconv.viz`: three grids of numbered cells and the sum under them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.text import Text
    from numpy.typing import NDArray

_INK = "#1d2b3a"
_FAINT = "#8a94a0"
_LINE = "#9fb0c0"
_INPUT = "#dcebf7"
_PADDING = "#eeeeee"
_COVERED = "#ffcf66"
_KERNEL = "#ffe7b3"
_WEIGHT = "#8a4b00"
_DONE = "#d5efcd"
_CURRENT = "#7cc96f"
_PENDING = "#fbfbfb"

_GAP = 1.4  # cells between two grids
_ABOVE, _BELOW = 0.7, 0.85  # inches for the titles, and for the sum and the caption


class Case(NamedTuple):
    """A convolution small enough to draw, with everything computed beforehand."""

    padded: NDArray[Any]
    inside: tuple[slice, slice]
    kernel: NDArray[Any]
    flipped: bool
    output: NDArray[Any]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    caption: str


class _Cell(NamedTuple):
    patch: Rectangle
    text: Text


class _Grid:
    """Numbered cells with a title; rows go down from `top`."""

    def __init__(
        self, axes: Axes, values: NDArray[Any], left: float, top: float, title: str, cell: float
    ) -> None:
        from matplotlib.patches import Rectangle

        self.left, self.top = left, top
        rows, columns = values.shape
        self.labels = [[_number(value) for value in row] for row in values.tolist()]
        longest = max(len(label) for row in self.labels for label in row)
        # A digit is about 0.6 of the font size wide; a label may take 0.8 of its cell.
        self.size = cell * 72 * min(0.38, 0.8 / (0.6 * longest))
        self.cells: list[_Cell] = []
        for row in range(rows):
            for column in range(columns):
                corner = left + column, top - row - 1
                patch = Rectangle(corner, 1, 1, facecolor=_PENDING, edgecolor=_LINE, lw=0.8)
                patch.set_clip_on(False)
                axes.add_patch(patch)
                text = axes.text(
                    left + column + 0.5, top - row - 0.5, "", ha="center", va="center",
                    fontsize=self.size, color=_INK,
                )  # fmt: skip
                self.cells.append(_Cell(patch, text))
        self.columns: int = columns
        self.title = axes.text(
            left + columns / 2, top + 0.12 / cell, title, ha="center", va="bottom", color=_INK,
            fontsize=max(8.0, min(12.0, cell * 20)), linespacing=1.3,
        )  # fmt: skip

    def cell(self, row: int, column: int) -> _Cell:
        return self.cells[row * self.columns + column]

    def fill(self, row: int, column: int, colour: str, *, ink: str = _INK) -> None:
        cell = self.cell(row, column)
        cell.patch.set_facecolor(colour)
        cell.text.set_text(self.labels[row][column])
        cell.text.set_color(ink)

    def blank(self, row: int, column: int) -> None:
        cell = self.cell(row, column)
        cell.patch.set_facecolor(_PENDING)
        cell.text.set_text("")


def draw(case: Case) -> tuple[Figure, Callable[[int], None]]:
    """Draw the grids, and return the figure and a function that shows one step."""
    import matplotlib.pyplot as plt

    widths = [case.padded.shape[1], case.kernel.shape[1], case.output.shape[1]]
    # A narrow grid still needs the room of its title.
    slots = [max(width, 3.6) for width in widths]
    tall = max(values.shape[0] for values in (case.padded, case.kernel, case.output))
    wide = sum(slots) + 2 * _GAP + 0.8
    cell = min(0.62, 13.0 / wide, 7.5 / tall)  # inches
    width = max(wide * cell, 6.4)
    height = _BELOW + tall * cell + _ABOVE
    figure = plt.figure(figsize=(width, height), facecolor="white")
    # One unit of the axes is one cell.
    axes = figure.add_axes((0, _BELOW / height, 1, 1 - _BELOW / height))
    axes.set_xlim(0, width / cell)
    axes.set_ylim(0, tall + _ABOVE / cell)
    axes.axis("off")

    start = (width / cell - wide) / 2 + 0.4
    lefts = []
    for slot, columns in zip(slots, widths, strict=True):
        lefts.append(start + (slot - columns) / 2)
        start += slot + _GAP
    grids = [
        _Grid(axes, values, left, (tall + values.shape[0]) / 2, title, cell)
        for values, left, title in zip(
            (case.padded, case.kernel, case.output), lefts, _titles(case), strict=True
        )
    ]
    for symbol, index in (("⋆", 0), ("=", 1)):
        between = (lefts[index] + widths[index] + lefts[index + 1]) / 2
        axes.text(between, tall / 2, symbol, ha="center", va="center", fontsize=20, color=_INK)
    figure.text(0.5, 0.16 / height, case.caption, ha="center", fontsize=9.5, color=_FAINT)
    equation = figure.text(0.5, 0.5 / height, "", ha="center", fontsize=11, color=_INK)
    return figure, _stepper(case, axes, grids, equation, cell, most=int(width * 9))


def _titles(case: Case) -> list[str]:
    rows, columns = case.inside
    size = f"input {rows.stop - rows.start} x {columns.stop - columns.start}"
    if case.padded.shape != (rows.stop - rows.start, columns.stop - columns.start):
        size += f"\npadded to {case.padded.shape[0]} x {case.padded.shape[1]}"
    kernel = f"kernel {case.kernel.shape[0]} x {case.kernel.shape[1]}"
    output = f"output {case.output.shape[0]} x {case.output.shape[1]}"
    return [size, kernel + ("\nflipped" if case.flipped else ""), output]


def _stepper(
    case: Case, axes: Axes, grids: list[_Grid], equation: Any, cell: float, *, most: int
) -> Callable[[int], None]:
    from matplotlib.patches import Rectangle

    padded, kernel, output = grids
    corners = _corners(case, axes, kernel, cell)
    for row, column in np.ndindex(case.kernel.shape):
        kernel.fill(row, column, _KERNEL)
    reach = [(k - 1) * d + 1 for k, d in zip(case.kernel.shape, case.dilation, strict=True)]
    window = Rectangle((0, 0), reach[1], reach[0], fill=False, edgecolor=_INK, lw=2.2, zorder=3)
    target = Rectangle((0, 0), 1, 1, fill=False, edgecolor=_INK, lw=2.2, zorder=3)
    axes.add_patch(window)
    axes.add_patch(target)

    def show_step(step: int) -> None:
        for row, column in np.ndindex(case.padded.shape):
            inside = all(
                part.start <= index < part.stop
                for part, index in zip(case.inside, (row, column), strict=True)
            )
            padded.fill(row, column, _INPUT if inside else _PADDING, ink=_INK if inside else _FAINT)
        current = divmod(step, case.output.shape[1])
        first = [index * s for index, s in zip(current, case.stride, strict=True)]
        for tap in np.ndindex(case.kernel.shape):
            row, column = (f + t * d for f, t, d in zip(first, tap, case.dilation, strict=True))
            padded.fill(row, column, _COVERED)
            if tap in corners:
                corners[tap].set_position((padded.left + column + 0.94, padded.top - row - 0.94))
        window.set_xy((padded.left + first[1], padded.top - first[0] - reach[0]))
        target.set_xy((output.left + current[1], output.top - current[0] - 1))
        for index, (row, column) in enumerate(np.ndindex(case.output.shape)):
            if index > step:
                output.blank(row, column)
            else:
                output.fill(row, column, _CURRENT if index == step else _DONE)
        equation.set_text(_sum(case, first, current, most=most))

    return show_step


def _corners(case: Case, axes: Axes, kernel: _Grid, cell: float) -> dict[tuple[int, ...], Text]:
    """Make the small weights in the corners of the covered cells, where there is room for them."""
    longest = max(len(label) for row in kernel.labels for label in row)
    if cell < 0.4 or longest > 3:
        return {}
    return {
        tap: axes.text(
            0, 0, f"x{kernel.labels[tap[0]][tap[1]]}", ha="right", va="bottom",
            fontsize=cell * 72 * 0.17, color=_WEIGHT,
        )
        for tap in np.ndindex(case.kernel.shape)
    }  # fmt: skip


def _sum(case: Case, first: list[int], current: tuple[int, int], most: int) -> str:
    """Write the sum of products of one step in at most `most` characters."""
    terms = []
    for tap in np.ndindex(case.kernel.shape):
        row, column = (f + t * d for f, t, d in zip(first, tap, case.dilation, strict=True))
        value, weight = case.padded[row, column].item(), case.kernel[tap].item()
        shown = _number(weight)
        terms.append(f"{_number(value)}·{f'({shown})' if weight < 0 else shown}")
    result = f" = {_number(case.output[current].item())}"
    whole = " + ".join(terms) + result
    while len(whole) > most and len(terms) > 2:
        terms.pop(-1)
        whole = " + ".join(terms) + " + …" + result
    return whole


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) < 10**6:
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 10**5 else f"{value:.3g}"
