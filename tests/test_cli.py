"""The command line, run as a user runs it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import __main__ as cli
from fastconv import _bench, filters


@pytest.fixture
def image_module():
    return pytest.importorskip("PIL.Image")


def photo(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastconv", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        check=False,
    )


def failure(capsys, *arguments):
    """Run a command that must fail, and return its one line of error."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("fastconv: error: ")
    assert output.err.count("\n") == 1
    return output.err


def test_info():
    done = run("info")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"fastconv        {fc.__version__}" in done.stdout
    assert "ISA in use" in done.stdout


def test_info_shows_the_cap_that_took_effect():
    done = run("info", FASTCONV_ISA="scalar", FASTCONV_NUM_THREADS="3")
    assert re.search(r"^ISA in use +scalar$", done.stdout, re.MULTILINE)
    assert re.search(r"^threads +3$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [(), ("magic",), ("filter",), ("filter", "a", "b")])
def test_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m fastconv" in done.stderr


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kernel", ["sobel_x", "gaussian_blur", "edge3"])
def test_filter(tmp_path, image_module, mode, kernel):
    pixels = photo((20, 30) if mode == "L" else (20, 30, 3))
    image_module.fromarray(pixels).save(tmp_path / "in.png")
    done = run("filter", tmp_path / "in.png", tmp_path / "out.png", "--kernel", kernel)
    assert done.returncode == 0, done.stderr
    result = np.asarray(image_module.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result, fc.image.filter2d(pixels, filters.get(kernel)))


def test_filter_options(tmp_path, image_module):
    pixels = photo((20, 30))
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    image_module.fromarray(pixels).save(source)

    def filtered(*options):
        assert cli.main(["filter", str(source), str(target), "--kernel", *options]) == 0
        return np.asarray(image_module.open(target))

    np.testing.assert_array_equal(
        filtered("sobel_y", "--padding-mode", "wrap", "--delta", "128", "--flip"),
        fc.image.filter2d(pixels, filters.sobel_y(), padding_mode="wrap", delta=128, flip=True),
    )
    for options, kernel in (
        (("box", "--size", "4"), filters.box(4)),
        (("box",), filters.box(5)),
        (("gaussian", "--size", "7", "--sigma", "2"), filters.gaussian(7, 2)),
        (("gaussian", "--size", "7"), filters.gaussian(7)),
        (("gabor", "--theta", "1"), filters.gabor(5, 1.5, 1, 4)),
    ):
        np.testing.assert_array_equal(filtered(*options), fc.image.filter2d(pixels, kernel))


def test_filter_keeps_transparency(tmp_path, image_module):
    pixels = photo((20, 30, 4))
    image_module.fromarray(pixels).save(tmp_path / "in.png")
    assert cli.main(
        ["filter", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--kernel", "box_blur"]
    ) == 0  # fmt: skip
    result = np.asarray(image_module.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(
        result[..., :3], fc.image.filter2d(pixels[..., :3], filters.box_blur())
    )


def test_filter_keeps_sixteen_bits(tmp_path, image_module):
    pixels = photo((20, 30), np.uint16)
    image_module.fromarray(pixels).save(tmp_path / "in.png")
    assert cli.main(
        ["filter", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--kernel", "sharpen"]
    ) == 0  # fmt: skip
    result = np.asarray(image_module.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result, fc.image.filter2d(pixels, filters.sharpen()))


def test_filter_turns_a_photo_as_its_camera_says(tmp_path, image_module):
    pixels = photo((20, 30))
    picture = image_module.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "in.png", exif=exif)
    assert cli.main(
        ["filter", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--kernel", "identity"]
    ) == 0  # fmt: skip
    result = np.asarray(image_module.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result, np.rot90(pixels, -1))


def test_filter_errors(tmp_path, image_module, capsys):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    image_module.fromarray(photo((4, 4))).save(source)
    (tmp_path / "text.png").write_text("no picture")

    absent = tmp_path / "absent.png"
    error = failure(capsys, "filter", absent, target, "--kernel", "box")
    assert f"cannot read {absent}: No such file" in error
    assert "cannot read" in failure(capsys, "filter", tmp_path, target, "--kernel", "box")
    error = failure(capsys, "filter", tmp_path / "text.png", target, "--kernel", "box")
    assert "not a picture" in error
    error = failure(capsys, "filter", source, tmp_path / "no" / "out.png", "--kernel", "box")
    assert "cannot write" in error
    error = failure(capsys, "filter", source, tmp_path / "out.xyz", "--kernel", "box")
    assert "cannot write" in error
    error = failure(capsys, "filter", source, target, "--kernel", "sobel")
    assert "got 'sobel'" in error
    assert "'sobel_x'" in error
    error = failure(capsys, "filter", source, target, "--kernel", "sobel_x", "--size", "3")
    assert "--size does not apply to kernel 'sobel_x'" in error
    error = failure(capsys, "filter", source, target, "--kernel", "box", "--size", "0")
    assert "size must be between 1" in error
    error = failure(capsys, "filter", source, target, "--kernel", "gaussian", "--sigma", "-1")
    assert "sigma must be positive" in error
    assert not target.exists()


def test_filter_without_pillow(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    error = failure(capsys, "filter", tmp_path / "a", tmp_path / "b", "--kernel", "box")
    assert "needs Pillow: pip install" in error


@pytest.fixture
def small_cases(monkeypatch):
    def cases(peers):
        yield _bench.Case("small", {"fastconv": lambda: None, "NumPy": lambda: None})
        yield _bench.Case("alone", {"fastconv": lambda: None})

    monkeypatch.setattr(_bench, "_cases", cases)
    monkeypatch.setattr(_bench, "_LEAST_SECONDS", 1e-5)


def test_bench_prints_a_table(small_cases, capsys):
    threads = fc.get_num_threads()
    assert cli.main(["bench", "--repeats", "2", "--threads", "2"]) == 0
    assert fc.get_num_threads() == threads
    head, *rows = capsys.readouterr().out.splitlines()
    assert fc.get_isa() in head
    assert rows[0].split()[:2] == ["fastconv", "NumPy"]
    assert rows[1].startswith("small ")
    assert rows[2].split()[0] == "alone"
    assert rows[2].split()[-2:] == ["-", "-"]


def test_bench_errors(capsys):
    assert "at least 1" in failure(capsys, "bench", "--threads", "0")
    assert "at least 1" in failure(capsys, "bench", "--repeats", "0")


def test_bench_ratio_is_above_one_where_we_are_faster():
    lines = _bench._table({("c", "fastconv"): 1e-3, ("c", "A"): 3e-3, ("c", "B"): 2.0})
    assert lines[1].split() == ["c", "1.00", "ms", "3.00", "ms", "2.00", "s", "3.00"]


def test_bench_libraries_agree():
    pytest.importorskip("scipy")
    peers = {name: _bench._load(name) for name in ("scipy.signal", "scipy.ndimage", "cv2", "torch")}
    for case in _bench._cases(peers):
        if "64 to 64" in case.name:
            continue
        ours = np.asarray(case.runs["fastconv"](), float)
        for library, function in case.runs.items():
            theirs = np.asarray(function(), float)
            difference = np.abs(theirs - ours).max()
            limit = 1 if "uint8" in case.name else 1e-4 * np.abs(ours).max()
            assert difference <= limit, (case.name, library)


def test_progress_bar_without_tqdm(monkeypatch, capsys):
    assert list(_bench._plain_bar([3, 4])) == [3, 4]
    text = capsys.readouterr().err
    assert "0/2" in text
    assert "1/2" in text
    # Nothing is drawn into a file.
    assert list(_bench._progress([3, 4])) == [3, 4]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(_bench, "_load", lambda name: None)
    assert list(_bench._progress([3, 4])) == [3, 4]
    assert "1/2" in capsys.readouterr().err
