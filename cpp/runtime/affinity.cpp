#include "runtime/affinity.hpp"

#include <algorithm>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#endif

namespace fastconv {
namespace {

#if defined(__linux__)
int cpus_in_affinity_mask() {
  // The kernel refuses a mask smaller than its own, whose size it does not tell.
  for (int cpus = 1024; cpus <= 1 << 18; cpus *= 4) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    if (set == nullptr) return 0;
    const std::size_t size = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (known) return count;
  }
  return 0;
}

constexpr double kNoQuota = 1e9;

// Version 2: "max 100000" or "150000 100000" in cpu.max.
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period && quota > 0 && period > 0 ? quota / period : kNoQuota;
}

// Version 1: one number a file, -1 for no quota.
double quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"),
      period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period && quota > 0 && period > 0 ? quota / period
                                                                                 : kNoQuota;
}

// The tightest quota of a group and its ancestors. In a container the path may be one of the host
// and not exist, in which case only the root, which is the container's own group, answers.
double tightest(const std::string& root, std::string path, double (*quota)(const std::string&)) {
  double least = quota(root);
  while (path.size() > 1) {
    least = std::min(least, quota(root + path));
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return least;
}

double cgroup_quota() {
  // Lines "0::/path" (version 2) and "4:cpu,cpuacct:/path" (version 1).
  std::ifstream file("/proc/self/cgroup");
  double least = kNoQuota;
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, tightest("/sys/fs/cgroup", path, quota_v2));
      continue;
    }
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name != "cpu") continue;
      for (const std::string& mount : {std::string("cpu"), controllers}) {
        least = std::min(least, tightest("/sys/fs/cgroup/" + mount, path, quota_v1));
      }
    }
  }
  return least;
}
#endif

}  // namespace

int usable_cpus() {
  int cpus = 0;
#if defined(__linux__)
  cpus = cpus_in_affinity_mask();
#endif
  if (cpus <= 0) cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  // A fraction of a CPU is left over: threads that together exceed the quota are all stopped.
  const double quota = cgroup_quota();
  if (quota < cpus) cpus = static_cast<int>(quota);
#endif
  return std::max(cpus, 1);
}

#if defined(__linux__)
int current_cpu() { return sched_getcpu(); }

SleepingThread::SleepingThread() : thread_(static_cast<pid_t>(syscall(SYS_gettid))) {}

void SleepingThread::keep_off(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) return;
  // Read now, not when it fell asleep: its mask may have been changed from outside meanwhile. Masks
  // of more than 1024 CPUs are refused, and left alone.
  if (!moved_ && sched_getaffinity(thread_, sizeof before_, &before_) != 0) return;
  cpu_set_t others = before_;
  CPU_CLR(static_cast<unsigned>(cpu), &others);
  if (CPU_COUNT(&others) == 0) return;
  moved_ |= sched_setaffinity(thread_, sizeof others, &others) == 0;
}

void SleepingThread::restore() {
  if (moved_) static_cast<void>(sched_setaffinity(0, sizeof before_, &before_));
}
#else
int current_cpu() { return -1; }

SleepingThread::SleepingThread() = default;

void SleepingThread::keep_off(int) {}

void SleepingThread::restore() {}
#endif

}  // namespace fastconv
