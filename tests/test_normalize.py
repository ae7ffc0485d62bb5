"""Options: what is accepted, what is refused, and what the message says."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import _normalize

RANKS = (1, 2, 3)
CALLS = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}


def arrays(rank):
    x = np.arange(2 * 7**rank, dtype=np.int64).reshape(1, 2, *[7] * rank) % 11
    w = np.arange(4 * 3**rank, dtype=np.int64).reshape(2, 2, *[3] * rank) % 5 - 2
    return x, w


def call(rank, **options):
    return CALLS[rank](*arrays(rank), **options)


class Hostile:
    """An object whose every conversion fails."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __hash__(self):
        raise RuntimeError("no hash")


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", ["stride", "dilation"])
def test_one_number_means_every_axis(rank, name):
    expected = call(rank, **{name: (2,) * rank})
    for same in (2, np.int8(2), np.uint64(2), np.array(2), Index(2), [2] * rank):
        np.testing.assert_array_equal(call(rank, **{name: same}), expected)
    np.testing.assert_array_equal(call(rank, **{name: np.full(rank, 2)}), expected)
    assert expected.shape != call(rank).shape


@pytest.mark.parametrize("rank", RANKS)
def test_forms_of_padding(rank):
    x, w = arrays(rank)
    padded = np.pad(x, [(0, 0), (0, 0)] + [(1, 1)] * rank)
    expected = CALLS[rank](padded, w)
    for padding in (1, [1] * rank, [(1, 1)] * rank, tuple([1, 1] for _ in range(rank)), "same"):
        np.testing.assert_array_equal(call(rank, padding=padding), expected)
    np.testing.assert_array_equal(call(rank, padding=np.ones((rank, 2), int)), expected)
    np.testing.assert_array_equal(call(rank, padding="valid"), call(rank, padding=0))


def test_padding_order_is_axes_then_ends():
    x, w = arrays(2)
    expected = fc.conv2d(np.pad(x, [(0, 0), (0, 0), (1, 2), (3, 0)]), w)
    np.testing.assert_array_equal(fc.conv2d(x, w, padding=((1, 2), (3, 0))), expected)
    np.testing.assert_array_equal(
        fc.conv2d(x, w, padding=(1, 2)), fc.conv2d(x, w, padding=((1, 1), (2, 2)))
    )


@pytest.mark.parametrize(
    ("alias", "name"), [("zeros", "constant"), ("replicate", "edge"), ("circular", "wrap")]
)
@pytest.mark.parametrize("rank", RANKS)
def test_padding_mode_aliases(rank, alias, name):
    np.testing.assert_array_equal(
        call(rank, padding=2, padding_mode=alias), call(rank, padding=2, padding_mode=name)
    )


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("rank", RANKS)
def test_padding_modes_are_those_of_numpy(rank, mode):
    x, w = arrays(rank)
    padded = np.pad(x, [(0, 0), (0, 0)] + [(2, 1)] * rank, mode=mode)
    np.testing.assert_array_equal(
        CALLS[rank](x, w, padding=[(2, 1)] * rank, padding_mode=mode), CALLS[rank](padded, w)
    )


@pytest.mark.parametrize("rank", RANKS)
def test_layout_names(rank):
    x, w = arrays(rank)
    letters = {1: "W", 2: "HW", 3: "DHW"}[rank]
    first = CALLS[rank](x, w)
    for layout in ("NCHW", "channels_first", f"NC{letters}"):
        np.testing.assert_array_equal(CALLS[rank](x, w, layout=layout), first)
    last = np.moveaxis(x, 1, -1)
    for layout in ("NHWC", "channels_last", f"N{letters}C"):
        np.testing.assert_array_equal(
            np.moveaxis(CALLS[rank](last, w, layout=layout), -1, 1), first
        )
    other = {1: "NCDHW", 2: "NCW", 3: "NWC"}[rank]
    with pytest.raises(ValueError, match=rf"layout must be .*'N{letters}C'.* got '{other}'"):
        call(rank, layout=other)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", ["stride", "dilation", "padding", "groups"])
@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float32(1), None, "1", 1j, Hostile()])
def test_not_an_integer(rank, name, value):
    if name == "padding" and value == "1":
        with pytest.raises(ValueError, match="padding must be 'valid', 'same' or 'same_lower'"):
            call(rank, padding=value)
        return
    with pytest.raises(TypeError, match=f"^{name} must be an integer") as raised:
        call(rank, **{name: value})
    assert type(value).__name__ in str(raised.value)


