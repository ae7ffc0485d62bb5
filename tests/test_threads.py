"""Threads inside a call, many callers at once, forks and signals."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
from reference import conv
from strategies import RandomChooser, call, make_case, values

ALGORITHMS = ("auto", "direct", "im2col", "reference")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX fork and signals")

# Large enough to be worth dividing, small enough for a test.
LARGE = {
    "3x3": ((3, 24, 60, 61), (40, 24, 3, 3), {"padding": 1}),
    "1x1": ((2, 96, 40, 41), (50, 96, 1, 1), {}),
    "depthwise": ((2, 64, 50, 51), (64, 1, 3, 3), {"groups": 64, "padding": 1}),
    "image": ((1, 1, 300, 301), (1, 1, 7, 7), {"padding": 3, "padding_mode": "reflect"}),
    "signal": ((1, 1, 60000), (2, 1, 31), {}),
    "volume": ((1, 5, 20, 21, 22), (9, 5, 3, 3, 3), {"stride": (1, 2, 1)}),
}


def problem(name, dtype=np.float32):
    """Normal numbers, whose sums depend on their order."""
    x_shape, w_shape, options = LARGE[name]
    rng = np.random.default_rng(11)
    x, w = rng.standard_normal(x_shape).astype(dtype), rng.standard_normal(w_shape).astype(dtype)
    return getattr(fc, f"conv{len(x_shape) - 2}d"), x, w, options


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_results_do_not_depend_on_the_number_of_threads(isa, name, algorithm):
    function, x, w, options = problem(name)
    w = w[:2] if algorithm == "reference" and options.get("groups", 1) == 1 else w  # it is slow
    results = []
    for threads in (1, 2, 3, 7):
        with fc.num_threads(threads):
            results.append(function(x, w, algorithm=algorithm, **options))
    for y in results[1:]:
        assert y.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_results_do_not_depend_on_the_batch(isa, name, algorithm, layout):
    function, x, w, options = problem(name)
    w = w[:2] if algorithm == "reference" and options.get("groups", 1) == 1 else w  # it is slow
    x = np.concatenate([x, x[:1] * 2, x[:1]])
    x = np.moveaxis(x, 1, -1).copy() if layout == "NHWC" else x
    options = {**options, "layout": layout, "algorithm": algorithm}
    whole = function(x, w, **options)
    for n in range(len(x)):
        assert function(x[n : n + 1], w, **options)[0].tobytes() == whole[n].tobytes()
        assert function(x[n], w, **options).tobytes() == whole[n].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_small_pictures_do_not_depend_on_the_batch(isa, dtype, layout):
    """Where packing weighs much, a batch must not make another kernel look cheaper."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        c, k = rng.integers(1, 70, 2)
        shape, kernel = rng.integers(4, 14, 2), rng.integers(1, 5, 2)
        stride = tuple(int(n) for n in rng.integers(1, 5, 2))
        options = {"stride": stride, "padding": 1, "layout": layout}
        x = rng.standard_normal((4, c, *shape)).astype(dtype)
        w = rng.standard_normal((k, c, *np.minimum(kernel, shape))).astype(dtype)
        x = np.moveaxis(x, 1, -1).copy() if layout == "NHWC" else x
        whole = fc.conv2d(x, w, **options)
        for n in range(len(x)):
            assert fc.conv2d(x[n], w, **options).tobytes() == whole[n].tobytes()


