"""The first network: convolution, ReLU, average. It sees what mean and deviation cannot.

Run it as ``python first_network.py [DIR]``; it writes DIR/first_network.png.

Two images, vertical and horizontal stripes, have the same pixels in different places, so their mean
(0.25) and standard deviation (0.43) agree. Two 3 x 3 edge kernels, a ReLU and an average over the
image give two numbers that tell them apart.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fastconv as fc


def stripes(size: int = 24) -> dict[str, np.ndarray]:
    """Return two binary images with every fourth column, or row, set."""
    vertical = np.zeros((size, size), np.float32)
    vertical[:, 1::4] = 1
    return {"vertical": vertical, "horizontal": vertical.T}


def network(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the activations after the ReLU, one map per kernel, and their averages."""
    vertical_edge = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float32)
    weights = np.stack([vertical_edge, vertical_edge.T])[:, np.newaxis]  # (K, C, 3, 3)
    maps = fc.conv2d(image[np.newaxis], weights, activation="relu")
    return maps, maps.mean(axis=(1, 2))


def main(directory: str | Path = ".") -> None:
    """Print what the network says of the two images and draw it."""
    figure = Figure(figsize=(11, 5.8), layout="constrained")
    axes = figure.subplots(2, 4, width_ratios=[1, 1, 1, 0.9])
    print("image         mean    std    vertical edges   horizontal edges")
    for row, (name, image) in zip(axes, stripes().items(), strict=True):
        maps, averages = network(image)
        print(
            f"{name:<12}{image.mean():6.2f} {image.std():6.2f} "
            f"{averages[0]:16.3f} {averages[1]:18.3f}"
        )
        pictures = {
            f"{name} stripes\nmean {image.mean():.2f}, std {image.std():.2f}": (image, 1),
            "vertical edges\nafter ReLU": (maps[0], 3),
            "horizontal edges\nafter ReLU": (maps[1], 3),
        }
        for ax, (title, (picture, white)) in zip(row[:3], pictures.items(), strict=True):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=white)
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=11)
        bars = row[3].bar(["vertical", "horizontal"], averages, color=["tab:blue", "tab:orange"])
        row[3].bar_label(bars, fmt="%.2f")
        row[3].set(ylim=(0, 1))
        row[3].set_title("average of each map", fontsize=11)
    figure.savefig(Path(directory) / "first_network.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
