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
#include <type_traits>

#include "kernels/lines_ahead.hpp"
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

// What is asked, and what is asked for beside it.
struct DotsCall : TileProductArgs {
  mutable LinesAhead ahead;

  // `turns`: steps of all blocks or, where positions are columns, blocks.
  FASTCONV_INLINE DotsCall(const TileProductArgs& a, std::int64_t turns)
      : TileProductArgs(a), ahead(a.upcoming, turns) {}
};

// Passes over the weights that a block takes: by two vectors, where one is a vector.
template <class V>
FASTCONV_INLINE std::int64_t dots_passes(std::int64_t vectors) {
  return V::bytes == 64 ? (vectors + 1) / 2 : vectors;
}

// The steps of a block: those of `order`, or all.
struct DotsSteps {
  const std::int32_t* order;
  std::int64_t count;

  FASTCONV_INLINE std::int64_t operator[](std::int64_t s) const {
    return order != nullptr ? order[s] : s;
  }
};

// Words x Tiles of sixteen sums. `place`: where each of the words' pixels lies, or of the lanes'
// each tile; x is read from there, w from one place on. The sums of word k go to row[k].
template <class V, TileProduct P, bool Rows, int Words, int Tiles>
FASTCONV_NOINLINE void dots_block(const DotsCall& a, DotsSteps steps, const std::int32_t* place,
                                  const char* w, char* to, std::int64_t pitch, const char* begin,
                                  const std::int32_t* row) {
  constexpr int kParts = 64 / V::bytes, kVectors = Tiles * kParts;  // of a tile's row; of all
  constexpr int kPlaces = Rows ? Words : Tiles;
  constexpr std::int64_t kUnit = Rows ? 64 : kTileBytes;
  const char* x[kPlaces];
  FASTCONV_UNROLL
  for (int i = 0; i < kPlaces; ++i) x[i] = a.x + kUnit * place[Rows ? row[i] : i];
  // Offsets for sums that go on are made for these alone: kept for the stores they cost more.
  std::int64_t before = pitch;
  FASTCONV_OPAQUE_POINTER(before);
  V acc[Words][kVectors];
  FASTCONV_UNROLL
  for (int k = 0; k < Words; ++k) {
    FASTCONV_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      if (begin == nullptr)
        acc[k][v] = V::zero();
      else if constexpr (!is_integer(P))
        acc[k][v] = V::load(begin + (Rows ? row[k] : k) * before + v * V::bytes);
      else if constexpr (Rows)
        acc[k][v] = V::load(begin + v * V::bytes);
      else
        acc[k][v] = V::broadcast(reinterpret_cast<const std::int32_t*>(begin)[k]);
    }
  }
  // Read anew for each step: GCC keeps what the inner loop leaves no registers for in those of
  // vectors, and moves it back and forth. (Of one vector, whose steps are short, that is faster.)
  const DotsCall* all = &a;
  for (std::int64_t i = 0; i < steps.count; ++i) {
    if constexpr (Tiles == 2) FASTCONV_OPAQUE_POINTER(all);
    if constexpr (Rows) all->ahead.turn();
    const std::int64_t s = Rows ? steps[i] : i;
    const char* const filters = w + s * all->vectors * kTileBytes;
    const std::int64_t at = kUnit * all->step[s];
    const std::int64_t end = s < all->steps - all->short_steps ? 64 : 4 * all->words;
    for (std::int64_t g = 0; g < end; g += 4) {
      V lanes[kVectors];
      FASTCONV_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const int tile = v / kParts, part = v % kParts * V::bytes;
        lanes[v] = V::load(Rows ? filters + tile * kTileBytes + part + g * 16
                                : x[Rows ? 0 : tile] + part + (at + g * 16));
        FASTCONV_IN_REGISTER(lanes[v].v);
      }
      FASTCONV_UNROLL
      for (int k = 0; k < Words; ++k) {
        int word;
        __builtin_memcpy(&word, Rows ? x[Rows ? k : 0] + (at + g) : filters + k * 64 + g,
                         sizeof word);
        V words = V::broadcast(word);
        FASTCONV_IN_REGISTER(words.v);
        FASTCONV_UNROLL
        for (int v = 0; v < kVectors; ++v)
          add_dots<P>(acc[k][v], Rows ? words : lanes[v], Rows ? lanes[v] : words);
      }
    }
  }
  FASTCONV_UNROLL
  for (int k = 0; k < Words; ++k) {
    char* const sums = to + (Rows ? row[k] : k) * pitch;
    FASTCONV_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[k][v].store(sums + v * V::bytes);
  }
}

// Pixels of a block, and what goes for all of them.
struct DotsPixels {
  const std::int32_t* pixel;
  std::int64_t count;
  DotsSteps steps;
  std::int64_t pitch;
  const std::int32_t* begin;
};

// What sums begin with: of integers what is given for output channel `k`, of floats those that are
// there. One pointer for both, since more leaves sums no registers.
template <TileProduct P>
FASTCONV_INLINE const char* begin_of(const TileProductArgs& a, const std::int32_t* begin,
                                     std::int64_t k, const char* sums) {
  if constexpr (is_integer(P))
    return begin == nullptr ? nullptr : reinterpret_cast<const char*>(begin + k);
  return a.accumulate ? sums : nullptr;
}