@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
@pytest.mark.parametrize("value", [True, 1.0, None, "1", np.float64(1), Hostile()])
def test_not_an_integer_within_a_sequence(name, value):
    # The good tuple first: equal keys must not let the bad one through.
    call(2, **{name: (1, 1)})
    call(2, **{name: 1})
    for items in ((1, value), [1, value]):
        with pytest.raises(TypeError, match=rf"^{name}\[1\] must be an integer"):
            call(2, **{name: items})
    with pytest.raises(TypeError, match=rf"^{name} must be an integer"):
        call(2, **{name: 1.0})


def test_padding_pairs_are_checked():
    call(2, padding=((0, 1), (1, 0)))
    with pytest.raises(TypeError, match=r"^padding\[0\]\[1\] must be an integer"):
        call(2, padding=((0, True), (1, 0)))
    with pytest.raises(ValueError, match=r"^padding\[1\]\[0\] must be between 0"):
        call(2, padding=((0, 1), (-1, 0)))
    with pytest.raises(ValueError, match=r"^padding\[0\] must be an integer or a \(lo, hi\) pair"):
        call(2, padding=((0, 1, 2), (1, 0)))
    with pytest.raises(ValueError, match=r"one pair is written \(\(1, 2\),\)"):
        call(1, padding=(1, 2))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
def test_wrong_number_of_items(rank, name):
    for count in (0, rank + 1, 1000):
        with pytest.raises(ValueError, match=f"^{name} must .* got {count}") as raised:
            call(rank, **{name: (1,) * count})
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride", 0),
        ("stride", -1),
        ("dilation", 0),
        ("dilation", -(2**63)),
        ("groups", 0),
        ("groups", -(2**63)),
        ("padding", -1),
        ("stride", 2**63),
        ("dilation", 2**64),
        ("padding", 10**400),
        pytest.param("groups", 1 << 100_000, id="groups-1<<100000"),
    ],
)
def test_out_of_range(rank, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be between [01] and") as raised:
        call(rank, **{name: value})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("padding_mode", "mirror", "'reflect'"),
        ("padding", "full", "'same_lower'"),
        ("layout", "NCWH", "'NCHW'"),
        ("activation", "gelu", "'relu6'"),
        ("precision", "low", "'medium'"),
        ("algorithm", "magic", "'im2col'"),
    ],
)
def test_unknown_names(name, value, hint):
    with pytest.raises(ValueError, match=f"{name} .*{hint}") as raised:
        call(2, **{name: value})
    assert repr(value) in str(raised.value)
    with pytest.raises(ValueError, match=name) as raised:
        call(2, **{name: "a" * 10**6})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["padding_mode", "layout", "activation", "algorithm", "precision"])
