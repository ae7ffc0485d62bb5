// dots_avx512.hpp: sixteen sums of dot products, of four bytes or two int16 (VNNI) or two bfloat16
// (BF16) each.
#pragma once

#include "simd/vec_avx512.hpp"

namespace fastconv::avx512_dots {

struct Dots {
  static constexpr int bytes = 64;
  static constexpr int words = 8;  // that a tile of sums broadcasts
  __m512i v;

  static FASTCONV_INLINE Dots zero() { return {_mm512_setzero_si512()}; }
  static FASTCONV_INLINE Dots load(const char* p) { return {_mm512_loadu_si512(p)}; }
  static FASTCONV_INLINE Dots broadcast(int word) { return {_mm512_set1_epi32(word)}; }
  FASTCONV_INLINE void store(char* p) const { _mm512_storeu_si512(p, v); }

  // Unsigned bytes of x, signed of w.
  static FASTCONV_INLINE void add_bytes(Dots& acc, Dots x, Dots w) {
    acc.v = _mm512_dpbusd_epi32(acc.v, x.v, w.v);
  }
  static FASTCONV_INLINE void add_shorts(Dots& acc, Dots x, Dots w) {
    acc.v = _mm512_dpwssd_epi32(acc.v, x.v, w.v);
  }
  static FASTCONV_INLINE void add_bf16(Dots& acc, Dots x, Dots w) {
    acc.v = _mm512_castps_si512(
        _mm512_dpbf16_ps(_mm512_castsi512_ps(acc.v), (__m512bh)x.v, (__m512bh)w.v));
  }
};

}  // namespace fastconv::avx512_dots
