"""threadpoolctl sees the threads and limits them."""

from __future__ import annotations

import pytest

import fastconv as fc

threadpoolctl = pytest.importorskip("threadpoolctl")


def entries():
    return [e for e in threadpoolctl.threadpool_info() if e["user_api"] == "fastconv"]


@pytest.fixture(autouse=True)
def registered():
    fc.register_threadpoolctl()


def test_the_engine_is_listed_once():
    fc.register_threadpoolctl()
    with fc.num_threads(3):
        (entry,) = entries()
    assert entry["internal_api"] == "fastconv"
    assert entry["num_threads"] == 3
    assert entry["version"] == fc.__version__
    assert "_core" in entry["filepath"]


@pytest.mark.parametrize("options", [{"user_api": "fastconv"}, {}, {"limits": {"fastconv": 2}}])
def test_a_limit_holds_inside_the_block_and_ends_with_it(options):
    with fc.num_threads(5):
        options = {"limits": 2, **options}
        with threadpoolctl.threadpool_limits(**options):
            assert fc.get_num_threads() == 2
        assert fc.get_num_threads() == 5


def test_limits_of_other_libraries_change_nothing():
    with fc.num_threads(5), threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        assert fc.get_num_threads() == 5


def test_a_limit_below_one_means_one():
    with fc.num_threads(5):
        with threadpoolctl.threadpool_limits(limits=0, user_api="fastconv"):
            assert fc.get_num_threads() == 1
        assert fc.get_num_threads() == 5


def test_import_registers_only_where_threadpoolctl_is_loaded(run_python):
    listed = "print([e['user_api'] for e in threadpoolctl.threadpool_info()].count('fastconv'))"
    assert run_python(f"import threadpoolctl, fastconv\n{listed}") == "1\n"
    assert run_python(f"import fastconv, threadpoolctl\n{listed}") == "0\n"
    assert (
        run_python(f"import fastconv, threadpoolctl\nfastconv.register_threadpoolctl()\n{listed}")
        == "1\n"
    )


def test_without_threadpoolctl_the_error_says_what_is_missing(run_python):
    out = run_python(
        "import sys\n"
        "sys.modules['threadpoolctl'] = None\n"
        "import fastconv\n"
        "try:\n"
        "    fastconv.register_threadpoolctl()\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "pip install threadpoolctl" in out