def test_neither_batch_nor_threads_choose(isa):
    """Two kernels may add up in another order, so that an image alone decides which one runs."""
    rng = np.random.default_rng(5)
    layouts = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
    looked_at = 0
    while looked_at < 3000:
        rank = int(rng.integers(1, 4))
        groups, channels, filters = (int(rng.choice([1, 1, 2, 3, 8, 30])) for _ in range(3))
        size = int(rng.integers(3, {1: 400, 2: 40, 3: 12}[rank]))
        layout = layouts[rank][rng.integers(2)]
        shape = (size,) * rank
        x = np.zeros(
            (16, groups * channels, *shape) if "NC" in layout else (16, *shape, groups * channels),
            rng.choice(["float32", "float64", "int32"]),
        )
        w = np.ones((groups * filters, channels, *(int(rng.integers(1, 4)),) * rank), x.dtype)
        options = {"groups": groups, "layout": layout}
        for name in ("stride", "dilation"):
            options[name] = int(rng.integers(1, 3))
        if size < options["dilation"] * (w.shape[-1] - 1) + 1:
            continue
        looked_at += 1
        chosen = set()
        for images, threads in ((16, 1), (1, 1), (16, 7)):
            with fc.num_threads(threads):
                told = fc.explain(x[:images], w, **options)
            chosen.add((told.algorithm, told.kernel))
        assert len(chosen) == 1, (x.shape, w.shape, options, chosen)


def test_more_threads_really_run():
    """The thread count is not ignored: the pool grows, once, to what a large call may use."""
    function, x, w, options = problem("3x3")
    with fc.num_threads(3):
        function(x, w, **options)
        assert fc._core.threads_started() >= 2
        assert fc.explain(x, w, **options).threads == 3
        before = threading_count()
        for _ in range(20):
            function(x, w, **options)
        assert threading_count() == before


def threading_count():
    """Threads of this process, native ones included."""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    return len(os.listdir("/proc/self/task"))


def test_many_callers_at_once():
    """Eight Python threads, each with its own random calls, while the settings change."""

    def work(first):
        for seed in range(first, first + 60):
            choose = RandomChooser(seed)
            case = make_case(choose)
            algorithm = choose.of(("auto", "auto", "reference"))
            np.testing.assert_array_equal(call(fc, case, algorithm=algorithm), case.expected())
            if seed % 10 == 0:
                fc.set_num_threads(1 + seed % 3)
            if seed % 15 == 0:
                fc.set_isa(choose.of(fc.available_isas()))
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(500_000, 500_800, 100)))


def test_large_calls_at_once_share_the_pool():
    function, x, w, options = problem("3x3")
    with fc.num_threads(2):
        expected = function(x, w, **options).tobytes()
        with ThreadPoolExecutor(5) as pool:
            futures = [pool.submit(function, x, w, **options) for _ in range(30)]
            assert all(f.result().tobytes() == expected for f in futures)


def test_one_plan_for_many_threads():
    _, x, w, options = problem("3x3")
    layer = fc.Conv2d(w, **options)
    expected = layer(x).tobytes()
    with ThreadPoolExecutor(5) as pool:
        results = [pool.submit(layer, x) for _ in range(20)]
        assert all(f.result().tobytes() == expected for f in results)


def test_other_python_threads_run_during_a_call():
    """The interpreter's lock is released while computing."""
    function, x, w, options = problem("3x3")
    x = np.concatenate([x] * 10)
    ticks, finished = [], threading.Event()

    def tick():
        while not finished.wait(0.001):
            ticks.append(1)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        with fc.num_threads(1):
            before = len(ticks)
            for _ in range(3):
                function(x, w, **options)
            during = len(ticks) - before
    finally:
        finished.set()
        ticker.join()
    assert during > 3


def test_set_get_and_context():
    fc.set_num_threads(2)
    assert fc.get_num_threads() == 2
    with fc.num_threads(5):
        assert fc.get_num_threads() == 5
        with fc.num_threads(1):
            assert fc.get_num_threads() == 1
        assert fc.get_num_threads() == 5
    assert fc.get_num_threads() == 2

    class OnPurposeError(Exception):
        pass

    with pytest.raises(OnPurposeError), fc.num_threads(7):
        raise OnPurposeError
    assert fc.get_num_threads() == 2


@pytest.mark.parametrize("n", [0, -1, -(2**63), 2**63, 2**100])
def test_impossible_thread_counts(n):
    before = fc.get_num_threads()
    with pytest.raises(ValueError, match="n must be"):
        fc.set_num_threads(n)
    assert fc.get_num_threads() == before


@pytest.mark.parametrize("n", [1.0, "2", None, True])
def test_thread_counts_are_integers(n):
    with pytest.raises(TypeError, match="n must be"):
        fc.set_num_threads(n)


