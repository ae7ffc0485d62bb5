// Weights where they lie, in rows of output channels, to words of tiles (kernels/tile_portable.hpp)
// with AVX-512. Rows of float32 are rounded to bfloat16 first, so that half as much is turned
// (those of bfloat16 are copied):
//
//   rounded    a0 a1 a2 b0 b1 b2 | c0 c1 c2 d0 d1 d2 | ...    channels of three taps
//   words      a0 b0  a1 b1  a2 b2 | c0 d0 ...                halves exchanged within a row
//   turned     a0 b0 of sixteen rows, a1 b1 of sixteen rows, ...
//
// Words as they come are turned sixteen by sixteen, whatever the channels and taps, and then stored
// where they belong.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/tile_cut.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Where the parts of sixteen words from word 16 v on lie, from the first of them on: a word has as
// many parts as channels, which lie a row of taps apart. For few taps one exchange within two
// vectors makes them.
template <class Index, int Parts, std::int64_t MostTaps>
struct WordExchange {
  static constexpr int kParts = 16 * Parts;                  // of a vector
  alignas(64) Index index[MostTaps][MostTaps][kParts] = {};  // [taps - 1][v]
  std::uint16_t first[MostTaps][MostTaps] = {};

  constexpr WordExchange() {
    for (std::int64_t taps = 1; taps <= MostTaps; ++taps)
      for (std::int64_t v = 0; v < taps; ++v) {
        const std::int64_t begin = Parts * taps * (16 * v / taps) + 16 * v % taps;
        first[taps - 1][v] = static_cast<std::uint16_t>(begin);
        for (std::int64_t i = 0; i < kParts; ++i) {
          const std::int64_t word = 16 * v + i / Parts;
          const std::int64_t at =
              Parts * taps * (word / taps) + word % taps + i % Parts * taps - begin;
          index[taps - 1][v][i] = static_cast<Index>(at);
        }
      }
  }
  constexpr bool fit() const {
    for (const auto& of_taps : index)
      for (const auto& of_words : of_taps)
        for (const Index i : of_words)
          if (i >= 2 * kParts) return false;
    return true;
  }
};

inline constexpr std::int64_t kFewTaps = 16;
inline constexpr WordExchange<std::uint16_t, 2, kFewTaps> kWordHalves{};
static_assert(kWordHalves.fit());

// The instruction takes denormals for zeros, while what is cut is the same everywhere: where there
// are any, rounding by the bits takes its place.
struct UpperHalves {
  alignas(64) std::uint16_t index[32] = {};

  constexpr UpperHalves() {
    for (int i = 0; i < 32; ++i) index[i] = static_cast<std::uint16_t>(2 * i + 1);
  }
};
inline constexpr UpperHalves kUpperHalves{};

template <bool Exact>
FASTCONV_INLINE __m512i rounded(__m512 low, __m512 high) {
#if defined(__AVX512BF16__)
  if constexpr (!Exact) return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#endif
  return _mm512_permutex2var_epi16(upper_half<true>(low), _mm512_loadu_si512(kUpperHalves.index),
                                   upper_half<true>(high));
}

// What is seen of weights as they are rounded: their magnitudes, or only whether all are zeros or
// normal numbers, which takes less.
struct ExactLook {
  static constexpr bool exact = true;
  Magnitudes magnitudes = Magnitudes::none();

  FASTCONV_INLINE void add(__m512 low, __m512 high) {
    magnitudes.add(low);
    magnitudes.add(high);
  }
};
#if defined(__AVX512BF16__)
struct QuickLook {
  static constexpr bool exact = false;
  __mmask16 found = 0;

  FASTCONV_INLINE void add(__m512 low, __m512 high) {
    constexpr int kDenormalsInfinitiesNaNs = 0xb9;
    found = _kor_mask16(found, _mm512_fpclass_ps_mask(low, kDenormalsInfinitiesNaNs));
    found = _kor_mask16(found, _mm512_fpclass_ps_mask(high, kDenormalsInfinitiesNaNs));
  }
};
#endif

