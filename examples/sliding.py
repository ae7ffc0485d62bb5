"""The picture of sliding: what stride, padding and dilation do to a 3 x 3 kernel.

Run it as ``python sliding.py [DIR]``; it writes DIR/sliding.gif, a kernel that moves with stride 2
over a padded input, and DIR/sliding.png, one moment of four cases.
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

import fastconv as fc

CASES = {
    "plain": {},
    "stride 2": {"stride": 2},
    "padding 1": {"padding": 1},
    "dilation 2": {"dilation": 2},
}


def moment(**options: int) -> Image.Image:
    """Return one step of the animation as a picture."""
    buffer = BytesIO()
    fc.viz.frame((6, 6), (3, 3), step=3, **options).savefig(buffer, dpi=70)
    return Image.open(buffer).convert("RGB")


def beside(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Return the pictures side by side, `columns` in a row, each in the middle of its cell."""
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        left = column * width + (width - picture.width) // 2
        sheet.paste(picture, (left, row * height + (height - picture.height) // 2))
    return sheet


def main(directory: str | Path = ".") -> None:
    """Write the animation and the sheet of four cases."""
    directory = Path(directory)
    movie = fc.viz.animate((5, 5), (3, 3), stride=2, padding=1, interval=600)
    movie.save(directory / "sliding.gif", writer="pillow", dpi=80)
    print(f"wrote {directory / 'sliding.gif'}: 5 x 5 input, 3 x 3 kernel, stride 2, padding 1")

    beside([moment(**options) for options in CASES.values()], 2).save(directory / "sliding.png")
    print(f"wrote {directory / 'sliding.png'}: {', '.join(CASES)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
