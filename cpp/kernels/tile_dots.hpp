// Products of tiles with dot-product instructions (VNNI: four bytes, two int16; BF16: two bfloat16;
// without them the multiply-add of two int16 and an addition): one operand lies in the lanes, words
// of four bytes of the other are broadcast, as in outer_product.hpp.
//
//                     lanes: 16 outputs x 4 bytes   the next 16
//   words: x p0           acc                           acc
//          x p1           acc                           acc
//          ...
//
// Positions as rows: lanes are output channels, words are of pixels, which lie anywhere, so that
// none is computed in vain between the rows of a small picture. Positions as columns: lanes are
// pixels, words are of output channels.
#pragma once

#include <cstdint>

#include "kernels/table.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <TileProduct P, class V>
FASTCONV_INLINE void add_dots(V& acc, V x, V w) {
  if constexpr (P == TileProduct::bytes)
    V::add_bytes(acc, x, w);
  else if constexpr (P == TileProduct::shorts)
    V::add_shorts(acc, x, w);
  else
    V::add_bf16(acc, x, w);
}

// Words x Tiles of sixteen sums. `place`: where each of the words' pixels lies, or of the lanes'
// each tile; x is read from there, w from one place on.
template <class V, TileProduct P, bool Rows, int Words, int Tiles>
FASTCONV_NOINLINE void dots_block(const TileProductArgs& a, const std::int32_t* place,
                                  const char* w, char* to) {
  constexpr int kParts = 64 / V::bytes, kVectors = Tiles * kParts;  // of a tile's row; of all
  constexpr int kPlaces = Rows ? Words : Tiles;
  constexpr std::int64_t kUnit = Rows ? 64 : kTileBytes;
  const char* x[kPlaces];
  FASTCONV_UNROLL
  for (int i = 0; i < kPlaces; ++i) x[i] = a.x + kUnit * place[i];
  V acc[Words][kVectors];
  FASTCONV_UNROLL
  for (int k = 0; k < Words; ++k) {
    FASTCONV_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[k][v] = V::zero();
  }
  for (std::int64_t s = 0; s < a.steps; ++s, w += a.vectors * kTileBytes) {
    const std::int64_t at = kUnit * a.step[s];
    const std::int64_t end = s < a.steps - a.short_steps ? 64 : 4 * a.words;
    for (std::int64_t g = 0; g < end; g += 4) {
      V lanes[kVectors];
      FASTCONV_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const int tile = v / kParts, part = v % kParts * V::bytes;
        lanes[v] = V::load(Rows ? w + tile * kTileBytes + part + g * 16
                                : x[Rows ? 0 : tile] + part + (at + g * 16));
        FASTCONV_IN_REGISTER(lanes[v].v);
      }
      FASTCONV_UNROLL
      for (int k = 0; k < Words; ++k) {
        int word;
        __builtin_memcpy(&word, Rows ? x[Rows ? k : 0] + (at + g) : w + k * 64 + g, sizeof word);
        V words = V::broadcast(word);
        FASTCONV_IN_REGISTER(words.v);
        FASTCONV_UNROLL
        for (int v = 0; v < kVectors; ++v)
          add_dots<P>(acc[k][v], Rows ? words : lanes[v], Rows ? lanes[v] : words);
      }
    }
  }
  const std::int64_t pitch = 64 * (Rows ? a.vectors : a.tiles);
  FASTCONV_UNROLL
  for (int k = 0; k < Words; ++k) {
    FASTCONV_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[k][v].store(to + k * pitch + v * V::bytes);
  }
}

// Sixteen words, of which the first `count` matter.
template <class V, TileProduct P, bool Rows, int Tiles>
FASTCONV_INLINE void dots_of_tile(const TileProductArgs& a, const std::int32_t* place,
                                  const char* w, char* to, std::int64_t count) {
  constexpr int kWhole = kTileRows / V::words * V::words, kRest = kTileRows - kWhole;
  const std::int64_t pitch = 64 * (Rows ? a.vectors : a.tiles);
  // A few pixels at the end of a small picture (7 x 7: one) take half a block.
  constexpr int kFew = V::words / 2;
  int k = 0;
  for (; k < kWhole && k < count; k += V::words) {
    if constexpr (Rows) {
      if (count - k <= kFew)
        return dots_block<V, P, Rows, kFew, Tiles>(a, place + k, w, to + k * pitch);
    }
    dots_block<V, P, Rows, V::words, Tiles>(a, Rows ? place + k : place, Rows ? w : w + k * 64,
                                            to + k * pitch);
  }
  if constexpr (kRest > 0)
    if (k < count)
      dots_block<V, P, Rows, kRest, Tiles>(a, Rows ? place + k : place, Rows ? w : w + k * 64,
                                           to + k * pitch);
}

// Vectors of output channels, or tiles of pixels, go by two where one is a vector.
template <class V, TileProduct P, bool Rows>
FASTCONV_INLINE void dots_of_tiles(const TileProductArgs& a, const std::int32_t* place,
                                   const char* w, char* to, std::int64_t count, bool two) {
  if constexpr (V::bytes == 64)
    if (two) return dots_of_tile<V, P, Rows, 2>(a, place, w, to, count);
  dots_of_tile<V, P, Rows, 1>(a, place, w, to, count);
}

template <class V, TileProduct P, bool Rows>
void dots_product(const TileProductArgs& a) {
  constexpr std::int64_t kAtOnce = V::bytes == 64 ? 2 : 1;
  char* const acc = static_cast<char*>(a.acc);
  if constexpr (Rows) {
    for (std::int64_t t = 0; t < a.tiles; ++t)
      for (std::int64_t v = 0; v < a.vectors; v += kAtOnce)
        dots_of_tiles<V, P, true>(a, a.tile + t * kTileRows, a.w + v * kTileBytes,
                                  acc + (t * kTileRows * a.vectors + v) * 64,
                                  a.pixels - t * kTileRows, a.vectors - v >= 2);
  } else {
    for (std::int64_t t = 0; t < a.tiles; t += kAtOnce)
      for (std::int64_t v = 0; v < a.vectors; ++v)
        dots_of_tiles<V, P, false>(a, a.tile + t, a.w + v * kTileBytes,
                                   acc + (v * kTileRows * a.tiles + t) * 64, kTileRows,
                                   a.tiles - t >= 2);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