// `count` elements and zeros behind them, to as many whole 32 as `halves` has. A row further on,
// whose place the processor cannot guess, is asked for.
template <class Look>
FASTCONV_INLINE void round_row(const std::uint16_t* from, std::int64_t count, std::int64_t halves,
                               std::int64_t ahead, std::uint16_t* to, Look& look) {
  for (std::int64_t t = 0; t < halves; t += 32) {
    const std::int64_t left = count - t;
    FASTCONV_PREFETCH(from + t + ahead);
    const __mmask32 there = left >= 32 ? ~__mmask32{0} : left <= 0 ? 0 : (1u << left) - 1;
    const __m512i x = _mm512_maskz_loadu_epi16(there, from + t);
    look.add(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
             _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(-0x10000))));
    _mm512_storeu_si512(to + t, x);
  }
}

template <class Look>
FASTCONV_INLINE void round_row(const float* from, std::int64_t count, std::int64_t halves,
                               std::int64_t ahead, std::uint16_t* to, Look& look) {
  std::int64_t t = 0;
  for (; t + 32 <= count; t += 32) {
    FASTCONV_PREFETCH(from + t + ahead);
    FASTCONV_PREFETCH(from + t + ahead + 16);
    __m512 low = _mm512_loadu_ps(from + t), high = _mm512_loadu_ps(from + t + 16);
    FASTCONV_IN_REGISTER(low);
    FASTCONV_IN_REGISTER(high);
    look.add(low, high);
    _mm512_storeu_si512(to + t, rounded<Look::exact>(low, high));
  }
  for (; t < halves; t += 32) {
    const auto mask_from = [&](std::int64_t first) FASTCONV_INLINE_LAMBDA {
      const std::int64_t left = count - first;
      return left <= 0 ? __mmask16{0} : first_lanes_16(left < 16 ? static_cast<int>(left) : 16);
    };
    const __m512 low = _mm512_maskz_loadu_ps(mask_from(t), from + t);
    const __m512 high = _mm512_maskz_loadu_ps(mask_from(t + 16), from + t + 16);
    look.add(low, high);
    _mm512_storeu_si512(to + t, rounded<Look::exact>(low, high));
  }
}

// Words [16 v, 16 v + 16) of a row of few taps.
FASTCONV_INLINE __m512i words_of_few(const std::uint16_t* row, std::int64_t taps, std::int64_t v) {
  const std::uint16_t* const from = row + kWordHalves.first[taps - 1][v];
  return _mm512_permutex2var_epi16(_mm512_loadu_si512(from),
                                   _mm512_loadu_si512(kWordHalves.index[taps - 1][v]),
                                   _mm512_loadu_si512(from + 32));
}

// Sixteen words of a pair of channels, of taps side by side.
FASTCONV_INLINE __m512i words_of_pair(const std::uint16_t* pair, std::int64_t taps) {
  const auto load = [](const std::uint16_t* from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  };
  return _mm512_or_si512(load(pair), _mm512_slli_epi32(load(pair + taps), 16));
}

inline constexpr std::int64_t kRowsAhead = 3;

