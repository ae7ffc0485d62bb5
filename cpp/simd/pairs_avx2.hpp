// pairs_avx2.hpp: eight sums of products of two int16 each, with a multiply-add and an addition.
#pragma once

#include <immintrin.h>

#include "simd/inline.hpp"

namespace fastconv::avx2_pairs {

struct Pairs {
  static constexpr int bytes = 32;
  static constexpr int words = 6;  // that a tile of sums broadcasts
  __m256i v;

  static FASTCONV_INLINE Pairs zero() { return {_mm256_setzero_si256()}; }
  static FASTCONV_INLINE Pairs load(const char* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static FASTCONV_INLINE Pairs broadcast(int word) { return {_mm256_set1_epi32(word)}; }
  FASTCONV_INLINE void store(char* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }

  // Modulo 2^32, where two times 2^15 * 2^15 wrap, too.
  static FASTCONV_INLINE void add_shorts(Pairs& acc, Pairs x, Pairs w) {
    acc.v = _mm256_add_epi32(acc.v, _mm256_madd_epi16(x.v, w.v));
  }
};

}  // namespace fastconv::avx2_pairs
