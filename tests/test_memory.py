"""Memory: bounded scratch whatever the size of the call, and nothing lost between calls.

The peak of a call may exceed what the process held before by the input, the output, the packed
weights and 8 MB per thread.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fastconv as fc

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc/self/status"
)

CALLS = {
    # im2col as one matrix would take 1.2 GB
    "large image": ((1, 32, 1024, 1024), (8, 32, 3, 3), {"padding": 1}),
    "first layer": ((4, 3, 448, 448), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "deep 1x1": ((1, 2048, 30, 30), (512, 2048, 1, 1), {}),
    "large weights": ((1, 1024, 6, 6), (1024, 1024, 3, 3), {"padding": 1}),
    "long signal": ((1, 1, 4_000_000), (1, 1, 64), {}),
    "long kernel": ((1, 2, 100_000), (2, 2, 20_001), {}),
    "wide image": ((1, 1, 16, 500_000), (1, 1, 3, 3), {"padding": 1}),
    "depthwise": ((1, 256, 112, 112), (256, 1, 3, 3), {"groups": 256, "padding": 1}),
    "volume": ((1, 16, 64, 64, 64), (16, 16, 3, 3, 3), {"padding": 1}),
    "far padding": ((1, 4, 50, 50), (4, 4, 3, 3), {"padding": 400, "padding_mode": "wrap"}),
    "many groups": ((1, 512, 40, 40), (512, 8, 3, 3), {"groups": 64}),
    "channels last": ((1, 600, 600, 64), (16, 64, 3, 3), {"layout": "NHWC"}),
}

MEASURE = """
import sys
import numpy as np, fastconv as fc
from resident import peak_growth

def measure(x_shape, w_shape, options, algorithm, dtype, threads):
    fc.set_num_threads(threads)
    conv = getattr(fc, f"conv{len(x_shape) - 2}d")
    small = (2, 2) + (5,) * (len(x_shape) - 2)
    conv(np.ones(small, dtype), np.ones(small, dtype))  # load what loads once
    x, w = np.ones(x_shape, dtype), np.ones(w_shape, dtype)
    packed = fc.explain(x, w, algorithm=algorithm, **options).packed_bytes
    grown, y = peak_growth(lambda: conv(x, w, algorithm=algorithm, **options))
    print(grown, x.nbytes, y.nbytes, max(w.nbytes, packed))

"""


def measure(run_python, name, algorithm, dtype="float32", threads=1):
    """Growth of the peak, and what is allowed."""
    x, w, options = CALLS[name]
    code = MEASURE + f"measure({x}, {w}, {options}, {algorithm!r}, {dtype!r}, {threads})"
    grown, x_bytes, y_bytes, packed = map(int, run_python(code).split())
    return grown, x_bytes + y_bytes + packed + threads * 8_000_000, y_bytes


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
def test_peak_growth_of_a_call(run_python, name, algorithm, needs_memory):
    needs_memory(2**30)
    grown, allowed, y_bytes = measure(run_python, name, algorithm)
    assert grown <= allowed
    assert grown > 0.9 * y_bytes, "the measurement sees at least the output"


@pytest.mark.parametrize("dtype", ["float64", "int8", "uint16", "int64", "float16", "complex64"])
@pytest.mark.parametrize("name", ["channels last", "large weights", "depthwise"])
def test_peak_growth_where_types_are_converted(run_python, name, dtype, needs_memory):
    needs_memory(2**30)
    grown, allowed, _ = measure(run_python, name, "auto", dtype)
    assert grown <= allowed


@pytest.mark.parametrize("name", ["large image", "first layer"])
def test_peak_growth_with_more_threads(run_python, name, needs_memory):
    needs_memory(2**30)
    grown, allowed, _ = measure(run_python, name, "auto", threads=2)
    assert grown <= allowed


def test_explain_tells_the_scratch():
    """What explain promises per thread is within the bound, for every call of the list."""
    for x, w, options in CALLS.values():
        x, w = (np.broadcast_to(np.float32(0), shape) for shape in (x, w))
        for algorithm in ("auto", "direct", "im2col"):
            told = fc.explain(x, w, algorithm=algorithm, **options).scratch_bytes_per_thread
            assert 0 <= told <= 8_000_000


LOOP = """
import gc
import numpy as np, fastconv as fc
from resident import resident
rng = np.random.default_rng(0)
x, w = np.ones((1, 4, 12, 12), np.float32), np.ones((5, 4, 3, 3), np.float32)
bad = np.ones((5, 3, 3, 3), np.float32)
out = np.empty((1, 5, 10, 10), np.float32)
def one_round(i):
    fc.conv2d(x, w)
    fc.conv2d(x, w, out=out)
    fc.conv2d(x.tolist(), w, padding=i % 50)            # new specs, conversions
    fc.Conv2d(w)(x)
    fc.explain(x, w)
    fc.conv2d(x[..., ::-1].astype(">f4"), w, layout="NCHW", padding_mode="wrap", padding=1)
    fc.correlate(x[0, 0], w[0, 0])
    for arguments in ((x, bad), (x, w, None, 0), (x, w, None, (1, 2, 3)), (x, "abc")):
        try:
            fc.conv2d(*arguments)
        except (TypeError, ValueError):
            pass
