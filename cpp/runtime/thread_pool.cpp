#include "runtime/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "runtime/affinity.hpp"

#if defined(_WIN32)
#include <process.h>
#else
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace fastconv {
namespace {

constexpr int kMostThreads = 1024;

// Waking a sleeping thread costs some 50 microseconds on a virtual machine, 15 of them the waker's.
// So a worker looks for work this long after the end of a job, since the layers of a network follow
// each other faster than that, and while others still work on one; a caller looks for the end of
// its workers' last tasks. After kAlone they do so only if nobody else wants the CPU.
constexpr std::chrono::microseconds kSpin{100};
constexpr std::chrono::microseconds kMostSpin{2000};
constexpr std::chrono::microseconds kAlone{25};

// Threads that are kept off the caller's CPU when they wake, a microsecond each; of more, one that
// is late is no great loss.
constexpr int kMostKeptOff = 16;

long process_id() {
#if defined(_WIN32)
  return _getpid();
#else
  return static_cast<long>(getpid());
#endif
}

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ volatile("yield");
#endif
}

// Spins until done(), or until kSpin has passed since going_on(); says whether it was done().
template <class Done, class GoingOn>
bool spin_until(Done done, GoingOn going_on) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  auto last = begin;
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      relax();
    }
    const auto now = Clock::now();
    if (going_on()) last = now;
    if (now - last > kSpin || now - begin > kMostSpin) return false;
    if (now - begin > kAlone) std::this_thread::yield();
  }
}

// Rounding and flushing modes are the caller's on every worker.
class FloatingPointMode {
 public:
  static FloatingPointMode current() {
    FloatingPointMode mode;
#if defined(__x86_64__) || defined(_M_X64)
    constexpr unsigned kFlags = 0x3f;  // raised exceptions, which are not a mode
    mode.word_ = _mm_getcsr() & ~kFlags;
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode.word_));
#endif
    return mode;
  }
  void apply() const {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_setcsr(static_cast<unsigned>(word_));
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ volatile("msr fpcr, %0" : : "r"(word_));
#endif
  }

 private:
  std::uint64_t word_ = 0;
};

struct Job {
  TaskFn fn = nullptr;
  void* context = nullptr;
  std::int64_t count = 0;
  int workers = 0;
  FloatingPointMode mode;
};

// One 64-bit word says everything about the current job, so that it changes as a whole:
//   bits 63..32  number of the job
//   bits 31..16  open places, each for one more worker
//   bits 15..0   workers inside
// A worker may read the job only while inside; the caller closes the places when the indices have
// run out and waits for those inside, never for threads that did not wake up in time.
constexpr std::uint64_t kOnePlace = 1 << 16;
constexpr std::uint64_t number_of(std::uint64_t state) { return state >> 32; }
constexpr std::uint64_t places_of(std::uint64_t state) { return state >> 16 & 0xffff; }
constexpr std::uint64_t inside_of(std::uint64_t state) { return state & 0xffff; }

class Pool {
 public:
  explicit Pool(long owner) : owner_(owner) {}

  long owner() const { return owner_; }
  int threads() const { return threads_.load(std::memory_order_relaxed); }

  bool try_lock() { return !busy_.exchange(true, std::memory_order_acquire); }
  void unlock() { busy_.store(false, std::memory_order_release); }

  // Only between try_lock and unlock.
  void run(const Job& job) noexcept {
    grow(job.workers - 1);
    const int helpers = std::min(job.workers - 1, threads());
    job_ = job;
    next_.store(0, std::memory_order_relaxed);
    const std::uint64_t number = number_of(state_.load(std::memory_order_relaxed)) + 1;
    state_.store(number << 32 | static_cast<std::uint64_t>(helpers) * kOnePlace);
    wake(helpers);
    work(0);
    close();
  }

