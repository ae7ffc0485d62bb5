"""The table of ``python -m fastconv bench``: this library beside those that are installed."""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import config
from .conv import conv2d
from .image import filter2d
from .signal import convolve

_Item = TypeVar("_Item")
_Run = Callable[[], Any]

# One measurement lasts at least this long, repeating the call where it is shorter.
_LEAST_SECONDS = 0.01


class Case(NamedTuple):
    """A row: what is computed, and the function of each library that computes it."""

    name: str
    runs: dict[str, _Run]


def run(threads: int, repeats: int) -> None:
    """Measure every case with every library and print the table.

    Parameters
    ----------
    threads : int
        Threads that each library may use.
    repeats : int
        Rounds; in each round every library runs once, so that a disturbance meets all of them.
    """
    peers = {name: _load(name) for name in ("scipy.signal", "scipy.ndimage", "cv2", "torch")}
    with _limited(threads, peers):
        cases = list(_cases(peers))
        steps = [(case, library) for case in cases for library in case.runs]
        medians: dict[tuple[str, str], list[float]] = {}
        rounds = [(number, *step) for number in range(repeats) for step in steps]
        loops = {(c.name, library): _loops(c.runs[library]) for c, library in _progress(steps)}
        for _, case, library in _progress(rounds):
            key = case.name, library
            medians.setdefault(key, []).append(_seconds(case.runs[library], loops[key]))
    print(f"{config.get_isa()}, {threads} thread(s), median of {repeats} rounds")
    for line in _table({key: statistics.median(times) for key, times in medians.items()}):
        print(line)


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@contextmanager
def _limited(threads: int, peers: dict[str, Any]) -> Iterator[None]:
    """Hold every library to the same number of threads."""
    with ExitStack() as stack:
        stack.enter_context(config.num_threads(threads))
        for name, setter, getter in (
            ("cv2", "setNumThreads", "getNumThreads"),
            ("torch", "set_num_threads", "get_num_threads"),
        ):
            if peers[name] is not None:
                before = getattr(peers[name], getter)()
                stack.callback(getattr(peers[name], setter), before)
                getattr(peers[name], setter)(threads)
        yield


def _cases(peers: dict[str, Any]) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    torch, cv2 = peers["torch"], peers["cv2"]
    ndimage, scipy_signal = peers["scipy.ndimage"], peers["scipy.signal"]

    def layer(name: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], padding: int) -> Case:
        x = rng.standard_normal(x_shape, np.float32)
        w = rng.standard_normal(w_shape, np.float32)
        runs: dict[str, _Run] = {"fastconv": lambda: conv2d(x, w, padding=padding)}
        if torch is not None:
            tx, tw = torch.from_numpy(x), torch.from_numpy(w)

            def by_torch() -> Any:
                with torch.inference_mode():
                    return torch.nn.functional.conv2d(tx, tw, padding=padding)

            runs["torch"] = by_torch
        return Case(name, runs)

    def picture(name: str, dtype: type[np.generic], side: int) -> Case:
        image = (rng.random((1080, 1920)) * 255).astype(dtype)
        kernel = rng.standard_normal((side, side), np.float32)
        runs: dict[str, _Run] = {"fastconv": lambda: filter2d(image, kernel)}
        if ndimage is not None and dtype is np.float32:
            runs["SciPy"] = lambda: ndimage.correlate(image, kernel, mode="mirror")
        if cv2 is not None:
            runs["OpenCV"] = lambda: cv2.filter2D(image, -1, kernel)
        return Case(name, runs)

    yield layer("layer 8x8, 3x3, 1 to 1", (1, 1, 8, 8), (1, 1, 3, 3), 0)
    yield layer("layer 56x56, 3x3, 64 to 64", (1, 64, 56, 56), (64, 64, 3, 3), 1)
    yield layer("layer 14x14, 1x1, 256 to 256", (1, 256, 14, 14), (256, 256, 1, 1), 0)
    yield picture("image 1080x1920 float32, 7x7", np.float32, 7)
    yield picture("image 1080x1920 uint8, 3x3", np.uint8, 3)
    signal, taps = rng.standard_normal(100_000, np.float32), rng.standard_normal(64, np.float32)
    runs: dict[str, _Run] = {
        "fastconv": lambda: convolve(signal, taps),
        "NumPy": lambda: np.convolve(signal, taps),
    }
    if scipy_signal is not None:
        runs["SciPy"] = lambda: scipy_signal.convolve(signal, taps)
    yield Case("signal 100000, 64 taps", runs)


def _loops(function: _Run) -> int:
    function()
    start = time.perf_counter()
    function()
    return max(1, int(_LEAST_SECONDS / max(time.perf_counter() - start, 1e-7)))


def _seconds(function: _Run, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        function()
    return (time.perf_counter() - start) / loops


def _progress(items: list[_Item]) -> Iterable[_Item]:
    """Iterate with a bar on the error stream: tqdm's where it is installed, or else our own."""
    if not sys.stderr.isatty():
        return items
    tqdm = _load("tqdm")
    if tqdm is not None:
        bar: Iterable[_Item] = tqdm.tqdm(items, leave=False)
        return bar
    return _plain_bar(items)


def _plain_bar(items: list[_Item]) -> Iterator[_Item]:
    width = 40
    for done, item in enumerate(items):
        filled = width * done // len(items)
        sys.stderr.write(f"\r[{'#' * filled}{'.' * (width - filled)}] {done}/{len(items)}")
        sys.stderr.flush()
        yield item
    sys.stderr.write("\r" + " " * (width + 20) + "\r")


def _table(medians: dict[tuple[str, str], float]) -> list[str]:
    """Lay out the times; the ratio is the best other time over ours, above 1 where we win."""
    cases = list(dict.fromkeys(name for name, _ in medians))
    libraries = list(dict.fromkeys(library for _, library in medians))
    rows = [["", *libraries, "ratio to the best other"]]
    for name in cases:
        times = {library: medians.get((name, library)) for library in libraries}
        ours = medians[name, "fastconv"]
        others = [
            seconds for (case, library), seconds in medians.items()
            if case == name and library != "fastconv"
        ]  # fmt: skip
        ratio = f"{min(others) / ours:.2f}" if others else "-"
        rows.append([name, *("-" if t is None else _duration(t) for t in times.values()), ratio])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _duration(seconds: float) -> str:
    for scale, unit in ((1, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.2f} {unit}"
    return f"{seconds / 1e-6:.2f} us"
