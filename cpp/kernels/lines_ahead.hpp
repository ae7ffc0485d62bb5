// Asks for what the next call of a product of tiles reads, so that it is in L2 by then: a few lines
// in each of its turns.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

class LinesAhead {
 public:
  FASTCONV_INLINE LinesAhead(const Upcoming& next, std::int64_t turns) : next_(next) {
    const std::int64_t lines = next.runs * ((next.bytes + kLine - 1) / kLine);
    if (lines > 0 && turns > 0) lines_ = (lines + turns - 1) / turns;
  }
  FASTCONV_INLINE void turn() {
    for (std::int64_t i = 0; i < lines_ && next_.runs > 0; ++i) {
      FASTCONV_PREFETCH_L2(next_.at + done_);
      done_ += kLine;
      if (done_ < next_.bytes) continue;
      done_ = 0;
      next_.at += next_.pitch;
      --next_.runs;
    }
  }

 private:
  static constexpr std::int64_t kLine = 64;

  Upcoming next_;
  std::int64_t lines_ = 0;
  std::int64_t done_ = 0;  // bytes of a run
};

// The same where a turn is short: some pairs of lines of one run.
class RunsAhead {
 public:
  FASTCONV_INLINE RunsAhead(const Upcoming& next, std::int64_t turns) : next_(next) {
    if (next.runs <= 0 || turns <= 0) return;
    const std::int64_t of_run = turns > next.runs ? turns / next.runs : 1;
    const std::int64_t bytes = (next.bytes + of_run - 1) / of_run;
    step_ = (bytes + kStep - 1) / kStep * kStep;
  }
  FASTCONV_INLINE void turn() {
    if (step_ == 0) return;
    const char* at = next_.at + done_;
    const char* const end = at + step_;
    FASTCONV_NO_UNROLL
    do {
      FASTCONV_PREFETCH_L2(at);
      FASTCONV_PREFETCH_L2(at + kStep / 2);
      at += kStep;
    } while (at < end);
    done_ += step_;
    if (done_ < next_.bytes) return;
    done_ = 0;
    next_.at += next_.pitch;
    if (--next_.runs == 0) step_ = 0;
  }

 private:
  static constexpr std::int64_t kStep = 128;

  Upcoming next_;
  std::int64_t step_ = 0;  // bytes of a turn
  std::int64_t done_ = 0;  // of a run
};

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
