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
    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
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

// What one lane of a product takes, of kSide channels whose elements are in x: a word for each
// part.
template <TileProduct P, int Channels>
FASTCONV_INLINE void make_words(const __m512 (&x)[Channels], std::int32_t offset,
                                Magnitudes& magnitudes, __m512i (&words)[3]) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  FASTCONV_UNROLL
  for (int i = 0; i < Channels; ++i) {
    __m512i part[3];
    if constexpr (P == TileProduct::bytes) {
      const __m512i value = _mm512_add_epi32(_mm512_castps_si512(x[i]), _mm512_set1_epi32(offset));
      part[0] = _mm512_sllv_epi32(_mm512_and_si512(value, _mm512_set1_epi32(0xff)),
                                  _mm512_set1_epi32(8 * i));
    } else {
      cut<P>(x[i], part);
      magnitudes.add(x[i]);
      FASTCONV_UNROLL
      for (int s = 0; s < kScheme.parts; ++s)
        if (i == 0) part[s] = _mm512_srli_epi32(part[s], 16);
    }
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s)
      words[s] = i == 0 ? part[s] : _mm512_or_si512(words[s], part[s]);
  }
}

// Planes: lanes are sixteen positions. Words are made first, so that a word is turned once.
template <TileProduct P>
FASTCONV_INLINE void cut_planes(const TilePositionsArgs& a, const float* from, char* to,
                                std::int64_t count, Magnitudes& magnitudes) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr int kSide = kScheme.channels / 16;
  const __mmask16 mask = first_lanes_16(static_cast<int>(count));
  avx512::F32 words[kScheme.parts][16];
  for (int row = 0; row < 16; ++row) {
    __m512 x[kSide];
    FASTCONV_UNROLL
    for (int i = 0; i < kSide; ++i) {
      const std::int64_t c = row * kSide + i;
      x[i] =
          c < a.channels ? _mm512_maskz_loadu_ps(mask, from + c * a.channel) : _mm512_setzero_ps();
    }
    __m512i word[3];
    make_words<P>(x, a.offset, magnitudes, word);
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s) words[s][row].v = _mm512_castsi512_ps(word[s]);
  }
  for (int s = 0; s < kScheme.parts; ++s) {
    avx512::F32::transpose(words[s]);
    for (std::int64_t p = 0; p < count; ++p)
      _mm512_storeu_ps(reinterpret_cast<float*>(to + s * a.to_part + p * 64), words[s][p].v);
  }
}

// Channels last: lanes are sixteen channels of one position, and words are made by narrowing.
template <TileProduct P>
FASTCONV_INLINE void cut_position(const TilePositionsArgs& a, const float* from, char* to,
                                  Magnitudes& magnitudes) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  for (int first = 0; first < kScheme.channels; first += 16) {
    const std::int64_t channels = a.channels - first;
    const __mmask16 mask =
        channels <= 0 ? 0 : first_lanes_16(channels < 16 ? static_cast<int>(channels) : 16);
    const __m512 x = _mm512_maskz_loadu_ps(mask, from + first);
    if constexpr (P == TileProduct::bytes) {
      const __m512i value = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(a.offset));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + first), _mm512_cvtepi32_epi8(value));
    } else {
      __m512i part[3];
      cut<P>(x, part);
      magnitudes.add(x);
      FASTCONV_UNROLL
      for (int s = 0; s < kScheme.parts; ++s)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + s * a.to_part + first * 2),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(part[s], 16)));
    }
  }
}

template <TileProduct P>
void tile_positions(const TilePositionsArgs& a) {
  const auto* const from = static_cast<const float*>(a.from);
  Magnitudes magnitudes = Magnitudes::none();
  if (a.channel == 1) {
    for (std::int64_t p = 0; p < a.positions; ++p)
      cut_position<P>(a, from + p * a.position, a.to + p * 64, magnitudes);
  } else {
    for (std::int64_t p = 0; p < a.positions; p += 16) {
      const std::int64_t count = a.positions - p < 16 ? a.positions - p : 16;
      cut_planes<P>(a, from + p, a.to + p * 64, count, magnitudes);
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
        __m512 w[kSide];
        FASTCONV_UNROLL
        for (int i = 0; i < kSide; ++i) {
          const std::int64_t c = row * kSide + i;
          w[i] = c < a.channels ? _mm512_loadu_ps(from + ((c * a.taps + tap) * a.vectors + v) * 16)
                                : _mm512_setzero_ps();
        }
        __m512i words[3];
        make_words<P>(w, 0, magnitudes, words);
        FASTCONV_UNROLL
        for (int s = 0; s < kScheme.parts; ++s)
          _mm512_storeu_si512(to + (s * a.vectors + v) * kTileBytes + row * 64, words[s]);
      }
    }
  }
  if constexpr (P != TileProduct::bytes) magnitudes.widen(a.extremes);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