 private:
  void grow(int wanted) noexcept {
    while (threads() < wanted) {
      if (!start_thread()) return;
      threads_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  bool start_thread() noexcept {
#if !defined(_WIN32)
    // Signals are for the host's threads: the new thread inherits a mask that blocks them all.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    bool started = true;
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
      started = false;
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return started;
  }

  void wake(int helpers) noexcept {
    // Either a thread that is about to sleep sees the new state, or this sees the thread.
    if (sleepers_.load() == 0) return;
    {
      const std::lock_guard lock(mutex_);
      const int cpu = current_cpu();
      int left = kMostKeptOff;
      for (Sleeper* s = asleep_; s != nullptr && left > 0; s = s->next, --left)
        s->thread.keep_off(cpu);
    }
    if (helpers >= threads()) {
      work_.notify_all();
    } else {
      for (int i = 0; i < helpers; ++i) work_.notify_one();
    }
  }

  void work(int worker) noexcept {
    for (;;) {
      const std::int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= job_.count) return;
      job_.fn(job_.context, index, worker);
    }
  }

  // Lets nobody else in and waits until all are out.
  void close() noexcept {
    std::uint64_t state = state_.load();
    while (!state_.compare_exchange_weak(state, state & ~(0xffffu * kOnePlace))) {
    }
    const auto left = [this] { return inside_of(state_.load()) == 0; };
    if (left() || spin_until(left, [] { return true; })) return;
    std::unique_lock lock(mutex_);
    waiting_.store(true);
    done_.wait(lock, left);
    waiting_.store(false);
  }

  bool places_open() const { return places_of(state_.load()) != 0; }

  // The life of a thread of the pool.
  void serve() noexcept {
    for (;;) {
      if (!places_open() && !spin_until([this] { return places_open(); },
                                        [this] { return busy_.load(std::memory_order_relaxed); }))
        sleep();
      enter();
    }
  }

  void sleep() noexcept {
    std::unique_lock lock(mutex_);
    Sleeper self;
    self.next = asleep_;
    asleep_ = &self;
    sleepers_.fetch_add(1);
    work_.wait(lock, [this] { return places_open(); });
    sleepers_.fetch_sub(1);
    Sleeper** link = &asleep_;
    while (*link != &self) link = &(*link)->next;
    *link = self.next;
    lock.unlock();
    self.thread.restore();
  }

  // Takes a place if one is left, works, and leaves.
  void enter() noexcept {
    std::uint64_t state = state_.load();
    do {
      if (places_of(state) == 0) return;
    } while (!state_.compare_exchange_weak(state, state - kOnePlace + 1));
    job_.mode.apply();
    work(static_cast<int>(places_of(state)));
    if (inside_of(state_.fetch_sub(1)) == 1 && waiting_.load()) {
      {
        const std::lock_guard lock(mutex_);
      }
      done_.notify_one();
    }
  }

  struct Sleeper {
    SleepingThread thread;
    Sleeper* next = nullptr;
  };

  const long owner_;
  std::atomic<bool> busy_{false};
  std::atomic<int> threads_{0};
  Job job_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::uint64_t> state_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> waiting_{false};
  std::mutex mutex_;
  Sleeper* asleep_ = nullptr;  // guarded by mutex_
  std::condition_variable work_, done_;
};

// Never destroyed: threads may be asleep in it when the process ends, and after fork its locks may
// be held by threads that the child does not have.
std::atomic<Pool*> the_pool{nullptr};

// The pool of this process; null if there is no memory for one.
Pool* pool() noexcept {
  const long here = process_id();
  Pool* current = the_pool.load(std::memory_order_acquire);
  while (current == nullptr || current->owner() != here) {
    Pool* const fresh = new (std::nothrow) Pool(here);
    if (fresh == nullptr) return nullptr;
    if (the_pool.compare_exchange_strong(current, fresh)) return fresh;
    delete fresh;
  }
  return current;
}

void run_alone(const Job& job) noexcept {
  for (std::int64_t i = 0; i < job.count; ++i) job.fn(job.context, i, 0);
}

// The first number of the variable ("4" or, as OpenMP allows, "4,2"); 0 if there is none.
int threads_from_environment(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return 0;
  while (*text == ' ' || *text == '\t') ++text;
  int n = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), n);
  const bool clean = *end == '\0' || *end == ',' || *end == ' ';
  return error == std::errc() && clean && n >= 1 ? n : 0;
}

std::atomic<int> setting{0};  // 0: not read yet

}  // namespace

int max_threads() {
  int n = setting.load(std::memory_order_relaxed);
  if (n != 0) return n;
  int first = threads_from_environment("FASTCONV_NUM_THREADS");
  if (first == 0) first = threads_from_environment("OMP_NUM_THREADS");
  if (first == 0) first = usable_cpus();
  // Whoever set it meanwhile keeps the last word.
  return setting.compare_exchange_strong(n, first) ? first : n;
}

void set_max_threads(int n) {
  if (n < 1) {
    throw std::invalid_argument("number of threads must be at least 1, got " + std::to_string(n));
  }
  setting.store(n, std::memory_order_relaxed);
}

void parallel_for(std::int64_t count, int workers, TaskFn fn, void* context) noexcept {
  Job job;
  job.fn = fn;
  job.context = context;
  job.count = count;
  job.workers = static_cast<int>(std::min<std::int64_t>({workers, count, kMostThreads}));
  Pool* const shared = job.workers > 1 ? pool() : nullptr;
  if (shared == nullptr || !shared->try_lock()) return run_alone(job);
  job.mode = FloatingPointMode::current();
  shared->run(job);
  shared->unlock();
}

int threads_started() {
  const Pool* const current = the_pool.load(std::memory_order_acquire);
  return current == nullptr || current->owner() != process_id() ? 0 : current->threads();
}

}  // namespace fastconv
