#!/usr/bin/env python3
"""What one tiny call costs from Python: a 3x3 kernel over an 8x8 array, in microseconds.

    python benchmarks/call_overhead.py

The arithmetic takes well under a tenth of a microsecond; the rest is the price of calling.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np

from _timing import clean_process, interleave, processor, significant, table

# Module that must be there, side, statement. `x`, `w` are (1,1,8,8) and (1,1,3,3) arrays, `a`, `k`
# the same without batch and channel, `tx`, `tw` the same as tensors.
SIDES = (
    ("builtins", "an empty function", "nothing()"),
    ("fastconv", "fastconv.conv2d", "fastconv.conv2d(x, w)"),
    ("fastconv", "fastconv.conv2d, out=", "fastconv.conv2d(x, w, out=y)"),
    ("fastconv", "fastconv.conv2d, options", "fastconv.conv2d(x, w, stride=1, padding=1)"),
    ("fastconv", "fastconv.Conv2d plan", "plan(x)"),
    ("fastconv", "fastconv.Conv2d plan, out", "plan(x, y)"),
    ("fastconv", "fastconv.image.filter2d", "fastconv.image.filter2d(a, k)"),
    ("fastconv", "fastconv.correlate", "fastconv.correlate(a, k, 'valid')"),
    ("torch", "torch, on tensors", "torch.conv2d(tx, tw)"),
    (
        "torch",
        "torch, from and to NumPy",
        "torch.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()",
    ),
    ("cv2", "cv2.filter2D", "cv2.filter2D(a, -1, k)"),
    ("scipy.signal", "scipy.signal.correlate2d", "signal.correlate2d(a, k, 'valid')"),
    ("scipy.ndimage", "scipy.ndimage.correlate", "ndimage.correlate(a, k)"),
)


def nothing() -> None:
    pass


def namespace() -> tuple[dict[str, Any], set[str]]:
    """The names that the statements use, and the modules that are missing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 1, 8, 8), np.float32)
    w = rng.standard_normal((1, 1, 3, 3), np.float32)
    y = np.empty((1, 1, 6, 6), np.float32)
    names: dict[str, Any] = {"x": x, "w": w, "y": y, "a": x[0, 0], "k": w[0, 0], "nothing": nothing}
    missing = set()
    for module in dict.fromkeys(module for module, _, _ in SIDES):
        try:
            names[module.rpartition(".")[2]] = importlib.import_module(module)
        except ImportError as error:
            missing.add(module)
            print(f"without {module}: {error}", file=sys.stderr)
    if fastconv := names.get("fastconv"):
        fastconv.set_num_threads(1)
        names["plan"] = fastconv.Conv2d(w)
    if torch := names.get("torch"):
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        names.update(tx=torch.from_numpy(x), tw=torch.from_numpy(w))
    if cv2 := names.get("cv2"):
        cv2.setNumThreads(1)
    return names, missing


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument("--min-time", type=float, default=0.02, help="seconds a block lasts")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    clean_process(1)
    names, missing = namespace()
    sides = {side: statement for module, side, statement in SIDES if module not in missing}
    timings = interleave(sides, repeat=options.repeat, min_time=options.min_time, names=names)
    own = timings.get("fastconv.conv2d")
    lines = [
        [side, significant(t.median * 1e6), significant(t.best * 1e6)]
        + ([significant(t.median / own.median)] if own else [])
        for side, t in timings.items()
    ]
    header = ["microseconds", "median", "best", *(["of fastconv.conv2d"] if own else [])]
    print(f"{processor()}\n(1,1,8,8) float32 with 3x3, one thread\n")
    print(table(header, lines, markdown=options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
