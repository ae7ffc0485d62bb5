"""No buffer is read or written beyond its ends, by as little as one byte.

Every buffer of a call lies between two inaccessible pages (see :mod:`guarded`), flush with one
of them, for widths 1 to 65: all remainders of every vector length.
"""

from __future__ import annotations

import signal
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mmap and mprotect")

CONVOLVE = "import sys; from guarded import convolve_all; convolve_all(*sys.argv[1:])"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_guarded_buffers(run_python, isa, layout):
    """At both ends, by every algorithm."""
    last_line = run_python(CONVOLVE, isa, layout, timeout=300).splitlines()[-1]
    counts = [int(count) for count in last_line.split()]
    assert min(counts) > 700, "most calls of each algorithm must have run"


TOUCH = """
import ctypes, sys
import numpy as np
from guarded import Arena
how, end = sys.argv[1:]
a = Arena(8192).place(np.arange(7, dtype=np.int8), at_end=end == "end")
assert a.tolist() == list(range(7))
address = a.ctypes.data + (7 if end == "end" else -1)
print("alive", flush=True)
ctypes.string_at(address, 1) if how == "read" else ctypes.memset(address, 0, 1)
print("survived")
"""


@pytest.mark.parametrize("how", ["read", "write"])
@pytest.mark.parametrize("end", ["start", "end"])
def test_one_byte_too_many_ends_the_process(run_python, how, end):
    """The self test: what the tests above would see."""
    child = run_python(TOUCH, how, end, check=False)
    assert child.stdout == "alive\n"
    assert child.returncode == -signal.SIGSEGV
