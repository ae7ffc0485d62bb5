"""Random calls over the whole option space, from one generator for two uses.

:func:`make_case` describes the space once.  It asks a *chooser* for every decision, so the
same description serves hypothesis (:func:`cases`, which shrinks a failure to a small call) and
a plain random generator (:class:`RandomChooser`, fast enough for a hundred thousand calls).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from reference import PAD_NAMES, conv, result_dtype

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64", "float16")
COMPLEX = ("complex64", "complex128")
DTYPES = FLOATS + COMPLEX + INTEGERS
# Types of x and w that differ, and the dtype argument: promotion, widening, narrowing.
MIXED = (
    ("uint8", "int8", None),
    ("int8", "int32", None),
    ("uint32", "int32", None),
    ("int64", "uint8", None),
    ("int8", "int8", "int32"),
    ("uint8", "uint8", "int64"),
    ("uint8", "uint8", "int8"),
    ("int64", "int64", "int16"),
    ("uint64", "uint16", "uint32"),
    ("float32", "int8", None),
    ("uint8", "float32", None),
    ("int8", "int8", "float32"),
    ("uint8", "int8", "float64"),
    ("float16", "float32", None),
    ("float32", "float32", "float64"),
    ("float64", "float64", "float32"),
    ("float32", "float32", "float16"),
    ("complex64", "float32", None),
    ("float32", "complex64", None),
    ("float64", "complex64", None),
    ("int8", "int8", "complex64"),
    ("complex128", "complex64", "complex64"),
)
LAYOUTS = ("NCHW", "NHWC", "channels_first", "channels_last")
RANK_LAYOUTS = {1: ("NCW", "NWC"), 2: (), 3: ("NCDHW", "NDHWC")}
MEMORY = ("C", "F", "reversed", "spaced", "swapped", "unaligned", "readonly")


class RandomChooser:
    """Decisions from a seeded NumPy generator."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def integer(self, low, high):
        """Draw an integer from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def of(self, options):
        """Draw one of ``options``; the first is the one hypothesis shrinks to."""
        return options[int(self.rng.integers(len(options)))]


class HypothesisChooser:
    """The same decisions from hypothesis."""

    def __init__(self, draw):
        self.draw = draw

    def integer(self, low, high):
        """Draw an integer from ``low`` to ``high``, both included."""
        return self.draw(st.integers(low, high))

    def of(self, options):
        """Draw one of ``options``."""
        return self.draw(st.sampled_from(options))


@dataclass
class Case:
    """One call: ``conv{rank}d(x, w, **options)``; ``memory`` names how x, w, out are stored."""

    rank: int
    x: np.ndarray
    w: np.ndarray
    options: dict
    seed: int
    memory: dict = field(default_factory=dict)
    cached: np.ndarray | None = None

    @property
    def name(self):
        """The function of this rank."""
        return f"conv{self.rank}d"

    @property
    def terms(self):
        """How many products each output sums."""
        return int(np.prod(self.w.shape[1:]))

    def expected(self, **changes):
        """What the reference says."""
        if changes:
            return conv(self.x, self.w, **{**self.options, **changes})
        if self.cached is None:
            self.cached = conv(self.x, self.w, **self.options)
        return self.cached

    def __repr__(self):
        options = {k: v for k, v in self.options.items() if not isinstance(v, np.ndarray)}
        bias = self.options.get("bias")
        return (
            f"Case({self.name} x={self.x.dtype}{self.x.shape} w={self.w.dtype}{self.w.shape} "
            f"bias={None if bias is None else bias.dtype} {options} "
            f"memory={self.memory} seed={self.seed})"
        )


def values(shape, dtype, rng, kind):
    """``kind`` "exact": integers whose sums are exact in any float type; "normal": N(0, 1).

    Integer arrays of kind "exact" hold any value of their type, since their sums wrap exactly;
    of kind "small" only what a float result can take.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = (info.min, info.max) if kind == "exact" else (max(-7, info.min), 7)
        return rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    if kind == "normal":
        a = rng.standard_normal(shape)
        a = a + 1j * rng.standard_normal(shape) if dtype.kind == "c" else a
    else:
        a = rng.integers(-7, 8, shape).astype(np.float64)
        a = a + 1j * rng.integers(-7, 8, shape) if dtype.kind == "c" else a
    return a.astype(dtype)


def stored(a, memory):
    """An array equal to ``a`` whose memory is arranged as ``memory`` says."""
    a = np.asarray(a)
    if memory == "F":
        return np.asfortranarray(a)
    if memory == "reversed":
        backwards = (slice(None, None, -1),) * a.ndim
        return np.ascontiguousarray(a[backwards])[backwards]
    if memory == "spaced":
        roomy = np.zeros([2 * n + 1 for n in a.shape], a.dtype)
        view = roomy[tuple(slice(1, None, 2) for _ in a.shape)]
        view[...] = a
        return view
    if memory == "swapped" and a.dtype.kind in "fciu":
        return a.astype(a.dtype.newbyteorder())
    if memory == "unaligned":
        view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        view[...] = a
        return view
    copy = np.array(a, order="C")
    copy.flags.writeable = memory != "readonly"
    return copy


