// Input and weights into the parts that products of tiles take (kernels/tile_portable.hpp), with
// AVX-512: sixteen channels of sixteen positions are turned in registers, then cut.
#pragma once

#include <cstdint>

#include "kernels/table.hpp"
#include "kernels/tile_integers.hpp"
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

// Parts of each element, in the upper halves of words.
template <TileProduct P>
FASTCONV_INLINE void cut(__m512 x, __m512i* part) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  if constexpr (P == TileProduct::halves) {
    const __m256i half = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    part[0] = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    return;
  }
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

// What one lane of a product takes, of two channels whose elements are in x: a word for each part.
template <TileProduct P>
FASTCONV_INLINE void pair_words(const __m512 (&x)[2], Magnitudes& magnitudes, __m512i (&words)[3]) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  FASTCONV_UNROLL
  for (int i = 0; i < 2; ++i) {
    __m512i part[3];
    cut<P>(x[i], part);
    magnitudes.add(x[i]);
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s)
      words[s] = i == 0 ? _mm512_srli_epi32(part[s], 16) : _mm512_or_si512(words[s], part[s]);
  }
}

// From the first to the last of so many elements, every second of which is meant.
FASTCONV_INLINE __mmask32 every_second(__mmask16 first_lanes) {
  const std::uint64_t edge = std::uint64_t{first_lanes} + 1;
  return static_cast<__mmask32>(edge * edge / 2 - 1);
}

// Four channels of sixteen bytes each:
//
//   a0 .. a15 | b0 .. b15 | c0 .. c15 | d0 .. d15
//   a0-3 b0-3 c0-3 d0-3 | a4-7 ...                    words exchanged between quarters
//   a0 b0 c0 d0 a1 b1 ...                             bytes within them
// Or of every second byte.
FASTCONV_INLINE __m512i integer_words(const WordSources<TileProduct::bytes>& from, __mmask16 mask,
                                      bool second) {
  const auto load = [&](int i) FASTCONV_INLINE_LAMBDA {
    if (!second) return _mm_maskz_loadu_epi8(mask, from.at[i]);
    if (from.at[i] == reinterpret_cast<const std::uint8_t*>(kNoChannel)) return _mm_setzero_si128();
    return _mm256_cvtepi16_epi8(_mm256_maskz_loadu_epi8(every_second(mask), from.at[i]));
  };
  __m512i x = _mm512_castsi128_si512(load(0));
  x = _mm512_inserti32x4(x, load(1), 1);
  x = _mm512_inserti32x4(x, load(2), 2);
  x = _mm512_inserti32x4(x, load(3), 3);
  x = _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
  const __m512i bytes = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
  return _mm512_shuffle_epi8(x, bytes);
}
FASTCONV_INLINE __m512i integer_words(const WordSources<TileProduct::shorts>& from, __mmask16 mask,
                                      bool second) {
  const auto load = [&](int i) FASTCONV_INLINE_LAMBDA {
    if (!second) return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from.at[i]));
    if (from.at[i] == kNoChannel) return _mm512_setzero_si512();
    return _mm512_and_si512(_mm512_maskz_loadu_epi16(every_second(mask), from.at[i]),
                            _mm512_set1_epi32(0xffff));
  };
  const __m512i low = load(0), high = load(1);
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

FASTCONV_INLINE __m512 load_lanes(const float* from, __mmask16 mask, bool second) {
  if (!second) return _mm512_maskz_loadu_ps(mask, from);
  const __mmask32 both = every_second(mask);
  return _mm512_permutex2var_ps(
      _mm512_maskz_loadu_ps(static_cast<__mmask16>(both), from),
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      _mm512_maskz_loadu_ps(static_cast<__mmask16>(both >> 16), from + 16));
}

