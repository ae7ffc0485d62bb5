"""Rows that are no whole vectors: a vector may go on in the next row, or overlap the one before."""

import numpy as np
import pytest

import fastconv as fc


@pytest.mark.parametrize("width", [16, 17, 20, 24, 28, 31, 33, 47, 56, 65, 100])
@pytest.mark.parametrize("height", [1, 2, 7, 29])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_any_width(isa, width, height, dtype):
    rng = np.random.default_rng(width * 100 + height)
    x = rng.integers(-4, 5, (2, 3, height, width)).astype(dtype)
    w = rng.integers(-4, 5, (7, 3, 3, 3)).astype(dtype)
    bias = rng.integers(-4, 5, 7).astype(dtype)
    for options in ({}, {"activation": "relu", "stride": 2}, {"padding": 0}):
        options = {"padding": 1, "bias": bias} | options
        if height + 2 * options["padding"] < 3:
            continue
        y = fc.conv2d(x, w, algorithm="direct", **options)
        np.testing.assert_array_equal(y, fc.conv2d(x, w, algorithm="reference", **options))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_outputs_with_gaps(isa, threads):
    rng = np.random.default_rng(threads)
    x = rng.integers(-4, 5, (1, 3, 41, 56)).astype(np.float32)
    w = rng.integers(-4, 5, (64, 3, 3, 3)).astype(np.float32)
    expected = fc.conv2d(x, w, padding=1, algorithm="reference")
    fc.set_num_threads(threads)
    np.testing.assert_array_equal(fc.conv2d(x, w, padding=1), expected)
    room = np.full((1, 64, 41, 60), 7, np.float32)
    fc.conv2d(x, w, padding=1, out=room[..., 2:58])
    np.testing.assert_array_equal(room[..., 2:58], expected)
    assert (room[..., :2] == 7).all()
    assert (room[..., 58:] == 7).all()


@pytest.mark.parametrize("groups", [2, 8])
def test_groups_of_four_channels_last(isa, groups):
    rng = np.random.default_rng(groups)
    x = rng.integers(-4, 5, (2, 9, 23, 4 * groups)).astype(np.float32)
    w = rng.integers(-4, 5, (4 * groups, 4, 3, 3)).astype(np.float32)
    options = {"padding": 1, "groups": groups, "layout": "NHWC"}
    y = fc.conv2d(x, w, algorithm="direct", activation="relu", **options)
    expected = fc.conv2d(x, w, algorithm="reference", activation="relu", **options)
    np.testing.assert_array_equal(y, expected)
