// thread_pool.hpp: one pool for the process, started by the first call that can use it.
//
// The caller is worker 0 and takes part; indices are handed out one at a time from a shared
// counter, so the results may not depend on which worker gets which. A call made while the pool is
// busy (from inside a task, or by another thread) runs on its own thread alone. After fork the
// child forgets the threads, which it does not have, and starts its own when it needs them.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace fastconv {

// `worker` is below the number of workers asked for and belongs to one thread at a time.
using TaskFn = void (*)(void* context, std::int64_t index, int worker) noexcept;

// The setting, at least 1. First use reads FASTCONV_NUM_THREADS, then OMP_NUM_THREADS, then what
// the process may use: its CPU affinity and control-group quota.
int max_threads();

// Throws std::invalid_argument unless n >= 1.
void set_max_threads(int n);

// Calls fn(context, i, worker) for every i in [0, count) and returns when all have ended. At most
// `workers` threads take part; fewer where threads cannot be had. Never throws.
void parallel_for(std::int64_t count, int workers, TaskFn fn, void* context) noexcept;

// The same for task(i, worker), which must not throw.
template <class Task>
void parallel_for(std::int64_t count, int workers, Task&& task) noexcept {
  using Called = std::remove_reference_t<Task>;
  static_assert(std::is_nothrow_invocable_v<Called&, std::int64_t, int>);
  parallel_for(
      count, workers,
      [](void* context, std::int64_t index, int worker) noexcept {
        (*static_cast<Called*>(context))(index, worker);
      },
      std::addressof(task));
}

// Threads that this process has started, the callers' own not counted.
int threads_started();

}  // namespace fastconv