// Sixteen output channels, of which `rows` are there: some slabs at once, or some pairs of the
// channels of one, as many as stay in L1.
template <class Look, class T>
FASTCONV_INLINE void turn_rows(const TileWeightsArgs& a, const T* from, std::int64_t rows, char* to,
                               Look& look) {
  constexpr std::int64_t kLine = 32, kLines = 16;  // halves; of a row
  static_assert(kMostTileRowTaps * 2 <= kLines * kLine);
  const std::int64_t taps = a.taps, pairs = (a.channels + 1) / 2;
  const std::int64_t at_once = taps <= kFewTaps ? kLines / taps * 16 : taps <= 64 ? 4 : 1;
  // An odd number of lines, the last of which is never meant.
  const std::int64_t pitch = ((2 * at_once * taps / kLine + 1) | 1) * kLine;
  alignas(64) std::uint16_t halves_of[16 * (kLines + 2) * kLine];
  const auto place = [&](std::int64_t pair, std::int64_t tap) FASTCONV_INLINE_LAMBDA {
    return reinterpret_cast<float*>(to + (pair / 16 * taps + tap) * a.vectors * kTileBytes +
                                    pair % 16 * 64);
  };
  for (std::int64_t pair = 0; pair < (pairs + 15) / 16 * 16; pair += at_once) {
    const std::int64_t first = 2 * pair * taps;
    std::int64_t count = a.channels * taps - first;
    if (count < 0) count = 0;
    std::int64_t halves = (2 * at_once * taps + kLine - 1) / kLine * kLine;
    if (count > 2 * at_once * taps) count = 2 * at_once * taps;
    // Whole slabs, of which the last may have fewer channels.
    const std::int64_t slabs = (count + 32 * taps - 1) / (32 * taps);
    if (taps <= kFewTaps) halves = slabs * 32 * taps;
    for (std::int64_t k = 0; k < 16; ++k)
      round_row(k < rows ? from + k * a.pitch + first : from, k < rows ? count : 0, halves,
                kRowsAhead * a.pitch, halves_of + k * pitch, look);
    avx512::F32 block[16];
    if (taps <= kFewTaps) {
      for (std::int64_t s = 0; s < slabs; ++s) {
        const std::uint16_t* const slab = halves_of + s * 32 * taps;
        std::int64_t tap = 0;
        float* at = place(pair + 16 * s, 0);
        for (std::int64_t v = 0; v < taps; ++v) {
          const std::uint16_t* row = slab;
          FASTCONV_UNROLL
          for (int k = 0; k < 16; ++k, row += pitch) {
            FASTCONV_OPAQUE_POINTER(row);
            block[k].v = _mm512_castsi512_ps(words_of_few(row, taps, v));
          }
          avx512::F32::transpose(block);
          FASTCONV_UNROLL
          for (int i = 0; i < 16; ++i) {
            block[i].store(at + tap * a.vectors * (kTileBytes / 4));
            if (++tap == taps) {
              tap = 0;
              at += 16;
            }
          }
        }
      }
      continue;
    }
    for (std::int64_t p = 0; p < at_once; ++p) {
      for (std::int64_t tap = 0; tap < taps; tap += 16) {
        FASTCONV_UNROLL
        for (int k = 0; k < 16; ++k)
          block[k].v =
              _mm512_castsi512_ps(words_of_pair(halves_of + k * pitch + 2 * p * taps + tap, taps));
        avx512::F32::transpose(block);
        for (std::int64_t i = 0; i < 16 && tap + i < taps; ++i)
          block[i].store(place(pair + p, tap + i));
      }
    }
  }
}

template <bool Turned, class Look, class T>
FASTCONV_INLINE Look row_weights_as(const TileWeightsArgs& a) {
  Look look;
  const std::int64_t slab = a.vectors * kTileBytes;
  for (std::int64_t v = 0; v < a.vectors; ++v) {
    const auto* const from = static_cast<const T*>(a.from) + v * 16 * a.pitch;
    const std::int64_t rows = a.rows - v * 16;
    if constexpr (Turned) {
      for (std::int64_t k = 0; k < 16; ++k) {
        char* to = a.to + v * kTileBytes + k * 64;
        for (std::int64_t c = 0; c < a.channels; c += 32, to += slab)
          round_row(k < rows ? from + k * a.pitch + c : from,
                    k >= rows             ? 0
                    : a.channels - c < 32 ? a.channels - c
                                          : 32,
                    32, kRowsAhead * a.pitch, reinterpret_cast<std::uint16_t*>(to), look);
      }
    } else {
      turn_rows(a, from, rows, a.to + v * kTileBytes, look);
    }
  }
  return look;
}

template <bool Turned>
void row_weights(const TileWeightsArgs& a) {
  if (a.halves)
    return row_weights_as<Turned, ExactLook, std::uint16_t>(a).magnitudes.widen(a.extremes);
#if defined(__AVX512BF16__)
  if (row_weights_as<Turned, QuickLook, float>(a).found == 0) return;
#endif
  row_weights_as<Turned, ExactLook, float>(a).magnitudes.widen(a.extremes);
}

