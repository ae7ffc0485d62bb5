// Products of tiles of bytes with AVX-VNNI: as tile_dots.hpp, in vectors of eight output channels
// and sixteen registers, so that two vectors and six pixels make a tile of sums.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/table.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

FASTCONV_INLINE void add_dots(__m256i& acc, __m256i x, __m256i w) {
#if defined(__GNUC__) && defined(__AVX2__)
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w));
#else
  acc = _mm256_dpbusd_avx_epi32(acc, x, w);
#endif
}

// Sixteen output channels.
template <int Pixels>
FASTCONV_NOINLINE void dots_block(const TileProductArgs& a, const char* x0, const char* w,
                                  char* to) {
  __m256i acc[Pixels][2];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    acc[p][0] = _mm256_setzero_si256();
    acc[p][1] = _mm256_setzero_si256();
  }
  for (std::int64_t s = 0; s < a.steps; ++s, w += a.vectors * kTileBytes) {
    const char* const x = x0 + std::int64_t{64} * a.step[s];
    for (int g = 0; g < 64; g += 4) {
      __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 16));
      __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 16 + 32));
      FASTCONV_IN_REGISTER(low);
      FASTCONV_IN_REGISTER(high);
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        int word;
        __builtin_memcpy(&word, x + p * 64 + g, sizeof word);
        __m256i pixel = _mm256_set1_epi32(word);
        FASTCONV_IN_REGISTER(pixel);
        add_dots(acc[p][0], pixel, low);
        add_dots(acc[p][1], pixel, high);
      }
    }
  }
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    auto* const row = reinterpret_cast<__m256i*>(to + p * a.vectors * 64);
    _mm256_storeu_si256(row, acc[p][0]);
    _mm256_storeu_si256(row + 1, acc[p][1]);
  }
}

inline void tile_product(const TileProductArgs& a) {
  char* acc = static_cast<char*>(a.acc);
  const std::int64_t row = a.vectors * 64;
  for (std::int64_t t = 0; t < a.tiles; ++t, acc += kTileRows * row) {
    const char* const x = a.x + std::int64_t{64} * a.tile[t];
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      const char* const w = a.w + v * kTileBytes;
      char* const to = acc + v * 64;
      dots_block<6>(a, x, w, to);
      dots_block<6>(a, x + 6 * 64, w, to + 6 * row);
      dots_block<4>(a, x + 12 * 64, w, to + 12 * row);
    }
  }
}

// Positions are columns: lanes are eight of them, half a tile, and words of output channels are
// broadcast.
template <int Channels>
FASTCONV_NOINLINE void dots_of_planes(const TileProductArgs& a, const char* x0, const char* w,
                                      char* to) {
  __m256i acc[Channels][2];
  FASTCONV_UNROLL
  for (int k = 0; k < Channels; ++k) {
    acc[k][0] = _mm256_setzero_si256();
    acc[k][1] = _mm256_setzero_si256();
  }
  for (std::int64_t s = 0; s < a.steps; ++s, w += a.vectors * kTileBytes) {
    const char* const x = x0 + std::int64_t{kTileBytes} * a.step[s];
    for (int g = 0; g < 64; g += 4) {
      __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + g * 16));
      __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + g * 16 + 32));
      FASTCONV_IN_REGISTER(low);
      FASTCONV_IN_REGISTER(high);
      FASTCONV_UNROLL
      for (int k = 0; k < Channels; ++k) {
        int word;
        __builtin_memcpy(&word, w + k * 64 + g, sizeof word);
        __m256i weights = _mm256_set1_epi32(word);
        FASTCONV_IN_REGISTER(weights);
        add_dots(acc[k][0], low, weights);
        add_dots(acc[k][1], high, weights);
      }
    }
  }
  FASTCONV_UNROLL
  for (int k = 0; k < Channels; ++k) {
    auto* const row = reinterpret_cast<__m256i*>(to + k * a.tiles * 64);
    _mm256_storeu_si256(row, acc[k][0]);
    _mm256_storeu_si256(row + 1, acc[k][1]);
  }
}

inline void tile_product_of_planes(const TileProductArgs& a) {
  char* const acc = static_cast<char*>(a.acc);
  const std::int64_t row = a.tiles * 64;
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    const char* const x = a.x + std::int64_t{kTileBytes} * a.tile[t];
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      const char* const w = a.w + v * kTileBytes;
      char* const to = acc + v * kTileRows * row + t * 64;
      dots_of_planes<6>(a, x, w, to);
      dots_of_planes<6>(a, x, w + 6 * 64, to + 6 * row);
      dots_of_planes<4>(a, x, w + 12 * 64, to + 12 * row);
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
