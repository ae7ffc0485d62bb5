// affinity.hpp: how many CPUs the process may keep busy, and that two threads share none of them.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastconv {

// The CPUs of the affinity mask, reduced by the quota of the control groups (version 1 or 2) that
// the process lives in; at least 1.
int usable_cpus();

// The CPU that the calling thread is on; -1 where that is not known.
int current_cpu();

// A thread that is about to sleep, made by itself. The scheduler may wake a thread on the CPU of
// the one that wakes it, and the two share it for tens of milliseconds while another is idle (where
// CPUs share no cache, as those of many virtual machines, it does not look for one): so the waking
// thread forbids its own CPU until the other is awake.
class SleepingThread {
 public:
  SleepingThread();
  // By the waking thread, which is on `cpu`, before it wakes this one.
  void keep_off(int cpu);
  // By this thread, awake again: what keep_off changed is as before.
  void restore();

 private:
#if defined(__linux__)
  pid_t thread_;
  bool moved_ = false;
  cpu_set_t before_;
#endif
};

}  // namespace fastconv