// In the narrowest tile that holds them; sixteen output channels from vector `v` on, or more.
template <class V, TileProduct P, int Tiles, int Words = V::words>
FASTCONV_INLINE void dots_of_pixels(const DotsCall& a, const DotsPixels& p, std::int64_t v) {
  if constexpr (Words > V::words / 2)
    if (p.count < Words) return dots_of_pixels<V, P, Tiles, Words - 1>(a, p, v);
  char* const to = static_cast<char*>(a.acc) + v * 64;
  dots_block<V, P, true, Words, Tiles>(a, p.steps, a.tile, a.w + v * kTileBytes, to, p.pitch,
                                       begin_of<P>(a, p.begin, v * kTileRows, to), p.pixel);
}

// Vectors of output channels go by two where one is a vector.
template <class V, TileProduct P>
FASTCONV_INLINE void dots_of_panel(const DotsCall& a, const DotsPixels& p) {
  std::int64_t v = 0;
  if constexpr (V::bytes == 64)
    for (; v + 2 <= a.vectors; v += 2) dots_of_pixels<V, P, 2>(a, p, v);
  for (; v < a.vectors; ++v) dots_of_pixels<V, P, 1>(a, p, v);
}

template <class V, TileProduct P>
FASTCONV_INLINE void dots_by_rows(const TileProductArgs& args) {
  const std::int64_t pitch = args.pitch != 0 ? args.pitch : 64 * args.vectors;
  if (args.blocks != nullptr) {
    const TileBlocks& all = *args.blocks;
    std::int64_t turns = 0;
    for (std::int64_t i = 0; i < all.count; ++i) turns += all.block[i].steps;
    const DotsCall a(args, turns * dots_passes<V>(args.vectors));
    for (std::int64_t i = 0; i < all.count; ++i) {
      const TileBlock& block = all.block[i];
      const std::int64_t begin = block.kind * a.vectors * kTileRows;
      dots_of_panel<V, P>(
          a, {all.pixel + block.pixel,
              block.pixels,
              {block.steps == a.steps ? nullptr : all.order + block.order, block.steps},
              pitch,
              a.begin == nullptr ? nullptr : a.begin + begin});
    }
    return;
  }
  const DotsCall a(
      args, (args.pixels + V::words - 1) / V::words * args.steps * dots_passes<V>(args.vectors));
  for (std::int64_t p = 0; p < a.pixels; p += V::words) {
    std::int32_t pixel[V::words];
    for (std::int64_t k = 0; k < V::words; ++k)
      pixel[k] = static_cast<std::int32_t>(p + k < a.pixels ? p + k : a.pixels - 1);
    dots_of_panel<V, P>(a, {pixel, a.pixels - p, {nullptr, a.steps}, pitch, a.begin});
  }
}

// Sixteen output channels, of vector `v`, by one or two tiles of pixels from `t` on.
template <class V, TileProduct P, int Tiles>
FASTCONV_INLINE void dots_of_tile(const DotsCall& a, std::int64_t t, std::int64_t v) {
  constexpr int kWhole = kTileRows / V::words * V::words, kRest = kTileRows - kWhole;
  const std::int64_t pitch = a.pitch != 0 ? a.pitch : 64 * a.tiles;
  const DotsSteps steps = {nullptr, a.steps};
  const char* const w = a.w + v * kTileBytes;
  char* const to = static_cast<char*>(a.acc) + v * kTileRows * pitch + t * 64;
  a.ahead.turn();
  const auto block = [&](auto words, int k) FASTCONV_INLINE_LAMBDA {
    dots_block<V, P, false, decltype(words)::value, Tiles>(
        a, steps, a.tile + t, w + k * 64, to + k * pitch, pitch,
        begin_of<P>(a, a.begin, v * kTileRows + k, to + k * pitch), nullptr);
  };
  for (int k = 0; k < kWhole; k += V::words) block(std::integral_constant<int, V::words>(), k);
  if constexpr (kRest > 0) block(std::integral_constant<int, kRest>(), kWhole);
}

// Tiles of pixels go by two where one is a vector.
template <class V, TileProduct P>
FASTCONV_INLINE void dots_by_columns(const TileProductArgs& args) {
  const DotsCall a(args, dots_passes<V>(args.tiles) * args.vectors);
  std::int64_t t = 0;
  if constexpr (V::bytes == 64)
    for (; t + 2 <= a.tiles; t += 2)
      for (std::int64_t v = 0; v < a.vectors; ++v) dots_of_tile<V, P, 2>(a, t, v);
  for (; t < a.tiles; ++t)
    for (std::int64_t v = 0; v < a.vectors; ++v) dots_of_tile<V, P, 1>(a, t, v);
}

template <class V, TileProduct P, bool Rows>
void dots_product(const TileProductArgs& a) {
  if constexpr (Rows)
    dots_by_rows<V, P>(a);
  else
    dots_by_columns<V, P>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