// Word `row` of sixteen lanes: positions from `p` on that lie side by side, or output channels.
template <TileProduct P>
FASTCONV_INLINE void cut_words(const TilePositionsArgs& a, std::int64_t p, int row, __mmask16 mask,
                               Magnitudes& magnitudes, __m512i (&words)[3]) {
  if constexpr (is_integer(P)) {
    const __m512i offset = _mm512_set1_epi32(static_cast<int>(offset_word(a.offset)));
    words[0] =
        _mm512_xor_si512(integer_words(WordSources<P>(a, row, p), mask, a.position == 2), offset);
  } else {
    __m512 x[2];
    FASTCONV_UNROLL
    for (int i = 0; i < 2; ++i) {
      const std::int64_t c = row * 2 + i;
      x[i] = c < a.channels
                 ? load_lanes(static_cast<const float*>(a.from) + a.channel_at(c) + p * a.position,
                              mask, a.position == 2)
                 : _mm512_setzero_ps();
    }
    pair_words<P>(x, magnitudes, words);
  }
}

// A tile whose rows are words of all lanes.
template <TileProduct P>
FASTCONV_INLINE void cut_tile(const TilePositionsArgs& a, std::int64_t p, __mmask16 mask, char* to,
                              std::int64_t to_part, Magnitudes& magnitudes) {
  const int rows = is_integer(P) ? word_rows<P>(a.channels) : 16;
  for (int row = 0; row < rows; ++row) {
    __m512i words[3];
    cut_words<P>(a, p, row, mask, magnitudes, words);
    FASTCONV_UNROLL
    for (int s = 0; s < kTileSchemes[static_cast<int>(P)].parts; ++s)
      _mm512_storeu_si512(to + s * to_part + row * 64, words[s]);
  }
}

// Four words of each of `count` lanes, from word `row` on.
template <TileProduct P>
FASTCONV_INLINE void cut_four_turned(const TilePositionsArgs& a, std::int64_t p, int row,
                                     __mmask16 mask, std::int64_t count, char* to,
                                     Magnitudes& magnitudes) {
  __m512 block[4];
  FASTCONV_UNROLL
  for (int i = 0; i < 4; ++i) {
    __m512i word[3];
    cut_words<P>(a, p, row + i, mask, magnitudes, word);
    block[i] = _mm512_castsi512_ps(word[0]);
  }
  avx512::transpose_blocks(block[0], block[1], block[2], block[3]);
  if (count == 16) {
    const auto store = [&](int l, __m128 words) FASTCONV_INLINE_LAMBDA {
      _mm_storeu_ps(reinterpret_cast<float*>(to + l * 64), words);
    };
    FASTCONV_UNROLL
    for (int i = 0; i < 4; ++i) {
      store(i, _mm512_extractf32x4_ps(block[i], 0));
      store(i + 4, _mm512_extractf32x4_ps(block[i], 1));
      store(i + 8, _mm512_extractf32x4_ps(block[i], 2));
      store(i + 12, _mm512_extractf32x4_ps(block[i], 3));
    }
    return;
  }
  alignas(64) float turned[4][16];
  FASTCONV_UNROLL
  for (int i = 0; i < 4; ++i) _mm512_storeu_ps(turned[i], block[i]);
  for (std::int64_t l = 0; l < count; ++l)
    __builtin_memcpy(to + l * 64, turned[l % 4] + l / 4 * 4, 16);
}

// A tile whose rows are all words of one of `count` lanes. Words are made first, so that fewer
// vectors are turned.
template <TileProduct P>
FASTCONV_INLINE void cut_turned(const TilePositionsArgs& a, std::int64_t p, std::int64_t count,
                                char* to, std::int64_t to_part, Magnitudes& magnitudes) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const __mmask16 mask = first_lanes_16(static_cast<int>(count));
  if constexpr (is_integer(P)) {
    const int rows = word_rows<P>(a.channels);
    if (rows < 16) {
      for (int row = 0; row < rows; row += 4)
        cut_four_turned<P>(a, p, row, mask, count, to + row * 4, magnitudes);
      return;
    }
  }
  avx512::F32 words[kScheme.parts][16];
  for (int row = 0; row < 16; ++row) {
    __m512i word[3];
    cut_words<P>(a, p, row, mask, magnitudes, word);
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s) words[s][row].v = _mm512_castsi512_ps(word[s]);
  }
  for (int s = 0; s < kScheme.parts; ++s) {
    avx512::F32::transpose(words[s]);
    for (std::int64_t l = 0; l < count; ++l)
      _mm512_storeu_ps(reinterpret_cast<float*>(to + s * to_part + l * 64), words[s][l].v);
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
    __m512i part[3];
    cut<P>(x, part);
    magnitudes.add(x);
    FASTCONV_UNROLL
    for (int s = 0; s < kScheme.parts; ++s)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + s * a.to_part + first * 2),
                          _mm512_cvtepi32_epi16(_mm512_srli_epi32(part[s], 16)));
  }
}

