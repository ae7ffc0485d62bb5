// test_runtime.cpp: thread pool, scratch, interrupts and CPU detection.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "core/cpu.hpp"
#include "runtime/affinity.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

using namespace fastconv;

namespace {

// Runs body() in a child process and returns its exit code, or -signal.
template <class Body>
int in_child(Body body) {
  std::fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct Counts {
  explicit Counts(std::int64_t n) : seen(static_cast<std::size_t>(n)) {}
  std::vector<std::atomic<int>> seen;
  std::atomic<int> in_use[64] = {};
  std::atomic<bool> shared_worker{false};
  std::atomic<int> largest_worker{0};
  int pause_us = 0;

  bool each_once() const {
    for (const auto& s : seen) {
      if (s.load() != 1) return false;
    }
    return true;
  }
};

void count_task(void* context, std::int64_t index, int worker) noexcept {
  auto& c = *static_cast<Counts*>(context);
  if (c.in_use[worker].fetch_add(1) != 0) c.shared_worker = true;
  int largest = c.largest_worker.load();
  while (worker > largest && !c.largest_worker.compare_exchange_weak(largest, worker)) {
  }
  c.seen[static_cast<std::size_t>(index)].fetch_add(1);
  if (c.pause_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(c.pause_us));
  c.in_use[worker].fetch_sub(1);
}

bool run_counts(std::int64_t n, int workers, int pause_us = 0) {
  Counts c(n);
  c.pause_us = pause_us;
  parallel_for(n, workers, count_task, &c);
  return c.each_once() && !c.shared_worker && c.largest_worker < std::max(workers, 1);
}

int threads_with(const char* fastconv_variable, const char* omp_variable) {
  return in_child([&] {
    unsetenv("FASTCONV_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
    if (fastconv_variable) setenv("FASTCONV_NUM_THREADS", fastconv_variable, 1);
    if (omp_variable) setenv("OMP_NUM_THREADS", omp_variable, 1);
    return max_threads();
  });
}

// First of all tests, since the environment is read once.
void test_environment() {
  const int cpus = usable_cpus();
  CHECK(cpus >= 1);
  CHECK(threads_with(nullptr, nullptr) == cpus);
  CHECK(threads_with("3", nullptr) == 3);
  CHECK(threads_with("3", "5") == 3);
  CHECK(threads_with(nullptr, "5") == 5);
  CHECK(threads_with(nullptr, "6,2") == 6);
  CHECK(threads_with("many", "5") == 5);
  CHECK(threads_with("0", nullptr) == cpus);
  CHECK(threads_with("-2", nullptr) == cpus);
  CHECK(threads_with("", "") == cpus);
  CHECK(threads_with("99999999999999999999", nullptr) == cpus);
  CHECK(threads_started() == 0);
}

void test_setting() {
  set_max_threads(4);
  CHECK(max_threads() == 4);
  for (int bad : {0, -1}) {
    bool refused = false;
    try {
      set_max_threads(bad);
    } catch (const std::invalid_argument& e) {
      refused = std::string(e.what()).find(std::to_string(bad)) != std::string::npos;
    }
    CHECK(refused);
  }
  CHECK(max_threads() == 4);
}

void test_each_index_once() {
  CHECK(threads_started() == 0);
  CHECK(run_counts(100, 1));
  CHECK(threads_started() == 0);
  CHECK(run_counts(0, 4));
  CHECK(run_counts(1, 4));
  CHECK(threads_started() == 0);
  CHECK(run_counts(2, 4));
  CHECK(threads_started() == 1);
  for (int workers : {2, 3, 4, 2, 8, 3}) {
    for (std::int64_t n : {1, 2, 3, 7, 100, 5000}) CHECK(run_counts(n, workers));
  }
  CHECK(threads_started() == 7);
  for (int i = 0; i < 3000; ++i) CHECK(run_counts(i % 9, 2 + i % 3));
  // Long gaps: the threads sleep in between.
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(run_counts(4, 4, 200));
  }
}

// With tasks that sleep, all workers must get some.
void test_workers_take_part() {
  Counts c(16);
  c.pause_us = 20000;
  const auto start = std::chrono::steady_clock::now();
  parallel_for(16, 4, count_task, &c);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(c.each_once());
  CHECK(c.largest_worker == 3);
  CHECK(took.count() < 0.25);
}

void test_nested() {
  struct Outer {
    std::atomic<int> good{0};
  } outer;
  parallel_for(
      8, 4,
      [](void* context, std::int64_t, int) noexcept {
        if (run_counts(50, 4)) ++static_cast<Outer*>(context)->good;
      },
      &outer);
  CHECK(outer.good == 8);
}

void test_concurrent_callers() {
  std::atomic<int> good{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&good] {
      for (int i = 0; i < 500; ++i) good += run_counts(20, 3);
    });
  }
  for (auto& t : callers) t.join();
  CHECK(good == 2000);
}

