// Leaves the caller's floating-point status as it was: lanes that are computed and never stored may
// raise flags that no result accounts for.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include <cstdint>

namespace fastconv {

class FloatStatus {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  FloatStatus() : saved_(_mm_getcsr()) {}
  ~FloatStatus() { _mm_setcsr(saved_); }
#elif defined(__aarch64__) && defined(__GNUC__)
  FloatStatus() { asm volatile("mrs %0, fpsr" : "=r"(saved_)); }
  ~FloatStatus() { asm volatile("msr fpsr, %0" : : "r"(saved_)); }
#else
  FloatStatus() = default;
  ~FloatStatus() {}
#endif
  FloatStatus(const FloatStatus&) = delete;
  FloatStatus& operator=(const FloatStatus&) = delete;

 private:
#if defined(__x86_64__) || defined(_M_X64)
  unsigned saved_;
#else
  std::uint64_t saved_ = 0;
#endif
};

}  // namespace fastconv
