"""What every test file shares: the slow marker, restored settings, ISAs, child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent

# Examples are the same in every run, so that a red run can be repeated; "random" explores.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("random", deadline=None, database=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("FASTCONV_HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser):
    """Slow tests run only when asked for."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config):
    """Make the marker known wherever pytest is started from."""
    config.addinivalue_line("markers", "slow: minutes or gigabytes; run with --slow")


def pytest_collection_modifyitems(config, items):
    """Skip slow tests unless ``--slow`` or an own ``-m`` expression chose them."""
    if config.getoption("--slow") or config.getoption("-m"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def available_isas():
    """The instruction sets this build has and this machine can run."""
    from fastconv import _core

    return list(_core.available_isas())


def pytest_generate_tests(metafunc):
    """A test that takes ``isa`` runs once on every available instruction set."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", available_isas(), indirect=True)


@pytest.fixture
def isa(request):
    """Force an instruction set for one test, and prove that it is the one in use."""
    from fastconv import _core

    _core.set_isa(request.param)
    assert _core.get_isa() == request.param
    return request.param


@pytest.fixture(autouse=True)
def _restored_settings():
    """Leave the instruction set and the thread count as they were found."""
    from fastconv import _core

    isa, threads = _core.get_isa(), _core.get_num_threads()
    yield
    _core.set_isa(isa)
    _core.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_numbers(request):
    """A module's generator begins anew in each test, whatever ran before in this process."""
    if isinstance(getattr(request.module, "RNG", None), np.random.Generator):
        request.module.RNG = np.random.default_rng(request.module.SEED)


@pytest.fixture
def no_tiles():
    """Vector units alone: with AMX, other algorithms win."""
    from fastconv import _core

    if _core.get_isa() == "amx":
        _core.set_isa("avx512")


@pytest.fixture(scope="session")
def isa_objects():
    """The objects of the kernels, in the folders of a build that FASTCONV_ISA_OBJECTS names."""
    folders = os.environ.get("FASTCONV_ISA_OBJECTS")
    if not folders:
        pytest.skip("FASTCONV_ISA_OBJECTS names no folder of isa_*.o")
    # The objects of the emulation (tests/cpp) are compiled without the flags of any set.
    found = sorted(
        path
        for folder in folders.split(os.pathsep)
        for path in Path(folder).rglob("isa_*")
        if path.suffix in (".o", ".obj")
        and {"kernels_avx512_emulated.dir", "tiles_emulated.dir"}.isdisjoint(path.parts)
    )
    assert found, f"no isa_*.o in {folders}"
    return found


def child_environment(**changes):
    """The environment for a child process; a change to None removes the variable."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FASTCONV_")}
    path = [str(TESTS), *(p for p in sys.path if p and p != str(TESTS))]
    env["PYTHONPATH"] = os.pathsep.join(path)
    for name, value in changes.items():
        env.pop(name, None)
        if value is not None:
            env[name] = str(value)
    return env


@pytest.fixture
def run_python():
    """Run Python code in a fresh process; its standard output, or a failure that shows all."""

    def run(code, *arguments, timeout=120, check=True, **env):
        child = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=child_environment(**env),
        )
        if not check:
            return child
        assert child.returncode == 0, (
            f"exit code {child.returncode}\n{child.stdout[-2000:]}\n{child.stderr[-4000:]}"
        )
        return child.stdout

    return run


def free_memory():
    """Bytes that a test may use: what the system has available, less some room to breathe."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    available = next(line for line in text.splitlines() if line.startswith("MemAvailable"))
    bytes_available = int(available.split()[1]) * 1024
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if Path(limit).exists() and Path(limit).read_text().strip().isdigit():
            bytes_available = min(bytes_available, int(Path(limit).read_text()))
    return max(0, bytes_available - 2**30)


@pytest.fixture
def needs_memory():
    """Skip the test, with the figures, where memory is short."""

    def need(size):
        if free_memory() < size:
            pytest.skip(f"needs {size / 2**30:.1f} GiB, {free_memory() / 2**30:.1f} available")

    return need