void test_fork() {
  // User-mode emulators do not survive the fork of a process with threads.
  if (std::getenv("FASTCONV_TEST_EMULATED") != nullptr) return;
  CHECK(run_counts(100, 4));
  const auto child = [] {
    if (threads_started() != 0) return 2;
    for (int i = 0; i < 20; ++i) {
      if (!run_counts(100, 4)) return 3;
    }
    if (threads_started() != 3) return 4;
    // A child of the child, too.
    return in_child([] { return run_counts(100, 3) ? 0 : 5; });
  };
  CHECK(in_child(child) == 0);
#if !defined( \
    __SANITIZE_THREAD__)  // which does not allow threads in the child of a threaded process
  // While another thread keeps the pool busy, its locks and flags in any state.
  std::atomic<bool> stop{false};
  std::thread busy([&stop] {
    while (!stop) run_counts(64, 4, 10);
  });
  for (int i = 0; i < 30; ++i) CHECK(in_child(child) == 0);
  stop = true;
  busy.join();
#endif
  CHECK(run_counts(100, 4));
}

#if defined(__linux__)
int cpus_of(pid_t thread) {
  cpu_set_t mask;
  return sched_getaffinity(thread, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : -1;
}

void test_sleeping_thread() {
  std::atomic<SleepingThread*> asleep{nullptr};
  std::atomic<int> told{0}, cpu{-1}, after{-1};
  std::atomic<pid_t> id{0};
  std::thread thread([&] {
    SleepingThread self;
    id = static_cast<pid_t>(syscall(SYS_gettid));
    asleep = &self;
    while (told == 0) usleep(100);
    cpu = current_cpu();
    self.restore();
    after = cpus_of(0);
  });
  while (asleep == nullptr) usleep(100);
  const int all = cpus_of(0), here = current_cpu();
  asleep.load()->keep_off(-1);  // not known
  CHECK(cpus_of(id) == all);
  asleep.load()->keep_off(here);
  CHECK(cpus_of(id) == std::max(all - 1, 1));
  asleep.load()->keep_off(here);  // again, before it woke
  CHECK(cpus_of(id) == std::max(all - 1, 1));
  told = 1;
  thread.join();
  CHECK(all == 1 || cpu != here);
  CHECK(after == all);
}
#endif

void test_no_threads_to_be_had() {
#if !defined(SANITIZED) && defined(__x86_64__)
  CHECK(in_child([] {
          std::ifstream statm("/proc/self/statm");
          rlim_t pages = 0;
          statm >> pages;
          const rlim_t bytes = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (4 << 20);
          const rlimit limit{bytes, bytes};
          if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
          // The stacks of the parent's threads are there to be reused, but not 40 of them.
          if (!run_counts(100, 40)) return 3;
          return threads_started() < 39 ? 0 : 4;
        }) == 0);
#endif
}

struct Signals {
  std::atomic<int> workers{0}, blocked{0};
};

void test_signals_blocked() {
  Signals s;
  parallel_for(
      8, 4,
      [](void* context, std::int64_t, int worker) noexcept {
        auto& signals = *static_cast<Signals*>(context);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        if (worker == 0) return;
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        ++signals.workers;
        if (sigismember(&mask, SIGINT) && sigismember(&mask, SIGUSR1)) ++signals.blocked;
      },
      &s);
  CHECK(s.workers > 0);
  CHECK(s.workers == s.blocked);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK(!sigismember(&mask, SIGINT));
}

#if defined(__x86_64__)
void test_floating_point_mode() {
  const unsigned before = _mm_getcsr();
  for (const unsigned flush : {0x8000u, 0u}) {
    _mm_setcsr((before & ~0x8000u) | flush);
    struct Modes {
      unsigned flush;
      std::atomic<int> other{0}, workers{0};
    } modes{flush};
    parallel_for(
        8, 4,
        [](void* context, std::int64_t, int worker) noexcept {
          auto& m = *static_cast<Modes*>(context);
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          m.workers += worker != 0;
          m.other += (_mm_getcsr() & 0x8000u) != m.flush;
        },
        &modes);
    CHECK(modes.workers > 0);
    CHECK(modes.other == 0);
  }
  _mm_setcsr(before);
}
#endif

std::atomic<int> polls{0};
std::atomic<bool> answer{false};
bool poll() {
  ++polls;
  return answer;
}

void test_interrupt() {
  constexpr std::int64_t kMany = std::int64_t{1} << 22;
  Interrupt quiet(nullptr);
  for (int i = 0; i < 10; ++i) quiet.work_done(0, kMany);
  CHECK(!quiet.stop_requested());

  Interrupt interrupt(poll);
  interrupt.work_done(0, kMany);  // starts the clock
  interrupt.work_done(0, kMany);
  CHECK(polls == 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  interrupt.work_done(1, kMany);
  interrupt.work_done(0, 1);
  CHECK(polls == 0);
  interrupt.work_done(0, kMany);
  CHECK(polls == 1);
  CHECK(!interrupt.stop_requested());
  interrupt.work_done(0, kMany);
  CHECK(polls == 1);
  answer = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  interrupt.work_done(0, kMany);
  CHECK(polls == 2);
  CHECK(interrupt.stop_requested());
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  interrupt.work_done(0, kMany);
  CHECK(polls == 2);
}

bool aligned(const char* p) {
  return reinterpret_cast<std::uintptr_t>(p) % Scratch::kAlignment == 0;
}

void test_scratch() {
  CHECK(Scratch::cached_bytes() == 0);
  char* first = nullptr;
  {
    const Scratch a = Scratch::acquire(1000);
    first = a.data();
    CHECK(aligned(a.data()) && a.size() == 1000);
    const Scratch b = Scratch::acquire(1000);
    CHECK(aligned(b.data()) && b.data() != a.data());
    std::memset(a.data(), 1, a.size());
    std::memset(b.data(), 2, b.size());
    CHECK(a.data()[999] == 1);
    Scratch::release_cached();  // in use: stays
    CHECK(Scratch::cached_bytes() >= 1000);
    a.data()[0] = 3;
  }
  CHECK(Scratch::acquire(900).data() == first);
  CHECK(Scratch::acquire(0).data() != nullptr);
  {
    Scratch a = Scratch::acquire(100);
    const Scratch moved = std::move(a);
    CHECK(moved.data() == first);
  }
  CHECK(Scratch::acquire(100).data() == first);
  const std::size_t small = Scratch::cached_bytes();
  {
    const Scratch large = Scratch::acquire(Scratch::kMostCached + 1);
    std::memset(large.data(), 1, large.size());
    CHECK(aligned(large.data()));
  }
  CHECK(Scratch::cached_bytes() == small);
  {
    const Scratch most = Scratch::acquire(Scratch::kMostCached);
  }
  CHECK(Scratch::cached_bytes() == Scratch::kMostCached);
  std::thread([] { CHECK(Scratch::cached_bytes() == 0); }).join();
  Scratch::release_cached();
  CHECK(Scratch::cached_bytes() == 0);
#if !defined(SANITIZED)  // which end the process instead
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2, SIZE_MAX / 4}) {
    bool refused = false;
    try {
      Scratch::acquire(bytes);
    } catch (const std::bad_alloc&) {
      refused = true;
    }
    CHECK(refused);
  }
#endif
}