@pytest.mark.parametrize("value", [1, b"relu", ["relu"], {}, Hostile()])
def test_names_must_be_strings(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a string"):
        call(2, **{name: value})


@pytest.mark.parametrize("value", [0, 1, None, "False", 1.0, Hostile()])
def test_flip_must_be_a_bool(value):
    call(2, flip=False)
    call(2, flip=True)
    with pytest.raises(TypeError, match=r"^flip must be True or False"):
        call(2, flip=value)
    np.testing.assert_array_equal(call(2, flip=np.True_), call(2, flip=True))


def test_one_spec_per_set_of_options():
    finder = _normalize.spec_finder(2)
    rest = (0, 1, 1, "zeros", False, "NCHW", None, "highest", "auto")
    spec = finder.find(1, *rest)
    for same in ((1, 1), [1, np.int8(1)], np.int64(1), Index(1)):
        assert finder.find(same, *rest) is spec
    assert finder.find(2, *rest) is not spec
    for wrong in (1.0, True, (1.0, 1.0), (True, True)):
        with pytest.raises(TypeError, match=r"^stride"):
            finder.find(wrong, *rest)


def test_sequences_are_told_apart():
    # Equal ones may be right or wrong: (1, 1) == (1.0, True).
    finder = _normalize.spec_finder(2)
    rest = (1, 1, "zeros", False, "NCHW", None, "highest", "auto")
    pairs = [(0, 1), (2, 3)]
    for _ in range(2):
        spec = finder.find((1, 1), pairs, *rest)
        assert finder.find([1, 1], [[0, 1], [2, 3]], *rest) is spec
        assert finder.find([1, 1], ((0, 1), (2, 4)), *rest) is not spec
        assert finder.find([1, 1], [0, 1], *rest) is finder.find((1, 1), ((0, 0), (1, 1)), *rest)
        for wrong in ([1.0, 1], [True, 1], (1, True), [1], [[1], [1]], [(1, 1)]):
            with pytest.raises((TypeError, ValueError), match=r"^stride"):
                finder.find(wrong, pairs, *rest)
        for wrong in ([(0.0, 1), (2, 3)], [(False, 1), (2, 3)], [(0, 1)], [(0, 1, 2), (2, 3)]):
            with pytest.raises((TypeError, ValueError), match=r"^padding"):
                finder.find((1, 1), wrong, *rest)
    assert finder.latest[1] != pairs


def test_only_what_cannot_change_is_remembered():
    finder = _normalize.spec_finder(2)
    rest = ("zeros", False, "NCHW", None, "highest", "auto")
    spec = finder.find((1, 1), ((0, 1), (2, 3)), 1, 1, *rest)
    assert finder.latest == ((1, 1), ((0, 1), (2, 3)), 1, 1, *rest, spec)
    for stride, padding in (([1, 1], 0), (1, ([0, 1], (2, 3))), (np.array(1), 0), (Index(1), 0)):
        finder.find(stride, padding, 1, 1, *rest)
        assert finder.latest[-1] is spec


def test_a_list_that_changes_between_calls():
    x, w = arrays(2)
    stride = [1, 1]
    assert fc.conv2d(x, w, stride=stride).shape == (1, 2, 5, 5)
    stride[:] = 2, 2
    assert fc.conv2d(x, w, stride=stride).shape == (1, 2, 3, 3)


def test_fill_value_is_not_part_of_the_spec():
    x, w = np.zeros((1, 1, 2, 2), np.float32), np.ones((1, 1, 1, 1), np.float32)
    for value in (3, 3.5, np.float64(-2), 4, 1):
        result = fc.conv2d(x, w, padding=1, fill_value=value)
        assert result[0, 0, 0, 0] == value
        assert result[0, 0, 1, 1] == 0


def test_fill_values_are_told_apart():
    x, w = np.zeros((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    values = (1, 1.0, 2**40, float(2**40), 0.0, -0.0, np.nan, 0, np.float32(0.5), [0.25], 1)
    for value in (*values, *values):
        corner = fc.conv2d(x, w, padding=1, fill_value=value)[0, 0, 0, 0]
        np.testing.assert_array_equal(corner, np.float32(np.ravel(value)[0]))
        product = fc.conv2d(x, w, padding=1, fill_value=value, algorithm="direct")[0, 0, 0, 0]
        np.testing.assert_array_equal(product, corner)
        with pytest.raises(TypeError, match="fill_value"):
            fc.conv2d(x, w, padding=1, fill_value=True)
    changing = np.array([3.0])
    for value in (3, 4):
        changing[0] = value
        assert fc.conv2d(x, w, padding=1, fill_value=changing)[0, 0, 0, 0] == value
    with pytest.raises(ValueError, match=r"fill_value must fit in int64 .* got nan"):
        fc.conv2d(x.astype(int), w.astype(int), padding=1, fill_value=np.nan)


def test_calls_of_several_shapes_and_types_take_turns():
    w = np.ones((1, 1, 2, 2), np.float32)
    for _ in range(3):
        for side in range(2, 9):
            for dtype in (np.float32, np.float64, np.int32):
                y = fc.conv2d(np.ones((1, 1, side, 9), dtype), w.astype(dtype), fill_value=7)
                assert y.shape == (1, 1, side - 1, 8)
                assert y.dtype == dtype
                assert np.all(y == 4)


def test_precision_is_a_process_wide_default():
    assert fc.get_precision() == "highest"
    with fc.precision("high"):
        assert fc.get_precision() == "high"
        with pytest.raises(ValueError, match="'medium'"):
            fc.set_precision("low")
        assert fc.get_precision() == "high"
        call(2)
    assert fc.get_precision() == "highest"
    x, w = (array.astype(np.float32) for array in arrays(2))
    np.testing.assert_array_equal(fc.conv2d(x, w), fc.conv2d(x, w, precision="medium"))


def test_threads_and_isa_are_restored():
    threads, isa = fc.get_num_threads(), fc.get_isa()
    with pytest.raises(ZeroDivisionError), fc.num_threads(3), fc.isa("scalar"):
        assert (fc.get_num_threads(), fc.get_isa()) == (3, "scalar")
        raise ZeroDivisionError
    assert (fc.get_num_threads(), fc.get_isa()) == (threads, isa)
    for bad in (0, -1, 2**70):
        with pytest.raises(ValueError, match=r"^n must be between 1"):
            fc.set_num_threads(bad)
    with pytest.raises(TypeError, match=r"^n must be an integer"):
        fc.set_num_threads(2.0)
    with pytest.raises(ValueError, match="'scalar'"):
        fc.set_isa("mmx")


def test_show_config_names_what_runs(capsys):
    fc.show_config()
    text = capsys.readouterr().out
    for wanted in (fc.__version__, fc.get_isa(), str(fc.get_num_threads()), "scalar"):
        assert wanted in text
    assert set(fc.cpu_features().values()) <= {True, False}
