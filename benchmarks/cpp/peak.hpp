// peak.hpp: what one core can do at most, measured: multiply-adds on registers alone.
//
// The instruction sets above the baseline are switched on for parts of this header, so that one
// file can hold them all; call a loop only where cpu_supports() says so.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/inline.hpp"

namespace fastconv::bench {

// CPU time of this thread: other processes on the machine do not count.
inline double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Independent chains of multiply-adds: enough to hide the latency, few enough for the registers.
template <class V>
struct Chains {
  static constexpr int count = V::registers >= 32 ? 16 : 10;
};

struct Peak {
  void (*loop)(std::int64_t turns, void* to) = nullptr;
  std::int64_t per_turn = 0;  // multiply-adds

  // Multiplications and additions a second, the best of several short runs.
  double operations_per_second() const {
    constexpr std::int64_t kTurns = 200'000;
    alignas(64) char sink[64];
    double best = 1e9;
    for (int run = 0; run < 12; ++run) {
      const double start = cpu_seconds();
      loop(kTurns, sink);
      best = std::min(best, cpu_seconds() - start);
    }
    return 2.0 * static_cast<double>(kTurns) * static_cast<double>(per_turn) / best;
  }
};

template <class V>
Peak make_peak(void (*loop)(std::int64_t, void*)) {
  return {loop, std::int64_t{V::lanes} * Chains<V>::count};
}

}  // namespace fastconv::bench

// The compiler must not know the value of x from one turn to the next.
#if defined(__x86_64__)
#define FASTCONV_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#else
#define FASTCONV_OPAQUE(x) __asm__ volatile("" : "+w"(x))
#endif

#define FASTCONV_BENCH_ISA scalar
#include "simd/vec_scalar.hpp"
// In this order: the loop needs the vectors.
#include "peak_loop.hpp"
#undef FASTCONV_BENCH_ISA

#if defined(__aarch64__)
#define FASTCONV_BENCH_ISA neon
#include "simd/vec_neon.hpp"
// In this order: the loop needs the vectors.
#include "peak_loop.hpp"
#undef FASTCONV_BENCH_ISA
#endif

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define FASTCONV_BENCH_ISA avx2
#include "simd/vec_avx2.hpp"
// In this order: the loop needs the vectors.
#include "peak_loop.hpp"
#undef FASTCONV_BENCH_ISA
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl")
#endif
#define FASTCONV_BENCH_ISA avx512
#include "simd/vec_avx512.hpp"
// In this order: the loop needs the vectors.
#include "peak_loop.hpp"
#undef FASTCONV_BENCH_ISA
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#undef FASTCONV_OPAQUE

namespace fastconv::bench {

// The peak of an instruction set for element type T.
template <class T>
Peak peak_of(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx2") return avx2::peak<T>(true);
  if (isa == "avx512" || isa == "amx") return avx512::peak<T>(true);
#elif defined(__aarch64__)
  if (isa == "neon") return neon::peak<T>(true);
#endif
  (void)isa;
  return scalar::peak<T>(false);
}

}  // namespace fastconv::bench
