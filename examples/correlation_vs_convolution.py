"""Cross-correlation beside convolution: the same kernel, and the same kernel turned by 180 degrees.

Run it as ``python correlation_vs_convolution.py [DIR]``; it writes
DIR/correlation_vs_convolution.png.

The first row has one bright pixel. Convolution stamps the kernel onto it as it is; correlation
stamps it turned by 180 degrees. The second row is a photograph under an embossing kernel, where the
light seems to come from opposite sides.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image

import fastconv as fc

LETTER_F = np.array(
    [
        [1, 1, 1, 1, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ],
    np.float32,
)
EMBOSS = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]], np.float32)


def bright_pixel() -> np.ndarray:
    """Return an 11 x 11 image that is zero but for its centre."""
    image = np.zeros((11, 11), np.float32)
    image[5, 5] = 1
    return image


def photograph() -> np.ndarray:
    """Return the face in matplotlib's sample photograph as grey values between 0 and 1."""
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("L"), np.float32)[30:390, 80:440] / 255


def show(ax: Axes, values: np.ndarray, title: str, limit: float, cmap: str = "gray") -> None:
    """Draw `values` on `ax`; `limit` is white and, for signed pictures, minus it is black."""
    ax.imshow(values, cmap=cmap, vmin=-limit if values.min() < 0 else 0, vmax=limit)
    ax.set_title(title, fontsize=11)
    ax.set_xticks([])
    ax.set_yticks([])


def draw_row(axes: np.ndarray, image: np.ndarray, kernel: np.ndarray, name: str) -> None:
    """Draw kernel, image, correlation, convolution and their difference; print their relation."""
    correlation = fc.correlate(image, kernel, mode="same")
    convolution = fc.convolve(image, kernel, mode="same")
    turned = fc.correlate(image, kernel[::-1, ::-1], mode="same")
    difference = convolution - correlation

    # A few very bright edges would leave the rest grey.
    limit = float(np.quantile(np.abs(correlation), 0.998))
    show(axes[0], image, name, 1)
    show(axes[1], kernel, "kernel", float(np.abs(kernel).max()))
    for (row, column), value in np.ndenumerate(kernel):
        colour = "black" if value > 0 else "white"
        axes[1].text(column, row, f"{value:.0f}", color=colour, ha="center", va="center")
    show(axes[2], correlation, "cross-correlation", limit)
    show(axes[3], convolution, "convolution", limit)
    show(axes[4], difference, "convolution - correlation", limit, cmap="RdBu_r")
    print(
        f"{name}: largest difference of the two {np.abs(difference).max():.3f}; convolution equals "
        f"correlation with the turned kernel: {np.array_equal(convolution, turned)}"
    )


def main(directory: str | Path = ".") -> None:
    """Write the picture into `directory`."""
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    axes = figure.subplots(2, 5)
    draw_row(axes[0], bright_pixel(), LETTER_F, "one bright pixel")
    draw_row(axes[1], photograph(), EMBOSS, "photograph")
    figure.suptitle("Convolution is cross-correlation with the kernel turned by 180 degrees")
    figure.savefig(Path(directory) / "correlation_vs_convolution.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