def _padding(choose, kernel, dilation, stride):
    """One of the forms of the ``padding`` argument, and the pairs it means (None for same)."""
    form = choose.of(("valid", "int", "axes", "pairs", "same", "same_lower"))
    rank, most = len(kernel), choose.of((1, 3, 9))
    if form in ("same", "same_lower"):
        return form, None
    if form == "valid":
        return form, ((0, 0),) * rank
    if form == "int":
        p = choose.integer(0, most)
        return p, ((p, p),) * rank
    if form == "axes":
        each = tuple(choose.integer(0, most) for _ in range(rank))
        return each, tuple((p, p) for p in each)
    pairs = tuple((choose.integer(0, most), choose.integer(0, most)) for _ in range(rank))
    return pairs, pairs


def _channels(choose, most):
    """``(groups, channels per group, filters per group)``, sometimes wider than a register."""
    if most:
        return 1, choose.integer(1, most), choose.integer(1, most)
    groups = choose.of((1, 1, 2, 3, 5))
    if choose.of((False, False, False, True)):  # depthwise
        return choose.integer(1, 40), 1, choose.of((1, 1, 2))
    widest = choose.of((3, 9, 35)) if groups == 1 else 6
    return groups, choose.integer(1, widest), choose.integer(1, widest)


def make_case(
    choose, *, ranks=(1, 2, 3), dtypes=DTYPES, kind="exact", activations=(None,), mixed=False
):
    """Draw one valid call; ``mixed`` also lets the types of x, w and the result differ."""
    rank = choose.of(ranks)
    longest = {1: 9, 2: 5, 3: 3}[rank]
    kernel = tuple(choose.integer(1, longest) for _ in range(rank))
    stride = tuple(choose.of((1, 1, 2, 3)) for _ in range(rank))
    dilation = tuple(choose.of((1, 1, 2, 3)) for _ in range(rank))
    padding, pairs = _padding(choose, kernel, dilation, stride)
    # Now and then larger than a tile: many pixels, or many channels, but not both.
    size = choose.of(("usual",) * 10 + ("large", "deep"))
    spare = {1: choose.of((3, 20, 70)), 2: choose.of((2, 9, 20)), 3: choose.of((2, 5))}[rank]
    spare = {1: 5000, 2: 90, 3: 20}[rank] if size == "large" else spare
    sizes = []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        least = 1 if pairs is None else max(1, reach - sum(pairs[axis]))
        sizes.append(least + choose.integer(0, spare))

    most = {1: 160, 2: 70, 3: 40}[rank] if size == "deep" else None
    groups, c, k = (1, 2, 3) if size == "large" else _channels(choose, most)
    batch = choose.of((1, 1, 2, 3, 0))
    layout = choose.of(LAYOUTS + RANK_LAYOUTS[rank])
    last = layout in ("NHWC", "channels_last", "NWC", "NDHWC")
    shape = (*sizes, groups * c) if last else (groups * c, *sizes)
    shape = (batch, *shape) if choose.of((True, True, False)) else shape

    x_dtype = w_dtype = choose.of(dtypes)
    dtype = None
    if mixed and choose.of((False, False, True)):
        x_dtype, w_dtype, dtype = choose.of(MIXED)
    result = result_dtype(np.dtype(x_dtype), np.dtype(w_dtype), dtype)
    seed = choose.integer(0, 2**32 - 1)
    rng = np.random.default_rng(seed)
    options = {
        "bias": values((groups * k,), result, rng, kind) if choose.of((False, True)) else None,
        "stride": _shorten(choose, stride),
        "padding": padding,
        "dilation": _shorten(choose, dilation),
        "groups": groups,
        "padding_mode": choose.of(tuple(PAD_NAMES)),
        "flip": choose.of((False, True)),
        "layout": layout,
        "activation": None if result.kind == "c" else choose.of(activations),
        "dtype": dtype,
    }
    if options["padding_mode"] in ("zeros", "constant"):
        options["fill_value"] = choose.of((0, 0, 1, 5))
    kind = "small" if kind == "exact" and result.kind not in "iu" else kind
    x = values(shape, x_dtype, rng, kind)
    w = values((groups * k, c, *kernel), w_dtype, rng, kind)
    memory = {name: choose.of(("C", *MEMORY)) for name in ("x", "w")}
    memory["out"] = choose.of((None, None, "C", "F", "reversed", "spaced", "swapped", "unaligned"))
    return Case(rank, x, w, options, seed, memory)


def _shorten(choose, each):
    """An int instead of a tuple, now and then, where the axes agree."""
    return each[0] if len(set(each)) == 1 and choose.of((True, False)) else each


@st.composite
def cases(draw, **space):
    """Hypothesis strategy for :func:`make_case`."""
    return make_case(HypothesisChooser(draw), **space)


def call(module, case, *, algorithm="auto", **changes):
    """Run a case on the engine, with its arrays stored as the case says.

    An ``out`` is filled with rubbish first and is also what must be returned.
    """
    function = getattr(module, case.name)
    x, w = stored(case.x, case.memory.get("x", "C")), stored(case.w, case.memory.get("w", "C"))
    options = {**case.options, **changes, "algorithm": algorithm}
    if case.memory.get("out") is None:
        return function(x, w, **options)
    expected = case.expected()
    out = stored(np.full(expected.shape, 77, expected.dtype), case.memory["out"])
    returned = function(x, w, out=out, **options)
    assert returned is out
    return returned.astype(expected.dtype)  # native byte order again
