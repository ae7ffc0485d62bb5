"""Thousands of calls made of rubbish; none ends the process or surprises its caller."""

from __future__ import annotations

import pytest

ATTACK = """
import sys, faulthandler
faulthandler.enable()
from hostile import attack
counts, bad = attack(*map(int, sys.argv[1:]))
print(dict(counts))
assert not bad, bad[:5]
assert counts["result"] > 20 and counts["ValueError"] > 100 and counts["TypeError"] > 100
"""


def test_hostile_calls(run_python):
    run_python(ATTACK, 0, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_more_hostile_calls(run_python, seed):
    run_python(ATTACK, seed, 20_000, timeout=580)
