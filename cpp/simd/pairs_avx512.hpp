// pairs_avx512.hpp: sixteen sums of products of two int16 each, where AVX-512 comes without VNNI.
#pragma once

#include "simd/vec_avx512.hpp"

namespace fastconv::avx512_pairs {

struct Pairs {
  static constexpr int bytes = 64;
  static constexpr int words = 8;  // that a tile of sums broadcasts
  __m512i v;

  static FASTCONV_INLINE Pairs zero() { return {_mm512_setzero_si512()}; }
  static FASTCONV_INLINE Pairs load(const char* p) { return {_mm512_loadu_si512(p)}; }
  static FASTCONV_INLINE Pairs broadcast(int word) { return {_mm512_set1_epi32(word)}; }
  FASTCONV_INLINE void store(char* p) const { _mm512_storeu_si512(p, v); }

  // Modulo 2^32, where two times 2^15 * 2^15 wrap, too.
  static FASTCONV_INLINE void add_shorts(Pairs& acc, Pairs x, Pairs w) {
    acc.v = _mm512_add_epi32(acc.v, _mm512_madd_epi16(x.v, w.v));
  }
};

}  // namespace fastconv::avx512_pairs
