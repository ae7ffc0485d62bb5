"""NumPy arrays between two pages that must not be touched, and a function that convolves them.

An arena is some pages of memory with an inaccessible page before and after.  An array that is
placed flush with either end makes a read or write of one byte too many end the process at once
with a segmentation fault.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
NO_ACCESS, READ_WRITE = 0, 3

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Arena:
    """Memory for one array at a time, guarded on both sides."""

    def __init__(self, size):
        self.size = -(-size // PAGE) * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.base = _libc.mmap(None, self.size + 2 * PAGE, READ_WRITE, flags, -1, 0)
        assert self.base not in (None, ctypes.c_void_p(-1).value), "mmap failed"
        for guard in (self.base, self.base + PAGE + self.size):
            assert _libc.mprotect(guard, PAGE, NO_ACCESS) == 0

    def place(self, values, at_end):
        """A C-contiguous copy of ``values``, flush with the end or with the start."""
        values = np.asarray(values)
        assert values.nbytes <= self.size
        first = self.base + PAGE + (self.size - values.nbytes if at_end else 0)
        memory = (ctypes.c_char * values.nbytes).from_address(first)
        array = np.frombuffer(memory, values.dtype).reshape(values.shape)
        array[...] = values
        return array


class Guarded:
    """Four arenas, for the buffers of a call: x, w, bias and out."""

    def __init__(self, size=2**22):
        self.arenas = {name: Arena(size) for name in ("x", "w", "bias", "out")}

    def call(self, function, x, w, bias, expected, at_end, **options):
        """Convolve guarded copies and compare with the expected result."""
        place = {name: arena.place for name, arena in self.arenas.items()}
        out = place["out"](np.full(expected.shape, 77, expected.dtype), at_end)
        function(
            place["x"](x, at_end),
            place["w"](w, at_end),
            place["bias"](bias, at_end),
            out=out,
            **options,
        )
        np.testing.assert_array_equal(out, expected)


# Of each rank: kernel, channels in and out, options.  The width runs from 1 to 65.
CALLS = (
    ((1,), 1, 1, {}),
    ((3,), 2, 5, {"padding": 1}),
    ((4,), 3, 9, {"stride": 2, "padding": "same"}),
    ((2,), 17, 1, {"stride": 3, "dilation": 2, "padding": 2, "padding_mode": "reflect"}),
    ((1, 1), 5, 17, {}),
    ((3, 3), 1, 1, {"padding": 1}),
    ((3, 3), 3, 8, {"padding": 1, "padding_mode": "edge"}),
    ((3, 3), 6, 6, {"padding": 1, "groups": 6}),
    ((2, 5), 4, 6, {"stride": 2, "padding": 2, "groups": 2, "flip": True}),
    ((3, 1), 2, 33, {"dilation": (1, 2), "padding": ((1, 1), (0, 0))}),
    ((2, 2, 2), 3, 4, {"padding": 1, "stride": (1, 1, 2)}),
    ((1, 1, 1), 6, 4, {"groups": 2}),
    ((1,), 12, 4, {"groups": 4}),
    ((3, 3), 12, 3, {"padding": 1, "groups": 3}),
    ((2, 2), 5, 15, {"groups": 5}),
    ((2, 2), 7, 3, {"stride": 3}),
    ((1, 1), 15, 5, {"groups": 5}),
    ((1, 1), 6, 21, {"groups": 3, "stride": 2, "padding": 1}),
    ((1,), 36, 4, {"groups": 2}),
    ((1,), 24, 2, {"groups": 2}),
    ((1,), 80, 8, {"groups": 2}),
    ((4, 5), 17, 17, {"padding": 2, "groups": 17}),
    ((4, 7), 13, 13, {"padding": 3, "groups": 13}),
    ((1,), 2, 3, {}),
    ((1, 1), 5, 2, {}),
)
DTYPES = ("float32", "float64", "int8", "uint16", "float16", "complex64", "int64")
# Products of tiles: narrow integers alone, at every width.
TILES = (
    ((1, 1), 70, 17, {}),
    ((3, 3), 67, 16, {"padding": 1}),
    ((3, 3), 3, 16, {"padding": 1}),
    ((2, 4), 1, 33, {"stride": 2}),
)
NARROW = ("int8", "uint8", "int16")
# Pictures of which all but the border is read in place, at two widths.
PICTURES = (
    ((3, 3), 3, 16, {"stride": 2, "padding": 1}),
    ((5, 4), 1, 32, {"stride": (1, 2), "padding": "same"}),
    ((3, 3), 36, 36, {"padding": 1, "groups": 36}),
    ((2, 3), 21, 21, {"padding": (0, 2), "groups": 21}),
    ((3, 2), 33, 33, {"padding": (2, 1), "dilation": 2, "groups": 33}),
)


ALGORITHMS = ("auto", "direct", "im2col", "reference")


def problems(layout, widths):
    """Every call at every width: its number, function, arrays, options and expected result."""
    import fastconv as fc
    from reference import conv
    from strategies import values

    for number, (kernel, c, k, options) in enumerate(CALLS + TILES + PICTURES):
        picture = number >= len(CALLS + TILES)
        for width in widths:
            dtype = DTYPES[(number + width) % 7] if width % 3 == 0 else "float32"
            if picture:
                if width not in (63, 65):
                    continue
            elif number >= len(CALLS):
                dtype = NARROW[(number + width) % 3]
            rng = np.random.default_rng(width)
            rows = (70,) if picture else (4, 3)[: len(kernel) - 1]
            x = values((2, c, *rows, width), dtype, rng, "exact")
            w = values((k, c // options.get("groups", 1), *kernel), dtype, rng, "exact")
            bias = values((k,), dtype, rng, "exact")
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if layout == "NHWC" else x
            how = {**options, "layout": layout}
            try:
                expected = conv(x, w, bias, **how)
            except ValueError:
                continue  # narrower than the kernel
            yield number, getattr(fc, f"conv{len(kernel)}d"), (x, w, bias, expected), how


def convolve_all(isa, layout, widths=range(1, 66)):
    """Run every call by every algorithm at both ends; print each first, and the counts last."""
    import fastconv as fc

    fc.set_isa(isa)
    # The plain loop is slow, and its loads are those of every instruction set.
    algorithms = [a for a in ALGORITHMS if a != "reference" or isa == "scalar"]
    guarded, done = Guarded(), dict.fromkeys(algorithms, 0)
    for number, function, arrays, how in problems(layout, widths):
        for algorithm in algorithms:
            for at_end in (False, True):
                # The last line that a dead process leaves is the call that killed it.
                print(number, arrays[0].shape, arrays[0].dtype, algorithm, at_end, flush=True)
                try:
                    guarded.call(function, *arrays, at_end, algorithm=algorithm, **how)
                except ValueError as error:
                    if algorithm == "auto" or algorithm not in str(error):
                        raise
                    continue
                done[algorithm] += 1
    print(*done.values())
