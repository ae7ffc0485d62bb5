"""The command line: ``python -m fastconv info | filter | bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import filters
from ._normalize import PADDING_MODES
from .config import show_config
from .image import filter2d

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FIXED = filters.names()
_SIZED = ("box", "gaussian", "gabor")


class CommandError(Exception):
    """Something that the user can put right; its text is the whole message."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Examples
    --------
    >>> main(["filter", "absent.png", "out.png", "--kernel", "sobel_x"])
    1
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except CommandError as error:
        print(f"fastconv: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastconv", description="Fast convolution of NumPy arrays on the CPU."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="print the version, the build and this machine")
    info.set_defaults(run=_info)

    command = commands.add_parser(
        "filter",
        help="filter a picture",
        description="Filter a picture file (needs Pillow). Transparency is kept as it is.",
        epilog=f"kernels: {', '.join((*_FIXED, 'edge1', 'edge2', 'edge3', *_SIZED))}",
    )
    command.add_argument("source", metavar="IN", type=Path, help="picture to read")
    command.add_argument("target", metavar="OUT", type=Path, help="picture to write")
    command.add_argument("--kernel", required=True, metavar="NAME", help="see below")
    command.add_argument(
        "--padding-mode", default="reflect", choices=sorted(PADDING_MODES), help="default: reflect"
    )
    command.add_argument("--size", type=int, help="side of box, gaussian or gabor; default: 5")
    command.add_argument("--sigma", type=float, help="width of gaussian or gabor, in pixels")
    command.add_argument("--theta", type=float, help="direction of gabor, in radians; default: 0")
    command.add_argument("--wavelength", type=float, help="of gabor, in pixels; default: 4")
    command.add_argument("--delta", type=float, default=0.0, help="added to every result")
    command.add_argument("--flip", action="store_true", help="true convolution")
    command.set_defaults(run=_filter)

    bench = commands.add_parser(
        "bench", help="compare with NumPy, SciPy, OpenCV and torch, whichever are installed"
    )
    bench.add_argument("--threads", type=int, default=1, help="for every library; default: 1")
    bench.add_argument("--repeats", type=int, default=7, help="rounds per row; default: 7")
    bench.set_defaults(run=_bench)
    return parser


def _info(options: argparse.Namespace) -> None:
    try:
        show_config()
    except (ValueError, RuntimeError) as error:
        # Such as an instruction set in the environment that this machine does not have.
        raise CommandError(_line(error)) from None


def _filter(options: argparse.Namespace) -> None:
    kernel = _kernel(options)
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise CommandError("'filter' needs Pillow: pip install 'fastconv[image]'") from None
    try:
        with Image.open(options.source) as picture:
            # Turned as its camera says, since the result carries no such note.
            pixels, alpha = _pixels(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        raise CommandError(f"{options.source} is not a picture that Pillow can read") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise CommandError(f"cannot read {options.source}: {_line(error)}") from None
    try:
        result = filter2d(
            pixels,
            kernel,
            padding_mode=options.padding_mode,
            delta=options.delta,
            flip=options.flip,
        )
    except (ValueError, TypeError, MemoryError) as error:
        raise CommandError(_line(error)) from None
    if alpha is not None:
        result = np.concatenate([result, alpha], axis=2)
    try:
        Image.fromarray(result).save(options.target)
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"cannot write {options.target}: {_line(error)}") from None


def _kernel(options: argparse.Namespace) -> NDArray[Any]:
    given = {
        name: getattr(options, name)
        for name in ("size", "sigma", "theta", "wavelength")
        if getattr(options, name) is not None
    }
    allowed = {
        "box": {"size"},
        "gaussian": {"size", "sigma"},
        "gabor": {"size", "sigma", "theta", "wavelength"},
    }.get(options.kernel, set())
    for name in given:
        if name not in allowed:
            raise CommandError(f"--{name} does not apply to kernel {options.kernel!r}")
    defaults = {"size": 5, "sigma": 1.5, "theta": 0.0, "wavelength": 4.0}
    if options.kernel == "gaussian":
        del defaults["sigma"]
    parameters = {name: value for name, value in defaults.items() if name in allowed} | given
    try:
        return filters.get(options.kernel, **parameters)
    except (ValueError, MemoryError) as error:
        raise CommandError(f"--kernel {options.kernel}: {_line(error)}") from None


def _pixels(picture: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the colours of a Pillow picture as an array, and its transparency apart."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16), None
    if picture.mode in ("I", "F"):
        # Pillow's 32-bit pictures: 16-bit files of some formats arrive as "I".
        values = np.asarray(picture)
        if picture.mode == "I" and values.min() >= 0 and values.max() < 2**16:
            return values.astype(np.uint16), None
        return values.astype(np.float32), None
    transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if transparent:
        pixels = np.asarray(picture.convert("RGBA"))
        return pixels[..., :3], pixels[..., 3:]
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB")), None


def _line(error: BaseException) -> str:
    """Return the message of an error as one short line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(reason).split())[:300] or type(error).__name__


def _bench(options: argparse.Namespace) -> None:
    from . import _bench

    if options.threads < 1 or options.repeats < 1:
        raise CommandError("--threads and --repeats must be at least 1")
    _bench.run(options.threads, options.repeats)


if __name__ == "__main__":
    sys.exit(main())
