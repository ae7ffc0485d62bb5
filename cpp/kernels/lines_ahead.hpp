// Asks for what the next call of a product of tiles reads, so that it is in L2 by then: a few lines
// in each of its turns.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
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

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
