// Products of tiles with dot-product instructions (AVX-512 VNNI: four bytes; BF16: two bfloat16):
// lanes are output channels, the channels of a position are broadcast, as in outer_product.hpp.
//
//                  w: 16 outputs x 4 bytes    w: the next 16
//   x p0 4 bytes        acc                       acc
//   x p1                acc                       acc
//   ...  p7             acc                       acc
#pragma once

#include <cstdint>

#include "kernels/table.hpp"
#include "simd/vec_avx512.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// As simd/vec_avx512.hpp does it, so that GCC neither copies nor spills accumulators.
template <TileProduct P>
FASTCONV_INLINE void add_dots(__m512i& acc, __m512i x, __m512i w) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
  if constexpr (P == TileProduct::bytes)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
  else
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
#else
  if constexpr (P == TileProduct::bytes)
    acc = _mm512_dpbusd_epi32(acc, x, w);
  else
    acc = _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(acc), (__m512bh)x, (__m512bh)w));
#endif
}

inline constexpr int kDotPixels = 8;

// Pixels lie anywhere: none is computed in vain between the rows of a small picture.
template <TileProduct P, int Vectors>
FASTCONV_NOINLINE void dots_block(const TileProductArgs& a, const std::int32_t* pixel, char* to) {
  __m512i acc[kDotPixels][Vectors];
  const char* x[kDotPixels];
  FASTCONV_UNROLL
  for (int p = 0; p < kDotPixels; ++p) {
    x[p] = a.x + std::int64_t{64} * pixel[p];
    FASTCONV_UNROLL
    for (int v = 0; v < Vectors; ++v) acc[p][v] = _mm512_setzero_si512();
  }
  const char* w = a.w;
  for (std::int64_t s = 0; s < a.steps; ++s, w += Vectors * kTileBytes) {
    const std::int64_t at = std::int64_t{64} * a.step[s];
    for (int g = 0; g < 64; g += 4) {
      __m512i weights[Vectors];
      FASTCONV_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        weights[v] = _mm512_loadu_si512(w + v * kTileBytes + g * 16);
        FASTCONV_IN_REGISTER(weights[v]);
      }
      FASTCONV_UNROLL
      for (int p = 0; p < kDotPixels; ++p) {
        int word;
        __builtin_memcpy(&word, x[p] + (at + g), sizeof word);
        __m512i broadcast = _mm512_set1_epi32(word);
        FASTCONV_IN_REGISTER(broadcast);
        FASTCONV_UNROLL
        for (int v = 0; v < Vectors; ++v) add_dots<P>(acc[p][v], broadcast, weights[v]);
      }
    }
  }
  FASTCONV_UNROLL
  for (int p = 0; p < kDotPixels; ++p) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vectors; ++v) _mm512_storeu_si512(to + (p * Vectors + v) * 64, acc[p][v]);
  }
}

// Positions are columns: lanes are sixteen of them, and words of eight output channels are
// broadcast.
template <TileProduct P, int Tiles>
FASTCONV_NOINLINE void dots_of_planes(const TileProductArgs& a, const char* x0, const char* x1,
                                      const char* w, char* to) {
  __m512i acc[kDotPixels][Tiles];
  FASTCONV_UNROLL
  for (int k = 0; k < kDotPixels; ++k) {
    FASTCONV_UNROLL
    for (int t = 0; t < Tiles; ++t) acc[k][t] = _mm512_setzero_si512();
  }
  for (std::int64_t s = 0; s < a.steps; ++s, w += a.vectors * kTileBytes) {
    const std::int64_t at = std::int64_t{kTileBytes} * a.step[s];
    for (int g = 0; g < 64; g += 4) {
      __m512i x[2];
      x[0] = _mm512_loadu_si512(x0 + at + g * 16);
      FASTCONV_IN_REGISTER(x[0]);
      if constexpr (Tiles == 2) {
        x[1] = _mm512_loadu_si512(x1 + at + g * 16);
        FASTCONV_IN_REGISTER(x[1]);
      }
      FASTCONV_UNROLL
      for (int k = 0; k < kDotPixels; ++k) {
        int word;
        __builtin_memcpy(&word, w + k * 64 + g, sizeof word);
        __m512i weights = _mm512_set1_epi32(word);
        FASTCONV_IN_REGISTER(weights);
        FASTCONV_UNROLL
        for (int t = 0; t < Tiles; ++t) add_dots<P>(acc[k][t], x[t], weights);
      }
    }
  }
  FASTCONV_UNROLL
  for (int k = 0; k < kDotPixels; ++k) {
    FASTCONV_UNROLL
    for (int t = 0; t < Tiles; ++t) _mm512_storeu_si512(to + (k * a.tiles + t) * 64, acc[k][t]);
  }
}

template <TileProduct P, bool Rows>
void tile_product(const TileProductArgs& a) {
  char* acc = static_cast<char*>(a.acc);
  if constexpr (Rows) {
    for (std::int64_t p = 0; p < a.pixels; p += kDotPixels) {
      if (a.vectors == 2)
        dots_block<P, 2>(a, a.tile + p, acc);
      else
        dots_block<P, 1>(a, a.tile + p, acc);
      acc += kDotPixels * a.vectors * 64;
    }
  } else {
    for (std::int64_t t = 0; t < a.tiles; t += 2) {
      const char* const x0 = a.x + std::int64_t{kTileBytes} * a.tile[t];
      for (std::int64_t k = 0; k < a.vectors * kTileRows; k += kDotPixels) {
        const char* const w = a.w + k * 64;
        char* const to = acc + (k * a.tiles + t) * 64;
        if (t + 1 < a.tiles)
          dots_of_planes<P, 2>(a, x0, a.x + std::int64_t{kTileBytes} * a.tile[t + 1], w, to);
        else
          dots_of_planes<P, 1>(a, x0, x0, w, to);
      }
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
