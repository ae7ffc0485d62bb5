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

// The words of sixteen lanes (positions of planes, or output channels).
template <TileProduct P>
FASTCONV_INLINE void cut_rows(const float* from, std::int64_t channel, std::int64_t channels,
                              int row, __mmask16 mask, std::int32_t offset, Magnitudes& magnitudes,
                              __m512i (&words)[3]) {
  constexpr int kSide = kTileSchemes[static_cast<int>(P)].channels / 16;
  __m512 x[kSide];
  FASTCONV_UNROLL
  for (int i = 0; i < kSide; ++i) {
    const std::int64_t c = row * kSide + i;
    x[i] = c < channels ? _mm512_maskz_loadu_ps(mask, from + c * channel) : _mm512_setzero_ps();
  }
  make_words<P>(x, offset, magnitudes, words);
}

// A tile whose rows are words of all lanes.
template <TileProduct P>
FASTCONV_INLINE void cut_tile(const float* from, std::int64_t channel, std::int64_t channels,
                              __mmask16 mask, std::int32_t offset, char* to, std::int64_t to_part,
                              Magnitudes& magnitudes) {
  for (int row = 0; row < 16; ++row) {
    __m512i words[3];
    cut_rows<P>(from, channel, channels, row, mask, offset, magnitudes, words);
    FASTCONV_UNROLL
    for (int s = 0; s < kTileSchemes[static_cast<int>(P)].parts; ++s)
      _mm512_storeu_si512(to + s * to_part + row * 64, words[s]);
  }
}

// A tile whose rows are all words of one of `count` lanes. Words are made first, so that fewer
// vectors are turned.
template <TileProduct P>
FASTCONV_INLINE void cut_turned(const float* from, std::int64_t channel, std::int64_t channels,
                                std::int64_t count, std::int32_t offset, char* to,
                                std::int64_t to_part, Magnitudes& magnitudes) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const __mmask16 mask = first_lanes_16(static_cast<int>(count));
  avx512::F32 words[kScheme.parts][16];
  for (int row = 0; row < 16; ++row) {
    __m512i word[3];
    cut_rows<P>(from, channel, channels, row, mask, offset, magnitudes, word);
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s) words[s][row].v = _mm512_castsi512_ps(word[s]);
  }
  for (int s = 0; s < kScheme.parts; ++s) {
    avx512::F32::transpose(words[s]);
    for (std::int64_t p = 0; p < count; ++p)
      _mm512_storeu_ps(reinterpret_cast<float*>(to + s * to_part + p * 64), words[s][p].v);
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

// Positions that are rows of tiles are turned, and so are weights that are.
template <TileProduct P, bool Turned>
void tile_positions(const TilePositionsArgs& a) {
  const auto* const from = static_cast<const float*>(a.from);
  Magnitudes magnitudes = Magnitudes::none();
  if (Turned && a.channel == 1) {
    for (std::int64_t p = 0; p < a.positions; ++p)
      cut_position<P>(a, from + p * a.position, a.to + p * 64, magnitudes);
  } else {
    for (std::int64_t p = 0; p < a.positions; p += 16) {
      const std::int64_t count = a.positions - p < 16 ? a.positions - p : 16;
      if constexpr (Turned)
        cut_turned<P>(from + p, a.channel, a.channels, count, a.offset, a.to + p * 64, a.to_part,
                      magnitudes);
      else
        cut_tile<P>(from + p, a.channel, a.channels, first_lanes_16(static_cast<int>(count)),
                    a.offset, a.to + p * 64, a.to_part, magnitudes);
    }
  }
  if constexpr (P != TileProduct::bytes) magnitudes.widen(a.extremes);
}

template <TileProduct P, bool Turned>
void tile_weights(const TileWeightsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const auto* const from = static_cast<const float*>(a.from);
  const std::int64_t width = a.vectors * 16;
  Magnitudes magnitudes = Magnitudes::none();
  for (std::int64_t tap = 0; tap < a.taps; ++tap) {
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      const float* const w = from + tap * width + v * 16;
      char* const to = a.to + (tap * kScheme.parts * a.vectors + v) * kTileBytes;
      if constexpr (Turned)
        cut_turned<P>(w, a.taps * width, a.channels, 16, 0, to, a.vectors * kTileBytes, magnitudes);
      else
        cut_tile<P>(w, a.taps * width, a.channels, 0xffff, 0, to, a.vectors * kTileBytes,
                    magnitudes);
    }
  }
  if constexpr (P != TileProduct::bytes) magnitudes.widen(a.extremes);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
