"""float32 accuracy: the bound gamma_n * S always, and the typical error of sequential FMA.

``S`` is the convolution of absolute values.  The root-mean-square error is compared with the
plainest float32 sum there is, one fused multiply-add after the other, emulated here in float64:
the product of two float32 numbers is exact in float64, so adding it there and rounding to
float32 is what a fused multiply-add does.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

import fastconv as fc
from reference import absolute, conv, gamma, pad, padding_pairs, per_axis, windows

UNIT = 2.0**-24
ALGORITHMS = ("auto", "direct", "im2col", "reference")

# Two orders of the same sum differ in RMS error by chance; so much is left to chance.
CHANCE = 1.02

SHAPES = {
    "1-D, one channel, 64 taps": ((1, 1, 4000), (1, 1, 64), {}),
    "1-D": ((2, 24, 500), (17, 24, 9), {"padding": 4}),
    "first layer": ((1, 3, 60, 60), (32, 3, 7, 7), {"stride": 2, "padding": 3}),
    "3x3": ((1, 64, 18, 18), (48, 64, 3, 3), {"padding": 1}),
    "7x7 of stride 2": ((1, 12, 33, 33), (20, 12, 7, 7), {"stride": 2, "padding": 1}),
    "5x5": ((1, 12, 20, 20), (20, 12, 5, 5), {"padding": 2}),
    "1x1 deep": ((1, 1024, 7, 9), (40, 1024, 1, 1), {}),
    "dense": ((16, 400, 1, 1), (120, 400, 1, 1), {}),
    "dense of a picture": ((4, 16, 5, 5), (120, 16, 5, 5), {}),
    "image 11x11": ((1, 1, 90, 90), (1, 1, 11, 11), {"padding": 5, "padding_mode": "reflect"}),
    "dilated": ((1, 32, 24, 24), (32, 32, 3, 3), {"dilation": 2, "padding": 2}),
    "depthwise": ((1, 40, 40, 40), (40, 1, 5, 5), {"groups": 40, "padding": 2}),
    "grouped": ((1, 24, 20, 20), (36, 8, 3, 3), {"groups": 3}),
    "3-D": ((1, 12, 10, 10, 10), (16, 12, 3, 3, 3), {"padding": 1}),
}

DISTRIBUTIONS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7, shape),
}


def sequential_fma(x, w, bias, channels_inside, stride=1, padding=0, dilation=1, groups=1, **how):
    """float32 results of one fused multiply-add after the other, bias first.

    The sum runs over channels inside taps, or over taps inside channels.
    """
    rank = w.ndim - 2
    stride, dilation = per_axis(stride, rank), per_axis(dilation, rank)
    pairs = padding_pairs(padding, x.shape[2:], w.shape[2:], stride, dilation)
    patches = windows(
        pad(x, pairs, how.get("padding_mode", "zeros"), 0), w.shape[2:], stride, dilation
    )
    n, _, *sizes = patches.shape
    sizes = sizes[:rank]
    patches = patches.reshape(n, groups, w.shape[1], *sizes, -1)
    filters = w.reshape(groups, -1, w.shape[1], int(np.prod(w.shape[2:])))
    y = np.zeros((n, groups, filters.shape[1], *sizes), np.float32)
    y += bias.reshape(groups, -1, *(1,) * rank)
    order = np.ndindex(filters.shape[2], filters.shape[3])
    for c, t in sorted(order, key=lambda ct: ct[::-1]) if channels_inside else order:
        a = patches[:, :, None, c, ..., t].astype(np.float64)
        b = filters[:, :, c, t].astype(np.float64).reshape(groups, -1, *(1,) * rank)
        y = (y + a * b).astype(np.float32)
    return y.reshape(n, w.shape[0], *sizes)


def rms(a):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(a))))


@functools.cache  # every ISA, algorithm and layout asks for the same
class Problem:
    """One shape and distribution with its exact result, S, and the error of sequential FMA."""

    def __init__(self, shape, distribution):
        x_shape, w_shape, self.options = SHAPES[shape]
        rng = np.random.default_rng(7)
        draw = DISTRIBUTIONS[distribution]
        self.x, self.w = (draw(rng, s).astype(np.float32) for s in (x_shape, w_shape))
        self.bias = draw(rng, w_shape[:1]).astype(np.float32)
        arrays = (self.x, self.w, self.bias)
        self.exact = conv(*arrays, wide=True, **self.options)
        self.s = absolute(*arrays, **self.options)
        self.terms = int(np.prod(w_shape[1:]))
        self.sequential = max(
            rms(sequential_fma(*arrays, inside, **self.options) - self.exact)
            for inside in (False, True)
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_float32_error(isa, shape, distribution, algorithm, layout):
    problem = Problem(shape, distribution)
    x = problem.x if layout == "NCHW" else np.moveaxis(problem.x, 1, -1).copy()
    function = getattr(fc, f"conv{x.ndim - 2}d")
    y = function(x, problem.w, problem.bias, layout=layout, algorithm=algorithm, **problem.options)
    y = y if layout == "NCHW" else np.moveaxis(y, -1, 1)
    error = np.abs(y - problem.exact)
    assert (error <= gamma(problem.terms + 1, UNIT) * problem.s).all()
    if distribution != "wide":  # there the mean square is that of a few outputs: chance
        assert rms(error) <= CHANCE * problem.sequential


def test_the_emulated_sum_is_a_float32_sum():
    """It keeps its own bound, is not exact, and loses what a float32 accumulator loses."""
    problem = Problem("3x3", "normal")
    error = problem.sequential
    assert 0 < error <= rms(gamma(problem.terms + 1, UNIT) * problem.s)
    x = np.array([[[2.0**24, 1, 1]]], np.float32)
    y = sequential_fma(x, np.ones((1, 1, 3), np.float32), np.zeros(1, np.float32), False)
    assert y[0, 0, 0] == 2.0**24  # 2**24 + 1 rounds to even, twice


def test_precision_never_falls_below_what_is_asked_for():
    problem = Problem("3x3", "normal")
    for precision in ("highest", "high", "medium", None):
        y = fc.conv2d(problem.x, problem.w, problem.bias, precision=precision, **problem.options)
        error = np.abs(y - problem.exact)
        # torch's meaning: "high" allows three bfloat16 parts or TF32, "medium" one bfloat16.
        unit = {"high": 2.0**-11, "medium": 2.0**-8}.get(precision, UNIT)
        assert (error <= gamma(problem.terms + 1, UNIT) * problem.s + 2.1 * unit * problem.s).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_float64_error(isa, algorithm):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((1, 33, 14, 19)), rng.standard_normal((18, 33, 3, 3))
    y = fc.conv2d(x, w, padding=1, algorithm=algorithm)
    bound = gamma(33 * 9 + 1, 2.0**-53) * absolute(x, w, padding=1)
    assert (np.abs(y - conv(x, w, padding=1, wide=True)) <= bound).all()


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [
        (np.float32, "float32"),
        (np.float64, "float64"),
        (np.float16, "float32"),
        (np.complex64, "complex64"),
        (np.complex128, "complex128"),
    ],
)
def test_the_type_that_sums_is_the_promised_one(dtype, computed):
    """float32 is never computed silently in float64; the half types accumulate in float32."""
    x, w = np.zeros((1, 4, 9, 9), dtype), np.zeros((4, 4, 3, 3), dtype)
    assert fc.explain(x, w).compute_dtype == computed
