// Input and weights into the parts that products of tiles take (kernels/tile_portable.hpp), with
// AVX-512: sixteen channels of sixteen positions are turned in registers, then cut.
#pragma once

#include <cstdint>

#include "kernels/table.hpp"
#include "simd/vec_avx512.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

using avx512::first_lanes_16;

// The upper half of each float, which is a bfloat16.
template <bool Nearest>
FASTCONV_INLINE __m512i upper_half(__m512 x) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512i bits = _mm512_castps_si512(x);
  if constexpr (Nearest) {
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    bits = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
  }
  return _mm512_and_si512(bits, upper);
}

template <TileProduct P>
FASTCONV_INLINE void cut(__m512 x, __m512i* part) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  FASTCONV_UNROLL
  for (int i = 0; i < kScheme.parts; ++i) {
    part[i] = upper_half<kScheme.nearest>(x);
    if (i + 1 < kScheme.parts) x = _mm512_sub_ps(x, _mm512_castsi512_ps(part[i]));
  }
}

// Extremes of floats, a lane each.
struct Magnitudes {
  __m512i least, most;

  static FASTCONV_INLINE Magnitudes none() {
    return {_mm512_set1_epi32(-1), _mm512_setzero_si512()};
  }
  FASTCONV_INLINE void add(__m512 x) {
    const __m512i bits =
        _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
    least = _mm512_min_epu32(least, _mm512_sub_epi32(bits, _mm512_set1_epi32(1)));
    most = _mm512_max_epu32(most, bits);
  }
  FASTCONV_INLINE void widen(Extremes* to) const {
    std::uint32_t low[16], high[16];
    _mm512_storeu_si512(low, least);
    _mm512_storeu_si512(high, most);
    for (int i = 0; i < 16; ++i) {
      if (low[i] < to->least) to->least = low[i];
      if (high[i] > to->most) to->most = high[i];
    }
  }
};

// Channels [first, first + 16) of sixteen positions; those beyond the last are zero.
FASTCONV_INLINE void load_square(const TilePositionsArgs& a, const float* from, std::int64_t first,
                                 std::int64_t positions, __m512 (&r)[16]) {
  if (a.channel == 1) {
    const std::int64_t channels = a.channels - first;
    const __mmask16 mask =
        channels <= 0 ? 0 : first_lanes_16(channels < 16 ? static_cast<int>(channels) : 16);
    FASTCONV_UNROLL
    for (int p = 0; p < 16; ++p)
      r[p] = p < positions ? _mm512_maskz_loadu_ps(mask, from + p * a.position + first)
                           : _mm512_setzero_ps();
    return;
  }
  const __mmask16 mask = first_lanes_16(static_cast<int>(positions));
  avx512::F32 rows[16];
  FASTCONV_UNROLL
  for (int c = 0; c < 16; ++c)
    rows[c].v = first + c < a.channels
                    ? _mm512_maskz_loadu_ps(mask, from + (first + c) * a.channel)
                    : _mm512_setzero_ps();
  avx512::F32::transpose(rows);
  FASTCONV_UNROLL
  for (int p = 0; p < 16; ++p) r[p] = rows[p].v;
}

template <TileProduct P>
void tile_positions(const TilePositionsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr int kQuarter = 16 * 64 / kScheme.channels;  // bytes of sixteen channels
  const auto* const from = static_cast<const float*>(a.from);
  Magnitudes magnitudes = Magnitudes::none();
  for (std::int64_t p = 0; p < a.positions; p += 16) {
    const std::int64_t count = a.positions - p < 16 ? a.positions - p : 16;
    for (int first = 0; first < kScheme.channels; first += 16) {
      __m512 r[16];
      load_square(a, from + p * a.position, first, count, r);
      char* to = a.to + p * 64 + first / 16 * kQuarter;
      for (std::int64_t i = 0; i < count; ++i, to += 64) {
        if constexpr (P == TileProduct::bytes) {
          const __m512i x =
              _mm512_add_epi32(_mm512_castps_si512(r[i]), _mm512_set1_epi32(a.offset));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x));
        } else {
          __m512i part[3];
          cut<P>(r[i], part);
          magnitudes.add(r[i]);
          FASTCONV_UNROLL
          for (int s = 0; s < kScheme.parts; ++s)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + s * a.to_part),
                                _mm512_cvtepi32_epi16(_mm512_srli_epi32(part[s], 16)));
        }
      }
    }
  }
  if constexpr (P != TileProduct::bytes) magnitudes.widen(a.extremes);
}

template <TileProduct P>
void tile_weights(const TileWeightsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr int kSide = kScheme.channels / 16;
  const auto* const from = static_cast<const float*>(a.from);
  Magnitudes magnitudes = Magnitudes::none();
  for (std::int64_t tap = 0; tap < a.taps; ++tap) {
    char* const to = a.to + tap * kScheme.parts * a.vectors * kTileBytes;
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      for (int row = 0; row < 16; ++row) {
        __m512i words[3] = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                            _mm512_setzero_si512()};
        FASTCONV_UNROLL
        for (int i = 0; i < kSide; ++i) {
          const std::int64_t c = row * kSide + i;
          if (c >= a.channels) continue;
          const __m512 w = _mm512_loadu_ps(from + ((c * a.taps + tap) * a.vectors + v) * 16);
          if constexpr (P == TileProduct::bytes) {
            const __m512i byte =
                _mm512_and_si512(_mm512_castps_si512(w), _mm512_set1_epi32(0xff));
            words[0] = _mm512_or_si512(words[0], _mm512_sllv_epi32(byte, _mm512_set1_epi32(8 * i)));
          } else {
            __m512i part[3];
            cut<P>(w, part);
            magnitudes.add(w);
            FASTCONV_UNROLL
            for (int s = 0; s < kScheme.parts; ++s)
              words[s] = _mm512_or_si512(words[s],
                                         i == 0 ? _mm512_srli_epi32(part[s], 16) : part[s]);
          }
        }
        FASTCONV_UNROLL
        for (int s = 0; s < kScheme.parts; ++s)
          _mm512_storeu_si512(to + (s * a.vectors + v) * kTileBytes + row * 64, words[s]);
      }
    }
  }
  if constexpr (P != TileProduct::bytes) magnitudes.widen(a.extremes);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
