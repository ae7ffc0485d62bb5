"""The same three lines for sound (1-D), a photograph (2-D) and a volume (3-D).

Run it as ``python ranks.py [DIR]``; it writes DIR/ranks.png. Each signal is noisy; each is smoothed
by the Gaussian of its own rank.
"""

import sys
from functools import reduce
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image

import fastconv as fc

LAYERS = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}


def smooth(x: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Return `x`, of rank 1, 2 or 3, smoothed by a Gaussian of `size` elements along each axis."""
    bell = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    # The three lines. A layer has channels, so x gets one and the kernel gets two.
    kernel = reduce(np.multiply.outer, [bell / bell.sum()] * x.ndim).astype(x.dtype)
    y = LAYERS[x.ndim](x[None], kernel[None, None], padding="same", padding_mode="reflect")
    return y[0]


def sound(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a plucked string (a tenth of a second at 16 kHz), and the same with hiss."""
    t = np.arange(1600) / 16_000
    clean = sum(np.sin(2 * np.pi * 110 * n * t) * np.exp(-12 * n * t) / n for n in range(1, 5))
    clean = np.asarray(clean, np.float32)
    return clean, clean + 0.25 * rng.standard_normal(t.size, dtype=np.float32)


def photograph(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the face in matplotlib's sample photograph, and the same with grain."""
    with get_sample_data("grace_hopper.jpg") as file:
        clean = np.asarray(Image.open(file).convert("L"), np.float32)[60:360, 110:410] / 255
    return clean, clean + 0.2 * rng.standard_normal(clean.shape, dtype=np.float32)


def volume(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a hollow ball with a bar through it, 64 voxels a side, and the same with noise."""
    z, y, x = np.mgrid[-1:1:64j, -1:1:64j, -1:1:64j].astype(np.float32)
    radius = np.sqrt(x * x + y * y + z * z)
    ball = (radius < 0.85) & (radius > 0.6)
    bar = (np.abs(y) < 0.12) & (np.abs(z) < 0.3) & (np.abs(x) < 0.6)
    clean = (ball | bar).astype(np.float32)
    return clean, clean + 0.6 * rng.standard_normal(clean.shape, dtype=np.float32)


def main(directory: str | Path = ".") -> None:
    """Smooth the three signals, print how much noise is left, and draw them."""
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(11, 9), layout="constrained")
    cases = {
        "1-D: a plucked string": (*sound(rng), 21, 4.0),
        "2-D: a photograph": (*photograph(rng), 9, 1.5),
        "3-D: a volume (middle slice)": (*volume(rng), 7, 1.2),
    }
    axes = figure.subplots(3, 3, height_ratios=[0.6, 1, 1])
    for row, (title, (clean, noisy, size, sigma)) in zip(axes, cases.items(), strict=True):
        smoothed = smooth(noisy, size, sigma)
        errors = [np.sqrt(np.mean((a - clean) ** 2)) for a in (noisy, smoothed)]
        print(f"{title}, shape {clean.shape}: RMS error {errors[0]:.3f} -> {errors[1]:.3f}")
        titles = [title, f"with noise: error {errors[0]:.3f}", f"smoothed: error {errors[1]:.3f}"]
        for ax, values, text in zip(row, (clean, noisy, smoothed), titles, strict=True):
            ax.set_title(text, fontsize=11)
            if values.ndim == 1:
                ax.plot(np.arange(800) / 16, values[:800], linewidth=0.8)
                ax.set(ylim=(-1.9, 1.9), xlabel="ms")
            else:
                picture = values if values.ndim == 2 else values[len(values) // 2]
                ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
    figure.savefig(Path(directory) / "ranks.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