template <TileProduct P>
FASTCONV_INLINE void cut_positions_as_they_lie(const TilePositionsArgs& a, Magnitudes& magnitudes) {
  if constexpr (is_integer(P)) {
    const std::int64_t bytes = a.channels * std::int64_t{sizeof(Integer<P>)};
    const __mmask64 mask = bytes == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bytes) - 1;
    const __m512i offset = _mm512_set1_epi32(static_cast<int>(offset_word(a.offset)));
    const auto* const from = static_cast<const Integer<P>*>(a.from);
    for (std::int64_t p = 0; p < a.positions; ++p)
      _mm512_storeu_si512(
          a.to + p * 64,
          _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, from + p * a.position), offset));
  } else {
    const auto* const from = static_cast<const float*>(a.from);
    for (std::int64_t p = 0; p < a.positions; ++p)
      cut_position<P>(a, from + p * a.position, a.to + p * 64, magnitudes);
  }
}

// Positions that are rows of tiles are turned, and so are weights that are.
template <TileProduct P, bool Turned>
void tile_positions(const TilePositionsArgs& a) {
  Magnitudes magnitudes = Magnitudes::none();
  if (Turned && a.channel == 1 && a.term == nullptr) {
    cut_positions_as_they_lie<P>(a, magnitudes);
  } else {
    for (std::int64_t p = 0; p < a.positions; p += 16) {
      const std::int64_t count = a.positions - p < 16 ? a.positions - p : 16;
      if constexpr (Turned)
        cut_turned<P>(a, p, count, a.to + p * 64, a.to_part, magnitudes);
      else
        cut_tile<P>(a, p, first_lanes_16(static_cast<int>(count)), a.to + p * 64, a.to_part,
                    magnitudes);
    }
  }
  if constexpr (!is_integer(P)) magnitudes.widen(a.extremes);
}

// Byte `from` of each word to byte `to` of it, zeros elsewhere; or of int16.
template <TileProduct P>
struct WordPicks {
  alignas(64) std::uint8_t control[kWordSide<P>][kWordSide<P>][64] = {};

  constexpr WordPicks() {
    constexpr int kBytes = 4 / kWordSide<P>;
    for (int to = 0; to < kWordSide<P>; ++to)
      for (int from = 0; from < kWordSide<P>; ++from)
        for (int i = 0; i < 64; ++i)
          control[to][from][i] = static_cast<std::uint8_t>(
              i % 4 / kBytes == to ? i % 16 / 4 * 4 + from * kBytes + i % kBytes : 0x80);
  }
};
template <TileProduct P>
inline constexpr WordPicks<P> kWordPicks{};

// The channels of a word for each tap, from as many words of what lies side by side. With a number
// of taps that is known, what is picked from a word is kept in registers.
template <TileProduct P, int Taps>
FASTCONV_INLINE void pick_words(const avx512::F32* word, std::int64_t count, char* to,
                                std::int64_t pitch) {
  constexpr int kSide = kWordSide<P>;
  const auto pick = [&](std::int64_t tap) FASTCONV_INLINE_LAMBDA {
    __m512i picked = _mm512_setzero_si512();
    FASTCONV_UNROLL
    for (int i = 0; i < kSide; ++i) {
      const std::int64_t term = i * (Taps == 0 ? count : Taps) + tap;
      picked = _mm512_or_si512(
          picked, _mm512_shuffle_epi8(_mm512_castps_si512(word[term / kSide].v),
                                      _mm512_loadu_si512(kWordPicks<P>.control[i][term % kSide])));
    }
    _mm512_storeu_si512(to + tap * pitch, picked);
  };
  if constexpr (Taps == 0) {
    for (std::int64_t tap = 0; tap < count; ++tap) pick(tap);
  } else {
    FASTCONV_UNROLL
    for (int tap = 0; tap < Taps; ++tap) pick(tap);
  }
}

