"""Sixty-four calls that broke real libraries, translated to fastconv.

Each function is one row of the table: a public advisory or bug report of a convolution-like
operation.  Where fastconv has no such operation (pooling, gradients, transposed convolution,
quantized kernels, median blur), the row is the forward call with the same hostile numbers.

The first argument of :func:`row` is its number, the second what must come of it:

    VE    ValueError
    TE    TypeError
    VE/ME ValueError or MemoryError
    E0    a result, empty or all zero
    OK    the right result: the row itself checks it

``python bad_input_rows.py`` serves rows to ``test_bad_inputs.py``: it reads one number a line
and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

import fastconv as fc
from fastconv import image
from reference import absolute, conv, gamma
from resident import peak_growth, resident

ROWS = {}

# What NumPy itself allows.
MOST_DIMENSIONS = 64 if np.__version__ >= "2" else 32


def row(number, origin, outcome, gigabytes=0.0):
    """Register a row, and the memory without which it is skipped."""

    def register(function):
        assert number not in ROWS
        ROWS[number] = (function, origin, outcome, gigabytes)
        return function

    return register


def zeros(*shape, dtype=np.float32):
    """Zeros."""
    return np.zeros(shape, dtype)


def ramp(*shape, dtype=np.float32):
    """Small whole numbers: every float32 sum of their products is exact."""
    return np.resize((np.arange(11) * 7919 % 11 - 5).astype(dtype), shape)


def everywhere(value, *shape, dtype=np.float32):
    """A huge array that takes no memory: every element is the same one."""
    return np.broadcast_to(np.asarray(value, dtype), shape)


def exact(y, x, w, *arguments, **options):
    """Check against the reference; inputs are small whole numbers, so every bit must agree."""
    np.testing.assert_array_equal(y, conv(x, w, *arguments, **options))
    return y


# ---- rows 1-23: zeros where a number was divided by, or a pointer followed


row(1, "CVE-2021-29526", "VE")(lambda: fc.conv2d(zeros(0, 0, 0, 0), zeros(0, 0, 0, 0)))


@row(2, "CVE-2021-29517", "VE")
def _():
    x, w = zeros(2, 2, 2, 2, 0), zeros(2, 6, 0, 0, 2)
    return fc.conv3d(x, w, stride=(56, 39, 34), layout="NDHWC")


row(3, "CVE-2021-29524", "VE")(
    lambda: fc.conv2d(zeros(0, 0, 1, 0), zeros(1, 1, 1, 1), stride=(66, 18))
)


row(4, "CVE-2021-29525", "VE")(
    lambda: fc.conv2d(zeros(52, 1, 1, 5), zeros(0, 5, 0, 1), layout="NHWC")
)


row(5, "CVE-2021-41209", "VE")(lambda: fc.conv2d(zeros(1, 3, 8, 8), zeros(4, 3, 0, 3)))


row(6, "CVE-2022-35996", "E0")(lambda: fc.conv2d(zeros(0, 3, 8, 8), zeros(4, 3, 3, 3), padding=1))


row(7, "CVE-2021-29527", "VE")(
    lambda: fc.conv2d(zeros(1, 1, 1, 1, dtype=np.uint8), zeros(1, 0, 1, 1, dtype=np.uint8))
)


row(8, "CVE-2022-29201", "VE")(lambda: fc.conv2d(zeros(1, 3, 8, 8), zeros(4, 3, 3, 3), zeros(0)))


row(9, "CVE-2021-29602", "VE")(lambda: fc.conv2d(zeros(1, 0, 8, 8), zeros(4, 1, 3, 3), groups=4))


row(10, "CVE-2021-41196", "VE")(
    lambda: fc.conv3d(zeros(1, 1, 4, 4, 4), zeros(1, 1, 2, 2, 0), stride=(2, 2, -2))
)


row(11, "TF#33608", "VE")(lambda: fc.conv2d(zeros(1, 1, 4, 4), zeros(1, 1, 0, 0)))


row(12, "oneDNN#175", "E0")(lambda: fc.conv2d(zeros(0, 16, 8, 8), zeros(32, 16, 3, 3)))


row(13, "numpy#7625", "VE")(lambda: fc.correlate(zeros(0), zeros(100), "full"))


@row(14, "numpy#14366", "VE")
def _():
    a = zeros(5)
    return fc.convolve(zeros(1), a[-1:0], "same")


row(15, "opencv#16857", "E0")(
    lambda: image.filter2d(zeros(1, 0), ramp(3, 3), padding_mode="reflect")
)


row(16, "opencv#8287", "E0")(lambda: image.filter2d(zeros(0, 10, 1), ramp(7, 7)))


@row(17, "PT#142209", "VE")
def _():
    x, w = zeros(1, 1, 1, 1, 1, 1, 1), zeros(1, 0, 1)
    return fc.conv1d(x, w, stride=[498444555], padding=[1610637938])


row(18, "PT#27598", "VE")(
    lambda: fc.conv2d(zeros(1, 1, 32, 32), zeros(32, 1, 3, 3), stride=0, padding=(0, 1))
)


row(19, "PT#73193", "VE")(
    lambda: fc.conv2d(
        zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), stride=[0, 0], dilation=[0, 0], groups=0
    )
)


@row(20, "PT#85111", "VE")
def _():
    for function, rank in ((fc.conv1d, 1), (fc.conv2d, 2)):
        try:
            function(zeros(1, 1, *(4,) * rank), zeros(1, 1, *(2,) * rank), groups=0)
        except ValueError:
            continue
        raise AssertionError(f"rank {rank} took groups=0")
    return fc.conv3d(zeros(1, 1, 4, 4, 4), zeros(1, 1, 2, 2, 2), groups=0)


row(21, "PT#49523", "VE")(lambda: fc.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), groups=-(2**63)))


row(22, "CVE-2022-21741", "VE")(
    lambda: fc.conv2d(zeros(1, 4, 8, 8), zeros(4, 1, 3, 3), stride=0, groups=4)
)


row(23, "CVE-2025-2953", "VE")(
    lambda: fc.conv2d(zeros(1, 4, 8, 8), zeros(4, 1, 2, 2), stride=(0, 0), groups=4)
)


# ---- rows 24-36: sizes that overflow, and shapes that disagree


row(24, "PT#143480", "VE")(
    lambda: fc.conv1d(zeros(10, 10, 9), zeros(2, 10, 9), padding="same", dilation=2**31)
)


@row(25, "PT#143481", "VE")
def _():
    x, w = zeros(1, 2, 3, 4, 5), zeros(1, 2, 3, 3, 3)
    return fc.conv3d(x, w, padding="same", dilation=3046875451)


row(26, "PT#161877", "VE")(
    lambda: fc.conv1d(zeros(1, 16, 100), zeros(32, 16, 3), padding=2**63 - 5)
)


row(27, "PT PR174653", "VE")(
    lambda: fc.conv3d(zeros(1, 1, 4, 4, 4), zeros(1, 1, 2, 2, 2), padding=2**55)
)


@row(28, "PT#77901", "VE")
def _():
    far = 1250999896764
    return fc.conv3d(zeros(1, 1, 4, 4, 4), zeros(1, 1, 2, 2, 2), padding=-far, dilation=far)


row(29, "PT#142457", "VE")(
    lambda: fc.conv3d(zeros(1, 3, 4, 4, 4), zeros(2, 3, 2, 3, 2), dilation=1879048192)
)


row(30, "PT#141847", "VE")(
    lambda: fc.conv3d(zeros(0, 7, 9, 1, 5), zeros(9, 1), padding=[2**55] * 3)
)


row(31, "PT PR186050", "VE")(lambda: fc.conv1d(zeros(1, 1, 1), zeros(1, 1, 2)))


row(32, "CVE-2021-29540", "VE")(
    lambda: fc.conv2d(zeros(1, 1, 1, 2), zeros(1, 1, 1, 1), stride=(66, 49), layout="NHWC")
)


@row(33, "CVE-2021-29520", "VE")
def _():
    x, w = zeros(1, 1, 1, 1, 2), zeros(4, 1, 6, 1, 1)
    return fc.conv3d(x, w, stride=(89, 29, 89), layout="NDHWC")


@row(34, "IvySyn DepthwiseBackpropFilter", "VE")
def _():
    far = [1879048192] * 13
    return fc.conv2d(zeros(1, 4, 8, 8), zeros(4, 1, 2, 2), stride=far, padding=far, groups=4)


row(35, "IvySyn AvgPoolGrad", "VE")(
    lambda: fc.conv2d(zeros(1, 4, 8, 8), zeros(4, 1, 2, 2), padding=[-536870912] * 4, groups=4)
)


@row(36, "XNNPACK#11118", "VE")
def _():
    layer = fc.Conv2d(ramp(32, 3, 3, 3))  # a caller who believes that it is 5x5
    return layer(ramp(1, 3, 9, 9), out=zeros(1, 32, 5, 5))


# ---- rows 37-52: valid calls on which a kernel read or wrote what it did not own


@row(37, "oneDNN#5942", "OK")
def _():
    x, w = ramp(100, 1, 1, 64), ramp(1, 64, 125, 1)
    options = {"stride": 2, "padding": 63, "layout": "NHWC"}
    return exact(fc.conv2d(x, w, **options)[::9], x[::9], w, **options)


@row(38, "oneDNN#323", "OK")
def _():
    x = ramp(1, 64, 37, 37)
    for filters in range(1, 66):
        w = ramp(filters, 64, 11, 11)
        y = fc.conv2d(x, w, stride=9)
        if filters in (1, 3, 65):
            exact(y, x, w, stride=9)
    x, w = ramp(2, 64, 227, 227), ramp(3, 64, 11, 11)
    y = fc.conv2d(x, w, stride=4)
    return exact(y[..., ::13, ::9], x[..., :], w, stride=(4 * 13, 4 * 9))


@row(39, "PT#136348", "OK")
def _():
    x, w = ramp(18, 23, 12, 4489), ramp(134, 67, 2, 1)
    options = {"stride": (2, 13), "padding": (1, 14), "groups": 67, "layout": "NHWC"}
    return exact(fc.conv2d(x, w, **options)[::5], x[::5], w, **options)


@row(40, "oneDNN#122", "OK", gigabytes=1.0)
def _():
    # Three filters instead of 32: im2col as one matrix would still have 2.97e9 elements.
    x, w = ramp(10, 32, 81, 980), ramp(3, 32, 21, 11)
    grown, y = peak_growth(
        lambda: fc.conv2d(x, w, stride=(2, 1), padding=(10, 5), algorithm="im2col")
    )
    assert grown < x.nbytes + y.nbytes + w.nbytes + fc.get_num_threads() * 2**23, grown
    assert y.shape == (10, 3, 41, 980)
    # Every seventh row and every hundredth column.
    padded = np.pad(x, ((0, 0), (0, 0), (10, 10), (5, 5)))
    return exact(y[..., ::7, ::100], padded, w, stride=(14, 100))


@row(41, "PT#9404", "OK", gigabytes=2.0)
def _():
    # Two filters instead of 64: im2col as one matrix would still have 2.15e9 elements.
    x, w = ramp(1, 64, 1167, 1167), ramp(2, 64, 5, 5)
    y = fc.conv2d(x, w, dilation=2)
    assert y.shape == (1, 2, 1159, 1159)
    return exact(y[..., ::97, ::50], x, w, dilation=2, stride=(97, 50))


@row(42, "ROCm PR4611", "OK", gigabytes=1.0)
def _():
    # The 256 channels are one, seen 256 times: 182 million elements in half a megabyte.
    x = np.broadcast_to(ramp(1, 1, 19, 146, 258), (1, 256, 19, 146, 258))
    w = ramp(2, 256, 3, 3, 3)
    y = fc.conv3d(x, w)
    w_summed = w.astype(np.float64).sum(axis=1, keepdims=True)
    return exact(y, x[:, :1].astype(np.float64), w_summed)


@row(43, "XNNPACK PR11184", "VE/ME")
def _():
    x = everywhere(1, 1, 2**30, 4, 4, dtype=np.int8)
    return fc.conv2d(x, everywhere(1, 2**28, 2**30, 4, 4, dtype=np.int8))


@row(44, "scipy#10761", "OK", gigabytes=2.0)
def _():
    # Every row is the same one, so that only the result takes memory; float32 here, and the
    # float64 result beyond 2**31 bytes in test_large.py.
    line = ramp(1000)
    y = fc.correlate(np.broadcast_to(line, (300000, 1000)), ramp(1, 2), "valid")
    assert (y == y[0]).all()
    return exact(y[:1], line[None], ramp(1, 1, 2))


@row(45, "PT#152816", "OK", gigabytes=1.0)
def _():
    # A tenth of each side; beyond 2**31 elements in test_large.py.
    x = everywhere(1, 1, 2, 3280, 3280, dtype=np.int8)
    y = fc.conv2d(x, np.stack([ramp(1, 3, 3, dtype=np.int8)] * 2), groups=2)
    assert (y == ramp(3, 3, dtype=np.int8).sum()).all()
    return y


@row(46, "opencv#28385", "OK", gigabytes=0.5)
def _():
    whole = everywhere(3, 50000, 50000, dtype=np.uint16)
    y = image.filter2d(whole[:, :100], np.ones((3, 3), np.float32))
    assert (y == 27).all()
    return y


@row(47, "scipy#8814", "OK")
def _():
    # Two rows instead of 300: 420 million products.
    x, w = ramp(1, 2, 300), ramp(1, 1, 1, 700000)
    options = {"padding": "same", "padding_mode": "symmetric", "dtype": np.float64}
    y = fc.conv2d(x, w, **options)
    assert y.shape == (1, 2, 300)
    return exact(y, x, w, **options)


@row(48, "scipy#12686", "OK")
def _():
    x, w = ramp(1, 10, 3), ramp(1, 1, 10, 10)
    options = {"padding": "same", "padding_mode": "wrap"}
    return exact(fc.conv2d(x, w, **options), x, w, **options)


@row(49, "opencv#28233", "OK")
def _():
    for mode in ("reflect", "symmetric", "edge", "wrap", "constant"):
        y = image.filter2d(
            np.array([[3]], np.uint8), np.ones((9, 9), np.float32), padding_mode=mode
        )
        assert y.tolist() == [[3 if mode == "constant" else 243]]
    return y


@row(50, "opencv#25498", "OK")
def _():
    # 741 taps along each axis in turn, in place.
    x = ramp(1, 346, 240, dtype=np.float64)
    for shape in ((1, 1, 741, 1), (1, 1, 1, 741)):
        before, w = x.copy(), ramp(*shape, dtype=np.float64)
        options = {"padding": "same", "padding_mode": "edge"}
        assert fc.conv2d(x, w, out=x, **options) is x
        exact(x, before, w, **options)
    return x


@row(51, "scipy#822", "VE")
def _():
    for anchor in ((-2, 0), (0, 3), (3, 0), (-4, 0)):
        try:
            image.filter2d(zeros(8, 8), ramp(3, 1), anchor=anchor)
        except ValueError:
            continue
        raise AssertionError(f"anchor {anchor} was taken")
    return image.filter2d(zeros(8, 8), ramp(3, 1), anchor=(2**63, 0))


@row(52, "opencv#13179", "OK")
def _():
    whole = ramp(120, 130)
    view = whole[40:80, 50:90]
    y = image.filter2d(view, ramp(13, 13), padding_mode="reflect")
    return exact(y[None], view[None], ramp(1, 1, 13, 13), padding=6, padding_mode="reflect")


# ---- rows 53-64: types, memory, numbers, and the process around the call


row(53, "numpy PR14829", "TE")(lambda: fc.correlate("abc", np.ones(1000)))


@row(54, "scipy#6076", "OK")
def _():
    y = fc.conv1d([[2]], [[[2**62]]])
    assert y.tolist() == [[-(2**63)]], "wraps modulo 2**64, as documented"
    return y


@row(55, "scipy#7388", "OK")
def _():
    x, w, out = (
        ramp(1, 9, dtype=np.float64),
        ramp(1, 1, 3, dtype=np.float64),
        zeros(1, 7, dtype=">f8"),
    )
    fc.conv1d(x, w, out=out)
    return exact(out.astype(np.float64), x, w)


@row(56, "scipy#3694", "OK")
def _():
    w = ramp(1, 1, 5)
    for shift in range(-4, 5):
        memory = ramp(1, 80)
        x, out = memory[:, 8:72], memory[:, 8 + shift : 72 + shift]
        before = x.copy()
        fc.conv1d(x, w, padding=2, out=out)
        exact(out, before, w, padding=2)
    return out


@row(57, "numpy#16660", "OK")
def _():
    record = np.zeros((3, 40), np.dtype([("flag", "i1"), ("value", "<f8")]))
    record["value"] = ramp(3, 40, dtype=np.float64)
    x, w = record["value"], ramp(2, 3, 3, dtype=np.float64)
    assert x.strides[1] == 9
    return exact(fc.conv1d(x, w), x, w)


@row(58, "XNNPACK#4190", "OK")
def _():
    for width in range(1, 66):
        for taps in range(1, min(width, 9) + 1):
            x, w = ramp(1, width), ramp(1, 1, taps)
            y = exact(fc.conv1d(x, w), x, w)
    return y


@row(59, "scipy#15927", "OK")
def _():
    x, w = ramp(1, 3000), ramp(1, 1, 401)
    x[0, 1500] = np.nan
    y = fc.conv1d(x, w)
    touched = np.zeros(2600, bool)
    touched[1500 - 400 : 1501] = True
    assert (np.isnan(y[0]) == touched).all()
    return y


row(60, "CVE-2021-33430", "VE")(
    lambda: fc.conv2d(zeros(*(1,) * MOST_DIMENSIONS), zeros(1, 1, 1, 1))
)


row(61, "CVE-2021-41496", "VE")(
    lambda: fc.conv2d(
        zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), padding=list(range(-(2**62), 40 - 2**62))
    )
)


@row(62, "scipy PR508", "OK")
def _():
    x, w = ramp(5, 5), ramp(4, 4)
    for _ in range(2000):
        fc.convolve(x, w)
    before = resident()
    for _ in range(50_000):
        y = fc.convolve(x, w)
    assert resident() - before < 2**20, "a leak of 100 bytes a call would be five megabytes"
    return y


@row(63, "PT#21734", "OK")
def _():
    # Subnormal weights: slow on some processors, but neither flushed to zero nor refused.
    x, w = ramp(1, 16, 12, 12), ramp(16, 16, 3, 3) * np.float32(1e-41)
    y = fc.conv2d(x, w)
    assert np.count_nonzero(y)
    error = np.abs(y - conv(x, w, wide=True))
    assert (error <= gamma(145, 2.0**-24) * absolute(x, w) + 145 * 2.0**-149).all()
    return y


@row(64, "PT#53565", "OK")
def _():
    y = fc.conv2d(ramp(1, 16, 64, 64), ramp(16, 16, 3, 3))
    with open("/proc/self/maps") as maps:
        text = maps.read()
    assert not any(name in text for name in ("libgomp", "libomp", "libiomp"))
    return y


# ---- serving


def serve(number):
    """Run a row; what came of it, as a dictionary."""
    function = ROWS[number][0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = function()
    except AssertionError as error:
        return {"outcome": "wrong", "message": str(error)}
    except BaseException as error:
        return {"outcome": type(error).__name__, "message": str(error)}
    assert isinstance(y, np.ndarray)
    return {"outcome": "result", "empty": y.size == 0 or not y.any(), "message": str(y.shape)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(int(line))), flush=True)
