"""The pictures of sliding: what they show is what the library computes."""

import itertools

import numpy as np
import pytest

import fastconv as fc

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

from fastconv import _viz_draw  # noqa: E402


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def cells(figure, colour):
    """Centres of the cells of this colour, as (column, row from below)."""
    return [
        (patch.get_x() + 0.5, patch.get_y() + 0.5)
        for patch in figure.axes[0].patches
        if isinstance(patch, Rectangle) and patch.get_fill()
        and to_hex(patch.get_facecolor()) == colour
    ]  # fmt: skip


def labels(figure, colour):
    """Numbers in the cells of this colour, in reading order."""
    texts = {
        tuple(np.round(text.get_position(), 6)): text.get_text() for text in figure.axes[0].texts
    }
    return [texts[tuple(np.round(centre, 6))] for centre in cells(figure, colour)]


def test_frame_shows_the_covered_cells_and_the_sum():
    image = np.arange(16).reshape(4, 4)
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    figure = fc.viz.frame(image, kernel, step=3)
    assert labels(figure, _viz_draw._COVERED) == [str(value) for value in image[1:4, 1:4].ravel()]
    assert labels(figure, _viz_draw._KERNEL) == [str(value) for value in kernel.ravel()]
    expected = fc.conv2d(image[None], kernel[None, None])[0]
    assert labels(figure, _viz_draw._DONE) == [str(value) for value in expected.ravel()[:3]]
    assert labels(figure, _viz_draw._CURRENT) == [str(expected[1, 1])]
    assert figure.texts[1].get_text().endswith(f"= {expected[1, 1]}")


def test_frame_with_every_option():
    image = np.arange(30).reshape(5, 6)
    kernel = np.array([[1, 2], [3, 4]])
    options = {
        "stride": (2, 1),
        "dilation": (1, 2),
        "padding": ((1, 0), (2, 1)),
        "padding_mode": "wrap",
        "flip": True,
    }
    expected = fc.conv2d(image[None], kernel[None, None], **options)[0]
    for step in (0, expected.size - 1):
        figure = fc.viz.frame(image, kernel, step=step, **options)
        row, column = divmod(step, expected.shape[1])
        padded = np.pad(image, ((1, 0), (2, 1)), mode="wrap")
        covered = padded[2 * row : 2 * row + 2, column : column + 3 : 2]
        assert labels(figure, _viz_draw._COVERED) == [str(v) for v in covered.ravel()]
        assert labels(figure, _viz_draw._KERNEL) == ["4", "3", "2", "1"]
        assert labels(figure, _viz_draw._CURRENT) == [str(expected[row, column])]
    assert (covered * kernel[::-1, ::-1]).sum() == expected[row, column]
    assert "wrap" in figure.texts[0].get_text()
    assert "1+0 x 2+1" in figure.texts[0].get_text()


@pytest.mark.parametrize("padding", ["same", "same_lower", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_named_padding_is_the_engines(padding, stride):
    image, kernel = np.arange(35).reshape(5, 7) % 10, np.arange(8).reshape(2, 4) % 3
    expected = fc.conv2d(image[None], kernel[None, None], stride=stride, padding=padding)[0]
    last = expected.size - 1
    figure = fc.viz.frame(image, kernel, stride=stride, padding=padding, step=last)
    values = np.array(labels(figure, _viz_draw._COVERED), int)
    assert values @ kernel.ravel() == expected.ravel()[last]


def test_padding_is_drawn_apart_from_the_input():
    figure = fc.viz.frame((4, 4), (2, 2), padding=1, fill_value=9, step=0)
    assert len(cells(figure, _viz_draw._PADDING)) == 36 - 16 - 3
    assert set(labels(figure, _viz_draw._PADDING)) == {"9"}
    assert len(cells(figure, _viz_draw._INPUT)) == 15


@pytest.mark.parametrize("shape", [(3, 3), (8, 8), (14, 16)])
@pytest.mark.parametrize("scale", [1, 1234.5678, 1e-7])
def test_no_number_is_wider_than_its_cell(shape, scale):
    image = np.linspace(-9, 9, shape[0] * shape[1]).reshape(shape) * scale
    figure = fc.viz.frame(image, image[:3, :3], padding=1)
    figure.canvas.draw()
    axes = figure.axes[0]
    cell = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    numbers = [
        text for text in axes.texts
        if text.get_text() and text.get_ha() == "center" and text.get_va() == "center"
        and text.get_text() not in ("⋆", "=")
    ]  # fmt: skip
    assert len(numbers) > 9
    for text in numbers:
        assert text.get_window_extent().width < cell
    for text in figure.texts:
        assert text.get_window_extent().width < figure.bbox.width


def test_grids_and_titles_do_not_overlap():
    for kernel in ((1, 1), (3, 3), (1, 4)):
        figure = fc.viz.frame((4, 5), kernel, padding=1, flip=True)
        figure.canvas.draw()
        titles = [text for text in figure.axes[0].texts if " x " in text.get_text()]
        assert len(titles) == 3
        boxes = sorted((text.get_window_extent() for text in titles), key=lambda box: box.x0)
        for left, right in itertools.pairwise(boxes):
            assert left.x1 < right.x0
        for box in boxes:
            assert box.y1 <= figure.bbox.height


def test_animate_saves_a_gif(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    movie = fc.viz.animate((4, 4), (3, 3), stride=1, interval=200)
    movie.save(tmp_path / "slide.gif", writer="pillow", dpi=40)
    with image_module.open(tmp_path / "slide.gif") as picture:
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
    # Four steps; the last picture is held, and equal pictures may be merged.
    assert len(frames) in (4, 6)
    assert all(np.any(a != b) for a, b in itertools.pairwise(frames[:4]))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (((30, 30),), {}, ValueError, "image must have at most 400 cells"),
        ((np.zeros((19, 19)),), {"padding": 2}, ValueError, "at most 400 can be drawn"),
        ((np.zeros(3),), {}, ValueError, "image must be a 2-D array"),
        ((np.zeros((3, 0)),), {}, ValueError, "image must be a 2-D array"),
        ((np.zeros((3, 3), complex),), {}, TypeError, "image must be of integers or floats"),
        (((0, 3),), {}, ValueError, r"image\[0\] must be between 1"),
        (((5, 5), (6, 6)), {}, ValueError, "6"),
        (((5, 5), (3, 3)), {"stride": 0}, ValueError, "stride must be between 1"),
        (((5, 5), (3, 3)), {"padding": -1}, ValueError, "padding must be between 0"),
        (((5, 5), (3, 3)), {"padding_mode": "mirror"}, ValueError, "padding_mode must be"),
        (((5, 5), (3, 3)), {"flip": 1}, TypeError, "flip must be"),
    ],
)
def test_bad_arguments(arguments, options, error, match):
    for function in (fc.viz.animate, fc.viz.frame):
        with pytest.raises(error, match=match):
            function(*arguments, **options)


def test_bad_step_and_interval():
    with pytest.raises(ValueError, match="step must be less than 9"):
        fc.viz.frame((5, 5), (3, 3), step=9)
    with pytest.raises(ValueError, match="interval must be between 1"):
        fc.viz.animate(interval=0)


def test_huge_padding_is_refused_before_it_is_made():
    for padding in (20, 20_000, 2**40):
        with pytest.raises(ValueError, match="at most 400 can be drawn"):
            fc.viz.frame((5, 5), (3, 3), padding=padding)