for i in range(4000):
    one_round(i)
gc.collect()
before = resident()
for i in range(3000):
    one_round(i)
gc.collect()
print(resident() - before)
"""


def test_nothing_is_lost_in_a_loop(run_python):
    """Three thousand rounds of good and bad calls: 100 lost bytes a round would be 300 kB.

    The heap fills its gaps in the rounds before: up to 200 kB, then a page now and then.
    """
    assert int(run_python(LOOP)) < 200_000


def test_large_scratch_is_not_kept_for_ever(run_python):
    """After a large call the process holds little more than before, and can give that back."""
    code = (
        "import numpy as np, fastconv as fc\n"
        "from resident import resident\n"
        "x, w = np.ones((1, 64, 400, 400), np.float32), np.ones((64, 64, 3, 3), np.float32)\n"
        "fc.set_num_threads(2)\n"
        "fc.conv2d(x[..., :9, :9], w)\n"
        "before = resident()\n"
        "fc.conv2d(x, w, algorithm='im2col')\n"
        "print(resident() - before)\n"
        "fc._core.release_memory()\n"
        "assert fc._core.kept_bytes() == 0\n"
    )
    assert int(run_python(code)) < 2 * 8_000_000


def test_a_large_result_is_kept_for_the_next_of_its_size(run_python):
    """From the third on the same memory serves a loop; one call, or another size, keeps none."""
    code = (
        "import numpy as np, fastconv as fc\n"
        "x, w = np.ones((1, 3, 1000, 1000), np.float32), np.ones((16, 3, 1, 1), np.float32)\n"
        "def kept(*shape):\n"
        "    y = fc.conv2d(x[:, :, :shape[0]], w)\n"
        "    assert y.flags.c_contiguous and y.flags.writeable and (y == 3).all()\n"
        "    held = fc._core.kept_bytes()\n"
        "    del y\n"
        "    return fc._core.kept_bytes() - held\n"
        "print(kept(1000), kept(1000), kept(1000), kept(900), kept(1000))\n"
        "y = fc.conv2d(x, w)\n"
        "z = fc.conv2d(x, w)\n"
        "assert not np.shares_memory(y, z)\n"
        "fc._core.release_memory()\n"
        "assert fc._core.kept_bytes() == 0 and (y == 3).all()\n"
    )
    assert run_python(code).split() == ["0", "64000000", "64000000", "0", "0"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the C library there")
def test_a_loop_that_holds_its_last_result_finds_memory_again(run_python):
    code = (
        "import numpy as np, fastconv as fc\n"
        "x, w = np.ones((1, 3, 224, 224), np.float32), np.ones((64, 3, 3, 3), np.float32)\n"
        "places = set()\n"
        "for _ in range(20):\n"
        "    y = fc.conv2d(x, w)\n"
        "    places.add(y.ctypes.data)\n"
        "print(len(places))\n"
    )
    assert int(run_python(code)) <= 4


def test_lost_memory_would_be_seen(run_python):
    """The self test of the measurements."""
    code = (
        "import numpy as np\n"
        "from resident import peak_growth, resident\n"
        "before = resident()\n"
        "grown, kept = peak_growth(lambda: [np.ones(2**22, np.uint8) for _ in range(8)][:4])\n"
        "print(grown, resident() - before)\n"
    )
    peak, kept = (int(size) / 2**22 for size in run_python(code).split())
    assert 7.5 < peak < 9
    assert 3.5 < kept < 5
