"""OpenVINO as it comes: in bfloat16 inside, on processors with AVX512-BF16 or AMX.

It is measured against fastconv's precision "medium", never against float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peers import Side, Task
from peers.openvino_peer import compiled, expect, unwrap


def sides(task: Task) -> Iterator[Side]:
    if task.x.dtype == np.float32:
        call, kernel = compiled(task, {})
        expect("bf16", kernel)
        yield Side("ov-bf16", call, unwrap, full_precision=False, kernel=kernel)
