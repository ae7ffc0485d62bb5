"""The gallery: filters by name on a photograph, in one picture, timed against SciPy.

Run it as ``python gallery.py [DIR]``; it writes DIR/gallery.png. The photograph is the sample that
matplotlib ships. The first eight pictures are the lecture's; the others come from the literature.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image

import fastconv as fc

LECTURE = {
    "identity": fc.filters.identity(),
    "edges 1": fc.filters.edge_diagonal(),
    "edges 2": fc.filters.edge_laplace4(),
    "edges 3": fc.filters.edge_laplace8(),
    "sharpen": fc.filters.sharpen(),
    "box blur": fc.filters.box_blur(),
    "Gaussian blur": fc.filters.gaussian_blur(),
}
MORE = {
    "Sobel x": fc.filters.sobel_x(),
    "Sobel y": fc.filters.sobel_y(),
    "Prewitt x": fc.filters.prewitt_x(),
    "Scharr y": fc.filters.scharr_y(),
    "box 5 x 5": fc.filters.box(5),
    "box 11 x 11": fc.filters.box(11),
    "Gaussian 15 x 15": fc.filters.gaussian(15, 3),
    "Gabor 15 x 15 / 3": fc.filters.gabor(15, 3, theta=0.8, wavelength=7, psi=np.pi / 2) / 3,
}
KERNELS = LECTURE | MORE
FACE = np.s_[30:350, 90:410]  # the part that is shown


def photograph() -> np.ndarray:
    """Return matplotlib's sample photograph, 600 x 512 x 3, uint8."""
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file))


def scipy_filter(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return what `fastconv.image.filter2d` computes, by SciPy: one kernel over each channel."""
    sums = scipy.ndimage.correlate(image, kernel[..., None], np.float32, mode="mirror")
    return np.clip(np.rint(sums), 0, 255).astype(np.uint8)


def best_time(run: Callable[[], object], repeats: int) -> float:
    """Return the shortest time of `run` in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def matrix(kernel: np.ndarray) -> str:
    """Return a 3 x 3 kernel as three lines of text, a blur with its factor on the middle one."""
    divisor = 1 if kernel.min() < 0 or kernel.max() >= 1 else round(1 / kernel.min())
    rows = [" ".join(f"{v:2.0f}" for v in row * divisor) for row in kernel]
    factor = f"1/{divisor} *" if divisor > 1 else ""
    rows = [(factor if i == 1 else " " * len(factor)) + row for i, row in enumerate(rows)]
    return "\n".join(rows)


def draw(ax: Axes, picture: np.ndarray, title: str, caption: str) -> None:
    """Draw one picture of the gallery."""
    ax.imshow(picture[FACE])
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=12)
    ax.set_xlabel(caption, fontsize=8, family="monospace")


def main(directory: str | Path = ".") -> None:
    """Write the gallery and print the comparison with SciPy."""
    image = photograph()
    pictures = {name: fc.image.filter2d(image, kernel) for name, kernel in KERNELS.items()}

    figure = Figure(figsize=(12, 15), layout="constrained")
    axes = figure.subplots(4, 4).ravel()
    size = " x ".join(map(str, image.shape))
    draw(axes[0], image, "the photograph", f" \n{size}, {image.dtype}\n ")
    for ax, (name, picture) in zip(axes[1:], pictures.items(), strict=True):
        kernel = KERNELS[name]
        draw(ax, picture, name, matrix(kernel) if kernel.shape == (3, 3) else " \n \n ")
    path = Path(directory) / "gallery.png"
    figure.savefig(path, dpi=100)
    print(f"wrote {path}: {len(KERNELS)} filters of a {image.shape} {image.dtype} photograph")

    for title, kernels in {"seven lecture filters": LECTURE, "all filters": KERNELS}.items():
        ours = best_time(lambda ks=kernels: [fc.image.filter2d(image, k) for k in ks.values()], 5)
        theirs = best_time(lambda ks=kernels: [scipy_filter(image, k) for k in ks.values()], 2)
        print(
            f"{title}: fastconv {ours:.1f} ms ({fc.get_num_threads()} threads), "
            f"scipy.ndimage.correlate {theirs:.0f} ms, {theirs / ours:.1f} times as long"
        )
    levels = max(
        int(np.abs(picture.astype(int) - scipy_filter(image, KERNELS[name])).max())
        for name, picture in pictures.items()
    )
    print(f"largest difference of the two: {levels} of 255 grey levels")


if __name__ == "__main__":
    main(*sys.argv[1:])
