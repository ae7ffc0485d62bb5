// dots_avx.hpp: eight sums of dot products of four bytes or two int16 each, with AVX-VNNI.
#pragma once

#include <immintrin.h>

#include "simd/inline.hpp"

namespace fastconv::avx_vnni {

struct Dots {
  static constexpr int bytes = 32;
  static constexpr int words = 6;  // that a tile of sums broadcasts
  __m256i v;

  static FASTCONV_INLINE Dots zero() { return {_mm256_setzero_si256()}; }
  static FASTCONV_INLINE Dots load(const char* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static FASTCONV_INLINE Dots broadcast(int word) { return {_mm256_set1_epi32(word)}; }
  FASTCONV_INLINE void store(char* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }

  // Unsigned bytes of x, signed of w.
  static FASTCONV_INLINE void add_bytes(Dots& acc, Dots x, Dots w) {
#if defined(__GNUC__) && defined(__AVX2__)
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.v) : "x"(x.v), "x"(w.v));
#else
    acc.v = _mm256_dpbusd_avx_epi32(acc.v, x.v, w.v);
#endif
  }
  static FASTCONV_INLINE void add_shorts(Dots& acc, Dots x, Dots w) {
#if defined(__GNUC__) && defined(__AVX2__)
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc.v) : "x"(x.v), "x"(w.v));
#else
    acc.v = _mm256_dpwssd_avx_epi32(acc.v, x.v, w.v);
#endif
  }
};

}  // namespace fastconv::avx_vnni