#if defined(__GNUC__) && defined(__AVX512F__)
// The same of bytes, four to a word, with an exchange of bytes within two vectors (VBMI), which not
// every processor has that multiplies them: by assembly, and chosen when the program runs.
inline constexpr std::int64_t kFewByteTaps = 12;
inline constexpr WordExchange<std::uint8_t, 4, kFewByteTaps> kWordBytes{};
static_assert(kWordBytes.fit());

FASTCONV_INLINE __mmask64 first_bytes(std::int64_t count) {
  return count >= 64 ? ~std::uint64_t{0} : count <= 0 ? 0 : (std::uint64_t{1} << count) - 1;
}

// Sixteen output channels of a slab, `bytes` of each row.
template <bool OneTap>
FASTCONV_INLINE void turn_byte_rows(const TileWeightsArgs& a, const char* from, std::int64_t rows,
                                    std::int64_t bytes, char* to) {
  const std::int64_t taps = OneTap ? 1 : a.taps;
  std::int64_t tap = 0;
  for (std::int64_t v = 0; v < taps; ++v) {
    const std::int64_t first = kWordBytes.first[taps - 1][v];
    const __mmask64 low = first_bytes(bytes - first), high = first_bytes(bytes - first - 64);
    const __m512i index = _mm512_loadu_si512(kWordBytes.index[taps - 1][v]);
    const char* row = from + first;
    avx512::F32 block[16];
    FASTCONV_UNROLL
    for (int k = 0; k < 16; ++k) {
      FASTCONV_OPAQUE_POINTER(row);
      const bool there = k < rows;
      __m512i x = _mm512_maskz_loadu_epi8(there ? low : 0, row);
      FASTCONV_PREFETCH(row + kTileRows * a.taps * 4);
      if constexpr (!OneTap) {
        const __m512i y = _mm512_maskz_loadu_epi8(there ? high : 0, row + 64);
        __m512i words = index;
        __asm__("vpermi2b %2, %1, %0" : "+v"(words) : "v"(x), "v"(y));
        x = words;
      }
      block[k].v = _mm512_castsi512_ps(x);
      if (there) row += a.pitch;
    }
    avx512::F32::transpose(block);
    FASTCONV_UNROLL
    for (int i = 0; i < 16; ++i) {
      block[i].store(reinterpret_cast<float*>(to + tap * a.vectors * kTileBytes));
      if (++tap == taps) {
        tap = 0;
        to += 64;
      }
    }
  }
}

template <TileProduct P>
void byte_row_weights(const TileWeightsArgs& a) {
  const std::int64_t slab = a.taps * a.vectors * kTileBytes;
  TileWeightsArgs of = a;
  for (std::int64_t c = 0; c < a.channels; c += 64, of.to += slab) {
    of.channels = a.channels - c < 64 ? a.channels - c : 64;
    of.from = static_cast<const char*>(a.from) + c * a.taps;
    if (a.taps > kFewByteTaps) {
      tile_weights<P, false>(of);
      continue;
    }
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      const char* const from = static_cast<const char*>(of.from) + v * 16 * a.pitch;
      char* const to = of.to + v * kTileBytes;
      if (a.taps == 1)
        turn_byte_rows<true>(a, from, a.rows - v * 16, of.channels, to);
      else
        turn_byte_rows<false>(a, from, a.rows - v * 16, of.channels * a.taps, to);
    }
  }
}
#endif

// Of products that take one rounded part, with one vector of channels to a position.
template <TileProduct P, bool Turned>
constexpr auto row_weights_of() -> void (*)(const TileWeightsArgs&) {
  if constexpr (P == TileProduct::one) return &row_weights<Turned>;
#if defined(__GNUC__) && defined(__AVX512F__)
  if constexpr (P == TileProduct::bytes && !Turned) return &byte_row_weights<P>;
#endif
  return nullptr;
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
