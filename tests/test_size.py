"""The extension module stays small: a wheel is little more than its compressed size."""

from __future__ import annotations

import pathlib
import platform
import sys
import zlib

import pytest

from fastconv import _core

# Bytes of a release build, installed and in a wheel: a twentieth or so above those measured.
LARGEST = 4_000_000
LARGEST_COMPRESSED = 1_600_000


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the limits are those of Linux on x86-64",
)
@pytest.mark.skipif(
    _core.build_info()["build_type"] != "Release",
    reason="builds for debugging are larger",
)
def test_the_module_stays_small():
    module = pathlib.Path(_core.__file__).read_bytes()
    assert len(module) <= LARGEST
    assert len(zlib.compress(module, 6)) <= LARGEST_COMPRESSED