def test_an_absurd_thread_count_does_not_start_that_many(run_python):
    run_python(
        "import fastconv as fc, numpy as np\n"
        "try:\n"
        "    fc.set_num_threads(10**6)\n"
        "except ValueError:\n"
        "    raise SystemExit\n"
        "x = np.ones((4, 16, 100, 100), np.float32)\n"
        "y = fc.conv2d(x, np.ones((16, 16, 3, 3), np.float32))\n"
        "assert (y == 144).all()\n"
        "assert fc._core.threads_started() < 5000\n"
    )


PRINT_THREADS = "import fastconv as fc; print(fc.get_num_threads())"


@pytest.mark.parametrize(
    ("own", "omp", "expected"),
    [("3", None, 3), (None, "3", 3), ("2", "5", 2), ("", "4", 4)],
)
def test_environment(run_python, own, omp, expected):
    out = run_python(PRINT_THREADS, FASTCONV_NUM_THREADS=own, OMP_NUM_THREADS=omp)
    assert int(out) == expected


@pytest.mark.parametrize("value", ["0", "-3", "many", "1e3", "99999999999999999999", "2x", " "])
def test_nonsense_in_the_environment_is_survived(run_python, value):
    for name in ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        out = run_python(PRINT_THREADS, **{"OMP_NUM_THREADS": None, name: value})
        assert 1 <= int(out) <= 4096


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_affinity_bounds_the_threads(run_python):
    one = sorted(os.sched_getaffinity(0))[0]
    code = f"import os; os.sched_setaffinity(0, [{one}]); {PRINT_THREADS}"
    assert int(run_python(code, OMP_NUM_THREADS=None)) == 1


@posix
def test_small_work_runs_inline(run_python):
    out = run_python(
        "import os, fastconv as fc, numpy as np\n"
        "fc.set_num_threads(3)\n"
        "fc.conv2d(np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32))\n"
        "print(fc._core.threads_started(), len(os.listdir('/proc/self/task')))\n",
        OPENBLAS_NUM_THREADS=1,
    )
    assert out.split() == ["0", "1"]


FORK = """
import os, sys, threading, time
import numpy as np, fastconv as fc
from reference import conv
from strategies import values
rng = np.random.default_rng(0)
x = values((2, 16, 60, 60), "float32", rng, "exact")
w = values((16, 16, 3, 3), "float32", rng, "exact")
expected = conv(x, w)
fc.set_num_threads(3)
stop = threading.Event()
def busy():
    while not stop.is_set():
        fc.conv2d(x, w)
workers = [threading.Thread(target=busy) for _ in range(2)]
for worker in workers:
    worker.start()
children = []
for _ in range(12):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(fc.conv2d(x, w), expected) for _ in range(3))
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if np.array_equal(fc.conv2d(x, w), expected) else 5)
        _, status = os.waitpid(grandchild, 0)
        os._exit(0 if same and status == 0 else 4)
    children.append(child)
deadline = time.monotonic() + 60
codes = []
for child in children:
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            codes.append(status)
            break
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            codes.append("hung")
            break
        time.sleep(0.005)
stop.set()
for worker in workers:
    worker.join()
assert np.array_equal(fc.conv2d(x, w), expected)
print(codes)
"""


@posix
def test_fork_while_busy(run_python):
    """Children of a process whose pool is at work compute in their own right."""
    out = run_python(FORK, PYTHONWARNINGS="ignore")
    assert out.strip() == str([0] * 12)


@posix
def test_multiprocessing_by_fork(run_python):
    out = run_python(
        "import multiprocessing, numpy as np, fastconv as fc\n"
        "x, w = np.ones((1, 8, 64, 64), np.float32), np.ones((8, 8, 3, 3), np.float32)\n"
        "def work(i):\n"
        "    return float(fc.conv2d(x * i, w).sum())\n"
        "fc.set_num_threads(2)\n"
        "first = work(1)\n"
        "with multiprocessing.get_context('fork').Pool(3) as pool:\n"
        "    assert pool.map(work, range(20)) == [first * i for i in range(20)]\n"
        "print('ok')\n",
        PYTHONWARNINGS="ignore",
    )
    assert out == "ok\n"


INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np, fastconv as fc
algorithm, threads, caller = sys.argv[1:]
fc.set_num_threads(int(threads))
x = np.broadcast_to(np.float32(1), (2000, 256, 112, 112))  # hours of work, no memory
w = np.ones((256, 256, 3, 3), np.float32)
sent = []
def interrupt():
    time.sleep(0.5)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
class OwnError(Exception):
    pass
def handler(number, frame):
    raise OwnError
expected = KeyboardInterrupt
# Python's own handler is not there by itself where a shell runs this in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
if caller == "handler":
    signal.signal(signal.SIGINT, handler)
    expected = OwnError
threading.Thread(target=interrupt).start()
try:
    fc.conv2d(x, w, algorithm=algorithm)
except expected:
    print(time.monotonic() - sent[0])
y = fc.conv2d(x[:2, :8, :40, :40], w[:8, :8])
assert (y == 72).all()
"""


@posix
@pytest.mark.parametrize("algorithm", ["direct", "im2col", "reference"])
@pytest.mark.parametrize("threads", [1, 2])
def test_control_c_ends_a_long_call(run_python, algorithm, threads):
    """The promise is 0.2 seconds; the bound leaves room for a loaded machine."""
    assert float(run_python(INTERRUPT, algorithm, threads, "default", timeout=60)) < 2


@posix
def test_another_handler_may_raise_its_own_exception(run_python):
    assert float(run_python(INTERRUPT, "auto", 2, "handler", timeout=60)) < 2


@posix
def test_a_handler_that_does_not_raise_does_not_disturb(run_python):
    out = run_python(
        "import signal, numpy as np, fastconv as fc\n"
        "seen = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        "x, w = np.ones((8, 64, 60, 60), np.float32), np.ones((64, 64, 3, 3), np.float32)\n"
        "fc.set_num_threads(2)\n"
        "for _ in range(5):\n"
        "    assert (fc.conv2d(x, w) == 576).all()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "print(len(seen))\n"
    )
    assert int(out) >= 3


ROUNDING = """
import ctypes, numpy as np, fastconv as fc
libm = ctypes.CDLL("libm.so.6")
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 24, 60, 60)).astype(np.float32)
w = rng.standard_normal((24, 24, 3, 3)).astype(np.float32)
def run(threads, mode):
    fc.set_num_threads(threads)
    out = np.empty((2, 24, 58, 58), np.float32)
    libm.fesetround(mode)
    fc.conv2d(x, w, out=out)
    assert libm.fegetround() == mode
    libm.fesetround(0)
    return out
nearest, up = run(3, 0), run(1, 0x800)
assert nearest.tobytes() == run(1, 0).tobytes()
assert (up >= nearest).all() and (up > nearest).any()
assert run(3, 0x800).tobytes() == up.tobytes()
print("ok")
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="names glibc and x86's rounding modes",
)
def test_workers_round_as_their_caller_does(run_python):
    """The floating-point control word of the caller holds in every worker, in each call anew."""
    assert run_python(ROUNDING) == "ok\n"


def test_exact_results_with_more_threads_than_work():
    x = values((1, 1, 3), "float32", np.random.default_rng(0), "exact")
    w = np.ones((1, 1, 3), np.float32)
    with fc.num_threads(64):
        np.testing.assert_array_equal(fc.conv1d(x, w), conv(x, w))


@posix
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_python_may_end_during_a_call(run_python, algorithm, threads):
    """A daemon thread that asks for the interpreter's lock then must not end the process."""
    run_python(
        "import sys, threading, time, numpy as np, fastconv as fc\n"
        "fc.set_num_threads(int(sys.argv[2]))\n"
        "x, w = np.ones((1, 64, 400, 400), 'f'), np.ones((64, 64, 5, 5), 'f')\n"
        "def run():\n"
        "    while True:\n"
        "        fc.conv2d(x, w, algorithm=sys.argv[1])\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "time.sleep(0.3)\n",
        algorithm,
        threads,
        timeout=60,
    )
