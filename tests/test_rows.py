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


@pytest.mark.parametrize("filters", [2, 3, 4, 5, 8, 12, 17, 24, 40, 72, 130, 136])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_filters_that_end_with_half_a_vector(isa, filters, layout, dtype):
    rng = np.random.default_rng(filters)
    x = rng.integers(-4, 5, (2, 3, 9, 14)).astype(dtype)
    if layout == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    w = rng.integers(-4, 5, (filters, 3, 3, 3)).astype(dtype)
    bias = rng.integers(-4, 5, filters).astype(dtype)
    options = {"bias": bias, "layout": layout, "padding": 1, "activation": "relu"}
    expected = fc.conv2d(x, w, algorithm="reference", **options)
    for algorithm in ("direct", "im2col"):
        y = fc.conv2d(x, w, algorithm=algorithm, **options)
        np.testing.assert_array_equal(y, expected)
        layer = fc.Conv2d(w, algorithm=algorithm, **options)
        np.testing.assert_array_equal(layer(x), expected)
    room = np.full((*expected.shape[:-1], expected.shape[-1] + 4), 7, dtype)
    fc.conv2d(x, w, out=room[..., 2:-2], **options)
    np.testing.assert_array_equal(room[..., 2:-2], expected)
    assert (room[..., :2] == 7).all()
    assert (room[..., -2:] == 7).all()


@pytest.mark.parametrize(
    ("channels", "filters", "height", "width", "kernel", "stride"),
    [
        (70, 96, 7, 7, 1, 1),
        (530, 25, 7, 7, 1, 1),
        (40, 50, 13, 13, 1, 2),
        (40, 50, 5, 9, 1, 2),
        (300, 70, 1, 2, 1, 1),
        (300, 3, 1, 1, 1, 1),
        (37, 64, 7, 7, 3, 1),
        (64, 29, 8, 8, 3, 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_pictures_channels_last(isa, channels, filters, height, width, kernel, stride, dtype):
    rng = np.random.default_rng(channels)
    x = rng.integers(-4, 5, (2, height, width, channels)).astype(dtype)
    w = rng.integers(-4, 5, (filters, channels, kernel, kernel)).astype(dtype)
    bias = rng.integers(-4, 5, filters).astype(dtype)
    options = {"stride": stride, "padding": kernel // 2, "layout": "NHWC"}
    wide = np.full((2, height, width + 3, channels + 5), np.nan, dtype)
    wide[:, :, 1:-2, 2:-3] = x
    for finish in ({}, {"bias": bias}, {"bias": bias, "activation": "relu6"}):
        expected = fc.conv2d(x, w, algorithm="reference", **finish, **options)
        for threads in (1, 2):
            with fc.num_threads(threads):
                y = fc.conv2d(x, w, algorithm="direct", **finish, **options)
                np.testing.assert_array_equal(y, expected)
                y = fc.conv2d(wide[:, :, 1:-2, 2:-3], w, **finish, **options)
                np.testing.assert_array_equal(y, expected)
        room = np.full((*expected.shape[:2], expected.shape[2] + 1, filters + 4), 7, dtype)
        fc.conv2d(x, w, out=room[:, :, :-1, 2:-2], **finish, **options)
        np.testing.assert_array_equal(room[:, :, :-1, 2:-2], expected)
        assert (room[..., :2] == 7).all()
        assert (room[..., -2:] == 7).all()
        assert (room[:, :, -1] == 7).all()
    y = fc.conv2d(x, w, bias, activation="sigmoid", **options)
    expected = fc.conv2d(x, w, bias, activation="sigmoid", algorithm="reference", **options)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
