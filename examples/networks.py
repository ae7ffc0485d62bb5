"""LeNet-5 and VGG-16, forward, from `conv2d` and NumPy, layer by layer beside PyTorch.

Run it as ``python networks.py [DIR [SIZE]]``; it writes DIR/networks.png. SIZE is the side of
VGG-16's input, a multiple of 32 (224). The weights are random with a fixed seed: the point is the
arithmetic and its time, not what the network has learnt. LeNet-5, whose layers take microseconds,
runs on one thread in both libraries, VGG-16 on all. Where PyTorch is installed, each convolution
gets the same input in both, and the difference is held against twice the float32 bound
``gamma_n * S``, since either may be that far from the exact result.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fastconv as fc

try:
    import torch
except ImportError:
    torch = None


@dataclass(frozen=True)
class Conv:
    """A square convolution with bias and ReLU."""

    channels: int
    kernel: int
    padding: int


@dataclass(frozen=True)
class Dense:
    """A matrix product with bias, followed by a ReLU in all but the last layer."""

    channels: int
    last: bool = False


POOL = "pool"  # the maximum of each 2 x 2 square

LENET5 = [Conv(6, 5, 0), POOL, Conv(16, 5, 0), POOL, Conv(120, 5, 0), Dense(84), Dense(10, True)]
VGG16 = [
    *[Conv(64, 3, 1)] * 2,
    POOL,
    *[Conv(128, 3, 1)] * 2,
    POOL,
    *[Conv(256, 3, 1)] * 3,
    POOL,
    *[Conv(512, 3, 1)] * 3,
    POOL,
    *[Conv(512, 3, 1)] * 3,
    POOL,
    Dense(4096),
    Dense(4096),
    Dense(1000, True),
]


def random_weights(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights that keep the size of the activations (He's), and a small bias."""
    scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    weights = rng.standard_normal(shape, np.float32) * scale
    return weights, rng.standard_normal(shape[0], np.float32) * np.float32(0.1)


def max_pool(x: np.ndarray) -> np.ndarray:
    """Return the maximum of each 2 x 2 square of ``(C, H, W)``, whose H and W are even."""
    c, h, w = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))


def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray, last: bool) -> np.ndarray:
    """Return ``w @ x + b``, without its negative part unless it is the last layer."""
    y = w @ x.ravel() + b
    return y if last else np.maximum(y, 0)


def best_times(*calls: Callable[[], object], budget: float = 0.02) -> list[float]:
    """Return the shortest time of each call in milliseconds, the calls taking turns.

    There are at least three rounds, and more until `budget` seconds are spent.
    """
    times = [[] for _ in calls]
    end = time.perf_counter() + budget
    while len(times[0]) < 3 or time.perf_counter() < end:
        for call, record in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            record.append(1e3 * (time.perf_counter() - start))
    return [min(record) for record in times]


def torch_conv(x: np.ndarray, w: np.ndarray, b: np.ndarray, padding: int) -> np.ndarray:
    """Return PyTorch's convolution and ReLU."""
    with torch.inference_mode():
        y = torch.nn.functional.conv2d(*map(torch.from_numpy, (x[None], w, b)), padding=padding)
        return torch.relu_(y)[0].numpy()


def share_of_bound(ours, theirs, x, w, b, padding) -> float:
    """Return the largest ``|ours - theirs| / (2 * gamma_n * S)``; at most 1 is as it should be."""
    n = w[0].size + 2  # the products, the bias and the final rounding
    u = 2.0**-24
    size = fc.conv2d(np.abs(x), np.abs(w), np.abs(b), padding=padding)
    return float(np.max(np.abs(ours - theirs) / (2 * n * u / (1 - n * u) * size)))


