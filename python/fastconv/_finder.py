"""What the options of a call decide, remembered for the next call."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

Found = TypeVar("Found")

# Equal values of these types have equal meaning, and `typed=True` keeps 1, 1.0 and True apart.
_SCALARS = frozenset(
    {int, str, bool, type(None), np.int64, np.int32, np.intp, np.bool_}
    | {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"]}
)
# Types that are options themselves. Others may have an attribute `dtype`, which may change.
_TYPES = frozenset({int, float, *(np.dtype(code).type for code in np.typecodes["All"])})


class _UnsafeKeyError(TypeError):
    """An option is not of a type that is safe in the key of a cache."""


def _as_key(option: object) -> object:
    """Return what stands for an option in a key: scalars, and tuples of ints or pairs of ints.

    Of ints alone, because (1,), (1.0,) and (True,) are equal. What can never change stands for
    itself.
    """
    if type(option) in _SCALARS:
        return option
    if type(option) is tuple or type(option) is list:
        for item in option:
            if type(item) is not int:
                pairs = tuple(map(_as_pair, option))
                is_frozen = type(option) is tuple and all(map(operator.is_, pairs, option))
                return option if is_frozen else pairs
        return tuple(option)  # which is the same object where it is one
    if type(option) is type and option in _TYPES:
        return option
    raise _UnsafeKeyError


def _as_pair(item: object) -> tuple[int, ...]:
    if type(item) is not tuple and type(item) is not list:
        raise _UnsafeKeyError
    for end in item:
        if type(end) is not int:
            raise _UnsafeKeyError
    return tuple(item)


class Finder(Generic[Found]):
    """The way from a call to what it decides, short for calls seen before.

    Parameters
    ----------
    decide : callable
        What checks a call, and raises where it is wrong.
    plain : int
        So many of its first arguments never change, and equal ones mean the same: types and shapes
        of arrays, names. The others are options, of any type.
    *call
        One that is right.

    Attributes
    ----------
    latest : tuple
        The latest call, and last what was found for it. A caller whose arguments are the same
        objects, which for numbers and names they are in a loop, needs nothing more. They are
        frozen, so that the same object means the same value.
    """

    def __init__(self, decide: Callable[..., Found], plain: int, *call: Any) -> None:
        self._decide = decide
        self._plain = plain
        self._remembered = lru_cache(maxsize=512, typed=plain < len(call))(decide)
        self.latest: tuple[Any, ...] = ()
        self.find(*call)

    def find(self, *call: Any) -> Found:
        """Return what ``decide(*call)`` does, or the same of an equal call before."""
        options = call[self._plain :]
        frozen = not options or _SCALARS.issuperset(map(type, options))
        try:
            if frozen:
                found = self._remembered(*call)
            else:
                keys = (*call[: self._plain], *map(_as_key, options))
                found = self._remembered(*keys)
                frozen = all(map(operator.is_, keys, call))
        except Exception:
            # Wrong, or of other types. Outside of the handler the error gets a clean traceback.
            found = None
        if found is None:
            return self._decide(*call)
        if frozen:
            self.latest = (*call, found)
        return found