// As integer_weights does it (its picture), sixteen words of sixteen rows at a time turned in
// registers: packing 512 -> 512 channels, 3 x 3, 0.38 -> 0.1 ms.
template <TileProduct P>
void turned_weights(const TileWeightsArgs& a) {
  constexpr int kSide = kWordSide<P>;
  constexpr std::int64_t kMostWords = 256;
  const std::int64_t at_once = a.taps <= 16 ? 16 : 4;  // word rows
  const std::int64_t slab = a.channels * a.taps * std::int64_t{sizeof(Integer<P>)};
  for (std::int64_t v = 0; v < a.vectors; ++v) {
    for (std::int64_t row = 0; row < 16; row += at_once) {
      // The terms of these rows, of which so many bytes are there.
      const std::int64_t words = at_once * a.taps;
      const auto* const from = static_cast<const char*>(a.from) +
                               row * kSide * a.taps * std::int64_t{sizeof(Integer<P>)};
      std::int64_t bytes = (a.channels - row * kSide) * a.taps * std::int64_t{sizeof(Integer<P>)};
      if (bytes < 0) bytes = 0;
      avx512::F32 word[kMostWords];
      for (std::int64_t w = 0; w < words; w += 16) {
        const std::int64_t left = bytes - w * 4;
        const __mmask64 mask = left >= 64  ? ~std::uint64_t{0}
                               : left <= 0 ? 0
                                           : (std::uint64_t{1} << left) - 1;
        avx512::F32 block[16];
        // The next slab's part of these rows is read soon, too far on to be expected.
        if (left > 0)
          for (std::int64_t k = 0; k < 16; ++k)
            FASTCONV_PREFETCH(from + (v * 16 + k) * a.pitch * std::int64_t{sizeof(Integer<P>)} +
                              w * 4 + slab);
        for (std::int64_t k = 0; k < 16; ++k)
          block[k].v = _mm512_castsi512_ps(
              v * 16 + k < a.rows && left > 0
                  ? _mm512_maskz_loadu_epi8(
                        mask,
                        from + (v * 16 + k) * a.pitch * std::int64_t{sizeof(Integer<P>)} + w * 4)
                  : _mm512_setzero_si512());
        avx512::F32::transpose(block);
        if (a.taps == 1) {
          for (std::int64_t r = 0; r < 16; ++r)
            block[r].store(reinterpret_cast<float*>(a.to + v * kTileBytes + r * 64));
          break;
        }
        FASTCONV_UNROLL
        for (int k = 0; k < 16; ++k) word[w + k] = block[k];
      }
      if (a.taps == 1) continue;
      for (std::int64_t r = 0; r < at_once; ++r) {
        char* const to = a.to + v * kTileBytes + (row + r) * 64;
        if (a.taps == 9)
          pick_words<P, 9>(word + r * 9, a.taps, to, a.vectors * kTileBytes);
        else
          pick_words<P, 0>(word + r * a.taps, a.taps, to, a.vectors * kTileBytes);
      }
    }
  }
}

template <TileProduct P, bool Turned>
void tile_weights(const TileWeightsArgs& a) {
  if constexpr (is_integer(P)) {
    if (Turned || a.taps > 64) return integer_weights<P, Turned>(a);
    turned_weights<P>(a);
  } else {
    constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
    Magnitudes magnitudes = Magnitudes::none();
    for (std::int64_t tap = 0; tap < a.taps; ++tap) {
      const TilePositionsArgs lanes = a.positions_of(tap);
      for (std::int64_t v = 0; v < a.vectors; ++v) {
        char* const to = a.to + (tap * kScheme.parts * a.vectors + v) * kTileBytes;
        if constexpr (Turned)
          cut_turned<P>(lanes, v * 16, 16, to, a.vectors * kTileBytes, magnitudes);
        else
          cut_tile<P>(lanes, v * 16, 0xffff, to, a.vectors * kTileBytes, magnitudes);
      }
    }
    magnitudes.widen(a.extremes);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