def run_conv(layer: Conv, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Return the layer's output, and a row of the table."""
    w, b = random_weights(rng, layer.channels, len(x), layer.kernel, layer.kernel)

    def ours() -> np.ndarray:
        return fc.conv2d(x, w, b, padding=layer.padding, activation="relu")

    def theirs() -> np.ndarray:
        return torch_conv(x, w, b, layer.padding)

    y = ours()
    row = {"name": f"conv {layer.kernel}x{layer.kernel}", "flops": 2 * w[0].size * y.size}
    if torch is None:
        (row["ours"],) = best_times(ours)
    else:
        row["ours"], row["theirs"] = best_times(ours, theirs)
        row["share"] = share_of_bound(y, theirs(), x, w, b, layer.padding)
    return y, row


def run(name: str, layers: list, x: np.ndarray) -> list[dict]:
    """Run the network on `x`, print its table and return the rows."""
    rng = np.random.default_rng(0)
    rows = []
    print(f"\n{name}, input {x.shape}, threads: {fc.get_num_threads()}")
    print("layer       output            MFLOP  fastconv ms  GFLOP/s  torch ms  difference/bound")
    for layer in layers:
        if isinstance(layer, Conv):
            x, row = run_conv(layer, x, rng)
        elif isinstance(layer, Dense):
            w, b = random_weights(rng, layer.channels, x.size)
            (took,) = best_times(lambda x=x, w=w, b=b, last=layer.last: dense(x, w, b, last))
            x = dense(x, w, b, layer.last)
            row = {"name": "dense", "flops": 2 * w.size, "ours": took}
        else:
            (took,) = best_times(lambda x=x: max_pool(x))
            x = max_pool(x)
            row = {"name": "pool", "flops": 0, "ours": took}
        rows.append(row)
        print_row(row, x.shape)
    convs = [row for row in rows if row["name"].startswith("conv")]
    total = sum(row["ours"] for row in rows)
    print(f"{name}: {total:.1f} ms, of which convolutions {sum(r['ours'] for r in convs):.1f} ms")
    if torch is not None:
        worst = max(row["share"] for row in convs)
        print(f"{name}: within the float32 bound of PyTorch's: {worst <= 1} (share {worst:.4f})")
    return rows


def print_row(row: dict, shape: tuple[int, ...]) -> None:
    """Print one line of the table."""
    speed = f"{row['flops'] / row['ours'] / 1e6:9.1f}" if row["flops"] else " " * 9
    peer = f"{row['theirs']:10.2f}{row['share']:18.4f}" if "theirs" in row else ""
    kind = row["name"] if row["name"].startswith("conv") else f"{row['name']} *"
    print(f"{kind:<11} {shape!s:<16}{row['flops'] / 1e6:7.1f}{row['ours']:13.2f}{speed}{peer}")


def draw(ax: Axes, name: str, rows: list[dict]) -> None:
    """Draw the times of the convolutions as bars."""
    convs = [row for row in rows if row["name"].startswith("conv")]
    places = np.arange(len(convs))
    ours = [row["ours"] for row in convs]
    ax.bar(places - 0.2, ours, 0.4, label=f"fastconv: {sum(ours):.2f} ms")
    if torch is not None:
        theirs = [row["theirs"] for row in convs]
        ax.bar(places + 0.2, theirs, 0.4, label=f"PyTorch: {sum(theirs):.2f} ms")
    ax.set(title=name, xlabel="convolution", ylabel="ms", xticks=places, xticklabels=places + 1)
    ax.margins(y=0.35)  # room for the legend
    ax.legend(loc="upper left")


def main(directory: str | Path = ".", size: str | int = 224) -> None:
    """Run both networks and draw the times of their convolutions."""
    rng = np.random.default_rng(1)
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[1, 3])
    peer = "not installed" if torch is None else torch.__version__
    print(f"fastconv {fc.__version__}; PyTorch: {peer}; layers marked * are NumPy's")
    networks = {
        "LeNet-5": (LENET5, (1, 32, 32), 1),
        "VGG-16": (VGG16, (3, int(size), int(size)), fc.get_num_threads()),
    }
    for ax, (name, (layers, shape, threads)) in zip(axes, networks.items(), strict=True):
        if torch is not None:
            torch.set_num_threads(threads)
        with fc.num_threads(threads):
            rows = run(name, layers, rng.standard_normal(shape, np.float32))
        draw(ax, f"{name}, threads: {threads}", rows)
    figure.savefig(Path(directory) / "networks.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
