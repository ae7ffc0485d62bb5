"""How much physical memory this process holds, and how much more a call needed at its peak."""

from __future__ import annotations

import os
from pathlib import Path


def resident():
    """Bytes of physical memory in use now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak():
    """The most bytes in use since the last :func:`forget_peak`."""
    text = Path("/proc/self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak():
    """Let the peak start from what is in use now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_growth(function):
    """Run ``function``; by how many bytes its peak exceeded what was in use, and its result."""
    forget_peak()
    before = resident()
    result = function()
    return peak() - before, result
