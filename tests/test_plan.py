"""Conv1d, Conv2d, Conv3d: the functions with their weights packed once, and explain."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

import fastconv as fc
from strategies import cases, stored

PLANS = {1: fc.Conv1d, 2: fc.Conv2d, 3: fc.Conv3d}
FUNCTIONS = {1: fc.conv1d, 2: fc.conv2d, 3: fc.conv3d}
FIELDS = (
    "algorithm",
    "kernel",
    "candidates",
    "isa",
    "threads",
    "flops",
    "bytes",
    "scratch_bytes_per_thread",
    "packed_bytes",
    "output_shape",
    "compute_dtype",
)


def normal(*shape, dtype=np.float32):
    """Seeded N(0, 1) values."""
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


@settings(max_examples=200)
@given(cases(kind="normal", mixed=True))
def test_a_plan_equals_the_function_bit_for_bit(case):
    x, w = stored(case.x, case.memory["x"]), stored(case.w, case.memory["w"])
    layer = PLANS[case.rank](w, **case.options)
    expected = FUNCTIONS[case.rank](x, w, **case.options)
    y = layer(x)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert y.tobytes() == expected.tobytes()
    out = stored(np.full_like(expected, 77), case.memory["out"] or "C")
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "reference"])
def test_one_plan_for_inputs_of_many_shapes(isa, rank, algorithm):
    w, b = normal(18, 5, *(3,) * rank), normal(18)
    layer = PLANS[rank](w, b, padding=1, algorithm=algorithm, activation="tanh")
    for shape in (
        (1, 5, *(3,) * rank),
        (3, 5, *(17,) * rank),
        (5, *(8,) * rank),
        (0, 5, *(4,) * rank),
    ):
        x = normal(*shape)
        expected = FUNCTIONS[rank](x, w, b, padding=1, algorithm=algorithm, activation="tanh")
        assert layer(x).tobytes() == expected.tobytes()


def test_weights_and_bias_are_copied():
    x, w, b = normal(1, 3, 9, 9), normal(4, 3, 3, 3), normal(4)
    layer = fc.Conv2d(w, b)
    before = layer(x)
    kept = w.copy()
    w[...], b[...] = 0, 0
    assert layer(x).tobytes() == before.tobytes()
    np.testing.assert_array_equal(layer.weight, kept)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[...] = 0


@pytest.mark.parametrize("x_dtype", ["int8", "float16", "float32", "float64", "complex64"])
def test_the_input_may_have_another_dtype_than_the_weights(x_dtype):
    x, w = normal(2, 3, 9, 9).astype(np.int8).astype(x_dtype), normal(4, 3, 3, 3)
    y, expected = fc.Conv2d(w)(x), fc.conv2d(x, w)
    assert y.dtype == expected.dtype
    assert y.tobytes() == expected.tobytes()


def test_options_are_the_functions_own():
    for plan, function in zip(PLANS.values(), FUNCTIONS.values(), strict=True):
        of_plan = inspect.signature(plan).parameters
        of_function = inspect.signature(function).parameters
        assert [p for p in of_function if p not in ("x", "out")] == list(of_plan)
        for name, parameter in of_plan.items():
            assert parameter.default == of_function[name].default
            assert parameter.kind == of_function[name].kind


def test_repr_is_short_and_says_what_differs():
    layer = fc.Conv2d(np.ones((64, 32, 3, 3), np.float32), stride=2, padding=1)
    assert repr(layer).startswith("Conv2d(")
    assert "(64, 32, 3, 3)" in repr(layer)
    assert "float32" in repr(layer)
    assert "stride=(2, 2)" in repr(layer)
    assert "dilation" not in repr(layer)
    assert len(repr(layer)) < 150


def test_copy_and_pickle():
    x, w, b = normal(1, 4, 9, 9), normal(4, 2, 3, 3), normal(4)
    layer = fc.Conv2d(w, b, 2, ((0, 1), (2, 3)), groups=2, padding_mode="wrap", activation="relu")
    expected = layer(x).tobytes()
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other(x).tobytes() == expected
        assert repr(other) == repr(layer)


def test_the_wrong_number_of_dimensions():
    with pytest.raises(ValueError, match="w"):
        fc.Conv2d(normal(4, 3, 3))
    layer = fc.Conv2d(normal(4, 3, 3, 3))
    with pytest.raises(ValueError, match="x"):
        layer(normal(3, 9))
    with pytest.raises(ValueError, match=r"channels|w"):
        layer(normal(1, 4, 9, 9))
    np.testing.assert_array_equal(layer(np.ones((3, 4, 4), np.float32)).shape, (4, 2, 2))


def test_explain_of_a_call():
    x, w = normal(2, 16, 40, 40), normal(32, 16, 3, 3)
    told = fc.explain(x, w, padding=1, stride=2)
    assert told._fields == FIELDS
    assert told.output_shape == (2, 32, 20, 20)
    assert told.flops == 2 * 2 * 32 * 20 * 20 * 16 * 9
    assert told.bytes >= x.nbytes + w.nbytes + 2 * 32 * 20 * 20 * 4
    assert told.isa == fc.get_isa()
    assert told.compute_dtype == "float32"
    assert 1 <= told.threads <= fc.get_num_threads()
    assert told.packed_bytes >= 0
    assert told.scratch_bytes_per_thread >= 0
    names = [candidate.name for candidate in told.candidates]
    assert len(set(names)) == len(names)
    assert {name.split()[0] for name in names} == {
        *("amx_split", "winograd", "direct", "im2col", "fft", "separable", "reference")
    }
    chosen = [c for c in told.candidates if c.accepted]
    assert len(chosen) == 1
    assert chosen[0].name.split()[0] == told.algorithm
    assert all(c.reason for c in told.candidates), "every candidate says why"
    text = str(told)
    for word in (told.algorithm, told.isa, told.kernel, *names):
        assert word in text


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "amx_split", "fft", "reference"])
def test_explain_obeys_a_named_algorithm(algorithm):
    x, w = normal(1, 16, 40, 40), normal(32, 16, 3, 3)
    assert fc.explain(x, w, algorithm=algorithm).algorithm == algorithm
    layer = fc.Conv2d(w, algorithm=algorithm)
    assert layer.explain(x.shape).algorithm == algorithm


def test_explain_of_a_plan_is_that_of_the_call():
    x, w, b = normal(2, 3, 40, 40), normal(32, 3, 3, 3), normal(32)
    of_call = fc.explain(x, w, b, 2, 1, activation="relu")
    of_plan = fc.Conv2d(w, b, 2, 1, activation="relu").explain(x.shape)
    assert of_plan == of_call
    assert fc.Conv2d(w).explain((3, 9, 9), np.float64).compute_dtype == "float64"


def test_a_plan_may_choose_what_only_pays_once_weights_are_packed(no_tiles):
    w = normal(256, 256, 3, 3)
    layer = fc.Conv2d(w)
    chosen = set()
    for size in range(6, 11):  # from where on depends on the instruction set
        x = normal(1, 256, size, size)
        chosen.add((fc.explain(x, w).algorithm, layer.explain(x.shape).algorithm))
        np.testing.assert_allclose(layer(x), fc.conv2d(x, w), atol=1e-3)
    assert ("direct", "winograd") in chosen


def test_explain_refuses_what_the_call_refuses():
    w = normal(32, 16, 3, 3)
    with pytest.raises(ValueError, match="stride"):
        fc.explain(normal(1, 16, 9, 9), w, stride=0)
    with pytest.raises(ValueError):
        fc.explain(normal(1, 15, 9, 9), w)
    with pytest.raises(ValueError):
        fc.Conv2d(w).explain((1, 16, 2, 2))
    with pytest.raises(ValueError):
        fc.Conv2d(w).explain((1, 2**62, 2**62, 2))


def test_explain_computes_nothing():
    """It answers at once for a call that would take hours and terabytes."""
    x = np.broadcast_to(np.float32(0), (1000, 512, 1000, 1000))
    told = fc.explain(x, np.broadcast_to(np.float32(0), (512, 512, 3, 3)), padding=1)
    assert told.output_shape == (1000, 512, 1000, 1000)
    assert told.flops == 2 * 1000 * 512 * 10**6 * 512 * 9


def test_a_plan_keeps_its_own_fill_value_and_type():
    class Type:
        dtype = np.dtype(np.float32)

    fill, kind = np.array(3.0), Type()
    layer = fc.Conv1d(np.ones((1, 1, 2), np.float32), padding=1, fill_value=fill, dtype=kind)
    fill[...] = 100
    kind.dtype = np.dtype(np.float64)
    for n in (1, 2, 3):
        for plan in (layer, pickle.loads(pickle.dumps(layer)), copy.copy(layer)):
            y = plan(np.zeros((1, n), np.float32))
            assert y.dtype == np.float32
            assert y[0, 0] == y[0, -1] == 3


def test_a_plan_refuses_a_wrong_type_at_once():
    for dtype in ("no such type", np.bool_, object):
        with pytest.raises(TypeError, match="dtype"):
            fc.Conv1d(np.ones((1, 1, 2)), dtype=dtype)


def test_explain_sees_what_the_call_sees():
    x, w = normal(1, 40, 7, 7), normal(40, 40, 3, 3)
    border = {"padding": 1, "algorithm": "direct"}
    assert fc.explain(x, w, **border).kernel == "tap_product"
    assert fc.explain(x, w, fill_value=1, **border).kernel != "tap_product"
    with pytest.raises(TypeError, match="fill_value"):
        fc.explain(x, w, fill_value="a")
    with pytest.raises(ValueError, match="bias"):
        fc.explain(x, w, np.ones(39))
    with pytest.raises(TypeError, match="bias"):
        fc.explain(x, w, np.ones(40) * 1j)


PREFERRED = """
import numpy as np, fastconv as fc
from fastconv import _core
_core.prefer_kernel({kernel!r})
rng = np.random.default_rng(0)
x, w = rng.integers(-3, 4, (2, 4, 9, 40)), rng.integers(-3, 4, (6, 2, 3, 3))
x, w = x.astype(np.float32), w.astype(np.float32)
told = fc.explain(x, w, padding=1, groups=2)
print(told.kernel, float((fc.conv2d(x, w, padding=1, groups=2) ** 2).sum()))
"""


def test_a_preferred_kernel_runs_wherever_it_can():
    """For benchmarks/choices.py; the results are the same integers."""

    def run(kernel):
        code = PREFERRED.format(kernel=kernel)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    chosen, total = run("")
    others = {"outer_product", "pixel_lanes", "im2col_gemm", "plain loop"} - {chosen}
    for kernel in others:
        *name, same = run(kernel)
        assert (" ".join(name), same) == (kernel, total)
    assert run("pixel_dots") == [chosen, total]  # which needs channels last, and one group
    with pytest.raises(ValueError, match="no kernel is called 'no such'"):
        fc._core.prefer_kernel("no such")
