// interrupt.hpp: how a long computation learns that the caller wants it stopped.
//
// Only the calling thread can ask the host (Python, which needs its lock for that), so worker 0
// asks now and then and the others watch a flag.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace fastconv {

class Interrupt {
 public:
  // `poll` says whether to stop; it is called on the thread of worker 0 only and must not throw.
  // Null: never stop.
  explicit Interrupt(bool (*poll)()) : poll_(poll) {}
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Any thread.
  bool stop_requested() const { return stop_.load(std::memory_order_relaxed); }

  // Every worker reports its multiply-adds in small portions; the clock is looked at once in
  // kPortion of those by worker 0, and `poll` called at most once in kPeriod.
  void work_done(int worker, std::int64_t macs) {
    if (worker != 0 || poll_ == nullptr) return;
    macs_ += macs;
    if (macs_ < kPortion) return;
    macs_ = 0;
    look_at_clock();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::int64_t kPortion = std::int64_t{1} << 22;
  static constexpr std::chrono::milliseconds kPeriod{50};

  void look_at_clock() {
    const Clock::time_point now = Clock::now();
    if (!started_) {
      started_ = true;
      last_ = now;
    } else if (now - last_ >= kPeriod && !stop_requested()) {
      if (poll_()) stop_.store(true, std::memory_order_relaxed);
      last_ = Clock::now();
    }
  }

  bool (*const poll_)();
  std::atomic<bool> stop_{false};
  // Of worker 0 alone.
  std::int64_t macs_ = 0;
  bool started_ = false;
  Clock::time_point last_{};
};

}  // namespace fastconv
