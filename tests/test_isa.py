"""Each instruction set can be forced, and the one that was asked for is the one that runs."""

from __future__ import annotations

import platform

import numpy as np
import pytest

import fastconv as fc
from conftest import available_isas

NAMES = ("scalar", "avx2", "avx512", "amx", "neon")
X86 = platform.machine().lower() in ("x86_64", "amd64")

REPORT = """
import numpy as np, fastconv as fc
x, w = np.ones((1, 8, 9, 9), np.float32), np.ones((8, 8, 3, 3), np.float32)
assert (fc.conv2d(x, w) == 72).all()
print(fc.get_isa(), fc.explain(x, w).isa, fc.Conv2d(w).explain(x.shape).isa)
"""


def fused(function):
    """Whether ``function(x, w)`` fuses its multiplications with its additions.

    (1 + 2**-12)**2 is 1 + 2**-11 + 2**-24, which float32 rounds to 1 + 2**-11.  Take that away
    first and then add the product: 2**-24 remains only where the product was not rounded.  The
    order of the sum is the engine's own business, so both orders are tried.
    """
    a, b = np.float32(1 + 2.0**-12), np.float32(-(1 + 2.0**-11))
    results = [
        function(np.array([[[b, a]]]), np.array([[[1, a]]], np.float32)),
        function(np.array([[[a, b]]]), np.array([[[a, 1]]], np.float32)),
    ]
    return any(y.item() == 2.0**-24 for y in results)


def test_the_best_is_the_default(run_python):
    out = run_python(REPORT).split()
    order = [name for name in NAMES if name in available_isas()]
    assert out == [order[-1]] * 3


@pytest.mark.parametrize("name", available_isas())
def test_forced_by_the_environment(run_python, name):
    assert run_python(REPORT, FASTCONV_ISA=name).split() == [name] * 3


def test_forced_by_a_call(isa):
    x, w = np.ones((1, 8, 9, 9), np.float32), np.ones((8, 8, 3, 3), np.float32)
    assert fc.get_isa() == isa
    assert fc.explain(x, w).isa == isa
    assert (fc.conv2d(x, w) == 72).all()


@pytest.mark.skipif(not X86, reason="elsewhere scalar code may fuse too")
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_the_arithmetic_itself_tells_which_one_ran(isa, algorithm):
    """Of x86's, only scalar code is compiled without fused multiply-add."""
    ran_fused = fused(lambda x, w: fc.conv1d(x, w, algorithm=algorithm))
    assert ran_fused == (isa != "scalar")


def test_a_plan_follows_the_instruction_set():
    """A plan made under one instruction set is right under every other."""
    rng = np.random.default_rng(0)
    x = rng.integers(-5, 6, (1, 19, 15, 33)).astype(np.float32)
    w = rng.integers(-5, 6, (23, 19, 3, 3)).astype(np.float32)
    expected = fc.conv2d(x, w, algorithm="reference")
    for made in available_isas():
        with fc.isa(made):
            layer = fc.Conv2d(w)
        for used in available_isas():
            with fc.isa(used):
                np.testing.assert_array_equal(layer(x), expected)


def test_none_goes_back_to_the_best():
    best = fc.get_isa()
    fc.set_isa("scalar")
    assert fc.get_isa() == "scalar"
    fc.set_isa(None)
    assert fc.get_isa() == best


def test_context_restores():
    best = fc.get_isa()
    with fc.isa("scalar"):
        assert fc.get_isa() == "scalar"
    assert fc.get_isa() == best


@pytest.mark.parametrize("name", ["sse2", "AVX2", "", "avx2 ", "tiles"])
def test_an_unknown_name_is_an_error(name):
    before = fc.get_isa()
    with pytest.raises(ValueError, match="scalar"):
        fc.set_isa(name)
    with pytest.raises(ValueError):
        fc._core.set_isa(name)
    assert fc.get_isa() == before


@pytest.mark.parametrize("name", [1, b"avx2", ["avx2"], True])
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError):
        fc.set_isa(name)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in available_isas()])
def test_what_the_machine_lacks_is_an_error_not_a_crash(name):
    before = fc.get_isa()
    with pytest.raises(ValueError, match="scalar"):
        fc.set_isa(name)
    with pytest.raises(ValueError):
        fc._core.set_isa(name)
    assert fc.get_isa() == before


@pytest.mark.skipif(not X86, reason="x86 has an order of instruction sets")
@pytest.mark.parametrize("cap", ["scalar", "avx2", "avx512", "amx"])
def test_the_environment_is_a_cap(run_python, cap):
    """Above it nothing runs; where the machine has less, the best it has."""
    order = ["scalar", "avx2", "avx512", "amx"]
    allowed = [n for n in order[: order.index(cap) + 1] if n in available_isas()]
    assert run_python(REPORT, FASTCONV_ISA=cap).split() == [allowed[-1]] * 3
    reset = "import fastconv as fc; fc.set_isa(None); print(fc.get_isa())"
    assert run_python(reset, FASTCONV_ISA=cap).strip() == allowed[-1]


@pytest.mark.parametrize("value", ["nonsense", "AVX2", "avx2,scalar", "x" * 10_000])
def test_nonsense_in_the_environment_is_named(run_python, value):
    """An error or a warning that names the variable, at the latest at first use; no crash."""
    child = run_python(REPORT, FASTCONV_ISA=value, check=False)
    assert child.returncode in (0, 1)
    assert "FASTCONV_ISA" in child.stderr
    assert len(child.stderr) < 5000


def test_an_empty_variable_is_none(run_python):
    assert run_python(REPORT, FASTCONV_ISA="").split() == [fc.get_isa()] * 3


def test_what_is_built_available_and_in_use_agree():
    built, available = fc._core.built_isas(), available_isas()
    assert "scalar" in available
    assert set(available) <= set(built) <= set(NAMES)
    assert fc.get_isa() in available
    features = fc.cpu_features()
    if "avx2" in available:
        assert features["avx2"]
        assert features["fma"]
    if "avx512" in available:
        assert features["avx512f"]