void test_cpu() {
  CHECK(cpu_supports(Isa::scalar));
  std::set<std::string> names;
  for (const auto& [name, present] : cpu_features()) names.insert(name);
  CHECK(names.size() == cpu_features().size());
#if defined(__x86_64__)
  __builtin_cpu_init();
  CHECK(!cpu_supports(Isa::neon));
  CHECK(cpu_supports(Isa::avx2) ==
        (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
  CHECK(cpu_supports(Isa::avx512) ==
        (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")));
#elif defined(__aarch64__)
  CHECK(cpu_supports(Isa::neon));
  CHECK(!cpu_supports(Isa::avx2));
#endif
  CHECK(cache_sizes().l1d >= 16 << 10);
  CHECK(cache_sizes().l2 >= 256 << 10);
  for (const auto& [name, present] : cpu_features()) {
    if (name == "amx_bf16" && !present) CHECK(!request_amx_permission());
  }
  std::printf("   L1d %lld KiB, L2 %lld KiB, %d CPUs\n",
              static_cast<long long>(cache_sizes().l1d >> 10),
              static_cast<long long>(cache_sizes().l2 >> 10), usable_cpus());
}

}  // namespace

int main() {
  check::section("environment", test_environment);
  check::section("setting", test_setting);
#if defined(__linux__)
  check::section("sleeping thread", test_sleeping_thread);
#endif
  check::section("each index once", test_each_index_once);
  check::section("workers take part", test_workers_take_part);
  check::section("nested", test_nested);
  check::section("concurrent callers", test_concurrent_callers);
  check::section("fork", test_fork);
  check::section("no threads to be had", test_no_threads_to_be_had);
  check::section("signals blocked", test_signals_blocked);
#if defined(__x86_64__)
  check::section("floating-point mode", test_floating_point_mode);
#endif
  check::section("interrupt", test_interrupt);
  check::section("scratch", test_scratch);
  check::section("cpu", test_cpu);
  return check::summary();
}
