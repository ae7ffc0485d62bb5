"""Above 2**31: elements, bytes and offsets that no longer fit 32 bits.

The results are right where they are looked at: sampled places, or everywhere where every place
has the same answer.  Inputs that need no memory of their own are broadcast from few elements.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from reference import conv

GIB = 2**30

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def ramp(*shape, dtype=np.float32):
    """Small whole numbers."""
    return np.resize((np.arange(11) * 7919 % 11 - 5).astype(dtype), shape)


def test_signal_beyond_two_to_the_31_elements(needs_memory):
    """Dense int8 input and output, each with more than 2**31 elements."""
    needs_memory(6 * GIB)
    size = 2**31 + 1000
    x = np.zeros((1, size), np.int8)
    pattern = ramp(2000, dtype=np.int8)
    places = (0, 2**31 - 1100, size - 2000)
    for place in places:
        x[0, place : place + 2000] = pattern
    w = np.array([[[1, -2, 3, 4]]], np.int8)
    y = fc.conv1d(x, w, padding=((0, 3),))
    assert y.shape == (1, size)
    for place in places:
        part = slice(max(0, place - 10), place + 2000)
        padded = np.pad(
            x[:, part.start : part.stop + 3], ((0, 0), (0, max(0, place + 2003 - size)))
        )
        np.testing.assert_array_equal(y[:, part], conv(padded, w))
    assert not y[0, 5000 : 2**31 - 2000].any()


def test_depthwise_image_beyond_two_to_the_31_elements(needs_memory):
    """Row 45 of the table at full size: x(1, 2, 32800, 32800)."""
    needs_memory(5 * GIB)
    x = np.broadcast_to(np.int8(1), (1, 2, 32800, 32800))
    w = np.stack([ramp(1, 3, 3, dtype=np.int8), 2 * ramp(1, 3, 3, dtype=np.int8)])
    y = fc.conv2d(x, w, groups=2)
    assert y.size > 2**31
    for channel in (0, 1):
        lines = y[0, channel]
        for first in range(0, len(lines), 4096):
            assert (lines[first : first + 4096] == w[channel].sum()).all()


def test_float64_rows_beyond_two_to_the_31_bytes(needs_memory):
    """Row 44 of the table at full size: silently wrong after row 268436."""
    needs_memory(4 * GIB)
    line = ramp(1000, dtype=np.float64)
    x = np.broadcast_to(line, (300_000, 1000))
    y = fc.correlate(x, ramp(1, 2, dtype=np.float64), "valid")
    np.testing.assert_array_equal(y[0], conv(line[None], ramp(1, 1, 2, dtype=np.float64))[0])
    for first in range(0, len(y), 10_000):
        assert (y[first : first + 10_000] == y[0]).all()


def test_strides_beyond_two_to_the_31_bytes(needs_memory):
    """A view whose rows lie gigabytes apart; only the touched pages of it take memory."""
    needs_memory(1 * GIB)
    memory = np.zeros(5 * GIB, np.int8)
    x = np.lib.stride_tricks.as_strided(
        memory[2 * GIB :].view(np.float32), (2, 3, 50), (2 * GIB, -(2**29 + 400), 4)
    )
    x[...] = ramp(2, 3, 50)
    w = ramp(4, 3, 5)
    np.testing.assert_array_equal(fc.conv1d(x, w), conv(x.copy(), w))


def test_padding_beyond_two_to_the_31_elements(needs_memory):
    """A little image in the middle of a padded one that nobody could store."""
    needs_memory(1 * GIB)
    x, w = ramp(1, 5, 5), ramp(1, 1, 3, 3)
    far = 2**32 + 1
    y = fc.conv2d(x, w, padding=far, stride=far - 1)
    expected = np.zeros((1, 3, 3), np.float32)
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3)))
    for i in range(3):
        for j in range(3):
            row, column = i * (far - 1) - far + 3, j * (far - 1) - far + 3
            if 0 <= row <= 8 and 0 <= column <= 8:
                expected[0, i, j] = (padded[0, row : row + 3, column : column + 3] * w[0, 0]).sum()
    assert expected.any()
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_im2col_beyond_two_to_the_31_elements(needs_memory, algorithm):
    """Row 41 of the table at full size: x(1, 64, 1167, 1167), 64 filters of 5x5, dilation 2."""
    needs_memory(3 * GIB)
    x, w = ramp(1, 64, 1167, 1167), ramp(64, 64, 5, 5)
    y = fc.conv2d(x, w, dilation=2, algorithm=algorithm)
    assert y.shape == (1, 64, 1159, 1159)
    expected = conv(x, w[::7], dilation=2, stride=(193, 111))
    np.testing.assert_array_equal(y[:, ::7, ::193, ::111], expected)
