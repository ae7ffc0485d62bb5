"""Threads, instruction set and precision, all process-wide, and what this build is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import _core
from ._normalize import PRECISIONS, as_choice, as_int

__all__ = [
    "available_isas",
    "cpu_features",
    "get_isa",
    "get_num_threads",
    "get_precision",
    "isa",
    "num_threads",
    "precision",
    "register_threadpoolctl",
    "set_isa",
    "set_num_threads",
    "set_precision",
    "show_config",
]

default_precision = "highest"


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, the caller's own among them.

    Parameters
    ----------
    n : int
        At least 1. Results do not depend on it.

    Examples
    --------
    >>> import fastconv as fc
    >>> before = fc.get_num_threads()
    >>> fc.set_num_threads(1)
    >>> fc.get_num_threads()
    1
    >>> fc.set_num_threads(before)
    """
    _core.set_num_threads(as_int("n", n, 1))


def get_num_threads() -> int:
    """Return how many threads a call may use.

    Without `set_num_threads` it is ``FASTCONV_NUM_THREADS``, then ``OMP_NUM_THREADS``, then the
    number of CPUs that this process may run on.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use `n` threads inside a ``with`` block, in the whole process.

    Parameters
    ----------
    n : int
        At least 1.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.num_threads(1):
    ...     fc.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def register_threadpoolctl() -> None:
    """Make the number of threads visible to threadpoolctl and let it set it.

    Importing fastconv does this where threadpoolctl has been imported already. Further calls do
    nothing.

    Raises
    ------
    ImportError
        Without threadpoolctl 3.2 or newer.

    Examples
    --------
    >>> import fastconv as fc
    >>> from threadpoolctl import threadpool_limits
    >>> fc.register_threadpoolctl()
    >>> with threadpool_limits(limits=1, user_api="fastconv"):
    ...     fc.get_num_threads()
    1
    """
    try:
        from ._threadpoolctl import register
    except ImportError as error:
        raise ImportError(
            "register_threadpoolctl needs threadpoolctl 3.2 or newer: pip install threadpoolctl"
        ) from error
    register()


def set_isa(name: str | None) -> None:
    """Choose the instruction set of the kernels.

    Parameters
    ----------
    name : str or None
        One of `available_isas()`; None chooses the best of them.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.set_isa("scalar")
    >>> fc.get_isa()
    'scalar'
    >>> fc.set_isa(None)
    """
    _core.set_isa(None if name is None else as_choice("name", name, available_isas()))


def get_isa() -> str:
    """Return the instruction set in use.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_isa() in fc.available_isas()
    True
    """
    return _core.get_isa()


@contextmanager
def isa(name: str | None) -> Iterator[None]:
    """Use the instruction set `name` inside a ``with`` block, in the whole process.

    Parameters
    ----------
    name : str or None
        As for `set_isa`.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.isa("scalar"):
    ...     fc.get_isa()
    'scalar'
    """
    before = get_isa()
    set_isa(name)
    try:
        yield
    finally:
        set_isa(before)


def available_isas() -> tuple[str, ...]:
    """Return the instruction sets that this build has and this machine runs.

    Examples
    --------
    >>> import fastconv as fc
    >>> "scalar" in fc.available_isas()
    True
    """
    return tuple(_core.available_isas())


def set_precision(name: str) -> None:
    """Set the precision of calls that do not name one.

    Parameters
    ----------
    name : {"highest", "high", "medium"}
        The least precision that float32 products may have, with the meaning of torch's float32
        matmul precision. It is a permission, not a request. With ``S`` the convolution of absolute
        values:

        - ``"highest"``: the error of a float32 sum.
        - ``"high"``: below ``2**-15 * S``. Winograd's F(4, 3), or three products of two bfloat16
          parts on AMX.
        - ``"medium"``: below ``2**-7 * S``. One product of bfloat16, too.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.set_precision("high")
    >>> fc.get_precision()
    'high'
    >>> fc.set_precision("highest")
    """
    global default_precision
    default_precision = as_choice("name", name, PRECISIONS)


def get_precision() -> str:
    """Return the precision of calls that do not name one.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_precision()
    'highest'
    """
    return default_precision


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Use the precision `name` inside a ``with`` block, in the whole process.

    Parameters
    ----------
    name : {"highest", "high", "medium"}
        As for `set_precision`.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.precision("medium"):
    ...     fc.get_precision()
    'medium'
    """
    before = default_precision
    set_precision(name)
    try:
        yield
    finally:
        set_precision(before)


def cpu_features() -> dict[str, bool]:
    """Return what the processor and the operating system offer, by name.

    Examples
    --------
    >>> import fastconv as fc
    >>> all(isinstance(present, bool) for present in fc.cpu_features().values())
    True
    """
    return dict(_core.cpu_features())


def show_config() -> None:
    """Print the version, the compiler, the instruction sets, the one in use and the threads.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.show_config()  # doctest: +ELLIPSIS
    fastconv ...
    """
    build = _core.build_info()
    rows = [
        ("fastconv", build.get("version", "unknown")),
        *((key.replace("_", " "), text) for key, text in build.items() if key != "version"),
        ("python", sys.version.split()[0]),
        ("ISAs built", ", ".join(_core.built_isas())),
        ("ISAs available", ", ".join(_core.available_isas())),
        ("ISA in use", _core.get_isa()),
        ("threads", str(_core.get_num_threads())),
        ("precision", default_precision),
        ("cpu features", ", ".join(name for name, on in _core.cpu_features().items() if on)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")


# Importing threadpoolctl is left to those who use it.
if "threadpoolctl" in sys.modules:
    with suppress(ImportError):
        register_threadpoolctl()
