"""Layers with channels last against the plain loop: exact, wherever their arrays lie."""

from __future__ import annotations

import numpy as np

from plain_loop import RUN, plain_loop


def small_integers(shape, dtype="float32", seed=0):
    """Numbers whose sums are exact in every type."""
    return np.random.default_rng(seed).integers(-4, 5, size=shape).astype(dtype)


def check_output(x, w, bias=None, **options):
    """Exact, and the same wherever the output lies; the expected result."""
    run = RUN[x.ndim - 2]
    options = {"layout": "NHWC", **options}
    want = plain_loop(x, w, bias, **options)
    np.testing.assert_array_equal(run(x, w, bias, **options), want)
    apart = np.zeros((*want.shape[:-1], want.shape[-1] + 3), want.dtype)
    run(x, w, bias, out=apart[..., :-3], **options)
    np.testing.assert_array_equal(apart[..., :-3], want)
    assert not apart[..., -3:].any()
    planes = np.moveaxis(np.zeros_like(np.moveaxis(want, -1, 1)), 1, -1)
    run(x, w, bias, out=planes, **options)
    np.testing.assert_array_equal(planes, want)
    return want


def check_input(x, w, bias=None, **options):
    """The same, and wherever the input's pixels lie."""
    want = check_output(x, w, bias, **options)
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 1), x.dtype)
    wide[..., :-1] = x
    options = {"layout": "NHWC", **options}
    np.testing.assert_array_equal(RUN[x.ndim - 2](wide[..., :-1], w, bias, **options), want)
    return want
