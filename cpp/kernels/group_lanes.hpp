// Groups of few channels, channels last: lanes are input channels of several groups as they lie in
// memory, and each is multiplied by the weights of all filters of its group.
//
//   2 groups of 3 channels and 3 filters        x   a0 a1 a2   b0 b1 b2
//
//     sum 0:  its own filter                        0  1  2    0  1  2
//     sum 1:  the next one                          1  2  0    1  2  0
//     sum 2:  the one after that                    2  0  1    2  0  1
//
// So an input vector that is loaded once serves as many multiply-adds as there are filters, and
// nothing is shuffled until a sum is complete. Then each filter gathers what its group's lanes have
// for it: `route` says which lane of each sum an output takes.
//
// Tables say where pixels lie, as in channel_lanes.hpp.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/channel_lanes.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Pixels of a tile.
template <class V, int Sums>
inline constexpr int kGroupPixels = Sums == 1 ? 6 : (V::registers == 32 ? 24 : 12) / Sums;

// Most sums. With sixteen registers two pixels, or one, would share the weights of more, and groups
// of so many filters fill the short vectors of outer_product.
template <class V>
inline constexpr int kMostGroupSums = V::registers == 32 ? 8 : 4;

// One pixel; `add` adds the sums of a round as `route` says, which it moves on.
template <class V, class Add>
FASTCONV_INLINE void group_store(const GroupArgs<typename V::value_type>& g, std::int64_t pixel,
                                 Add add) {
  using T = typename V::value_type;
  T* out = g.pixels.out + pixel * g.pixels.out_pixel;
  const std::int32_t* route = g.route;
  const V low = V::load(g.low), high = V::load(g.low + V::lanes);
  FASTCONV_NO_UNROLL
  for (std::int64_t first = 0; first < g.out_channels; first += V::lanes) {
    V sum = V::zero();
    FASTCONV_NO_UNROLL
    for (std::int64_t r = 0; r < g.rounds; ++r) sum = add(sum, route);
    sum = V::add(sum, V::load(g.pixels.bias + first));
    sum = V::at_most(V::at_least(sum, low), high);
    const std::int64_t left = g.out_channels - first;
    if (left >= V::lanes) {
      sum.store(out + first);
    } else {
      sum.store(out + first, static_cast<int>(left));
    }
  }
}

// Of sums in memory: [pixels][g.sums][lanes].
template <class V>
FASTCONV_NOINLINE void group_store_all(const GroupArgs<typename V::value_type>& g,
                                       std::int64_t first, std::int64_t pixels,
                                       const typename V::value_type* sums) {
  for (std::int64_t p = 0; p < pixels; ++p, sums += g.sums * V::lanes) {
    group_store<V>(g, first + p, [&](V sum, const std::int32_t*& route) FASTCONV_INLINE_LAMBDA {
      FASTCONV_NO_UNROLL
      for (int j = 0; j < g.sums; ++j, route += V::lanes)
        sum = V::add(sum, V::routed(V::load(sums + j * V::lanes), route));
      return sum;
    });
  }
}

// Once for all tiles where that is little slower: the code of each pixel of them would be as much
// as that of its products (with AVX-512 not measured).
template <class V, int Sums, int Pixels>
FASTCONV_INLINE void group_store_tile(const GroupArgs<typename V::value_type>& g,
                                      std::int64_t first, const V (&acc)[Pixels][Sums]) {
  if constexpr (V::registers == 32) {
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      group_store<V>(g, first + p, [&](V sum, const std::int32_t*& route) FASTCONV_INLINE_LAMBDA {
        FASTCONV_UNROLL
        for (int j = 0; j < Sums; ++j, route += V::lanes)
          sum = V::add(sum, V::routed(acc[p][j], route));
        return sum;
      });
    }
  } else {
    alignas(64) typename V::value_type sums[Pixels * Sums * V::lanes];
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      FASTCONV_UNROLL
      for (int j = 0; j < Sums; ++j) acc[p][j].store(sums + (p * Sums + j) * V::lanes);
    }
    group_store_all<V>(g, first, Pixels, sums);
  }
}

// Inside: no pixel sees a border column, so that those of a kernel column lie `step` apart.
template <class V, int Pixels, int Sums, bool Inside>
FASTCONV_NOINLINE void group_tile(const GroupArgs<typename V::value_type>& g, std::int64_t first) {
  using T = typename V::value_type;
  // What is fewer is held in registers, and loaded once.
  constexpr bool kHoldsWeights = Sums <= Pixels;
  static_assert(Pixels * Sums + (kHoldsWeights ? Sums : Pixels) + 1 <= V::registers,
                "the tile spills");
  const ChannelArgs<T>& a = g.pixels;
  V acc[Pixels][Sums];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    FASTCONV_UNROLL
    for (int j = 0; j < Sums; ++j) acc[p][j] = V::zero();
  }
  const ChannelColumns columns =
      Inside ? ChannelColumns{0, a.kernel_columns} : channel_columns<Pixels>(a, first);
  const std::int64_t w_row = a.kernel_columns * Sums * V::lanes;
  for (std::int64_t u = 0; u < a.kernel_rows; ++u) {
    const std::int64_t row = a.row[u];
    const T* w = a.w + (a.order != nullptr ? a.order[u] : u) * w_row;
    w += columns.first * Sums * V::lanes;
    // A row of the border is one column of it, over and over.
    const bool seen = row != kFillRow;
    const T* const line = seen ? a.x + row : Inside ? a.fill : a.x;
    const std::int64_t pixel = !seen ? 0 : Inside ? g.step : a.stride;
    const std::int64_t step = seen ? a.dilation : 0;
    const std::int64_t* column =
        seen ? a.column + first * a.stride + columns.first * a.dilation : g.border;
    FASTCONV_NO_UNROLL
    for (std::int64_t v = columns.first; v < columns.end; ++v) {
      const std::int64_t* at = column;
      const T* x = Inside && seen ? line + *column : line;
      const auto next = [&]() FASTCONV_INLINE_LAMBDA {
        const T* const from = Inside ? x : *at == kFillRow ? a.fill : line + *at;
        if constexpr (Inside) {
          x += pixel;
        } else {
          at += pixel;
        }
        V value = V::load(from);
        FASTCONV_IN_REGISTER(value.v);
        return value;
      };
      if constexpr (kHoldsWeights) {
        V weight[Sums];
        FASTCONV_UNROLL
        for (int j = 0; j < Sums; ++j) {
          V loaded = V::load(w + j * V::lanes);
          FASTCONV_IN_REGISTER(loaded.v);
          weight[j] = loaded;
        }
        FASTCONV_UNROLL
        for (int p = 0; p < Pixels; ++p) {
          const V value = next();
          FASTCONV_UNROLL
          for (int j = 0; j < Sums; ++j) acc[p][j] = V::fma(weight[j], value, acc[p][j]);
        }
      } else {
        V value[Pixels];
        FASTCONV_UNROLL
        for (int p = 0; p < Pixels; ++p) value[p] = next();
        FASTCONV_UNROLL
        for (int j = 0; j < Sums; ++j) {
          V weight = V::load(w + j * V::lanes);
          if constexpr (Pixels > 1) FASTCONV_IN_REGISTER(weight.v);
          FASTCONV_UNROLL
          for (int p = 0; p < Pixels; ++p) acc[p][j] = V::fma(weight, value[p], acc[p][j]);
        }
      }
      column += step;
      w += Sums * V::lanes;
    }
  }
  group_store_tile<V>(g, first, acc);
}

// One filter of one channel, several kernel columns at a time.
template <class V, bool Inside, int Pixels>
FASTCONV_NOINLINE void group_strip(const GroupArgs<typename V::value_type>& g, std::int64_t first) {
  V acc[Pixels][1];
  channel_strip_sums<V, Inside, Pixels>(g.pixels, first, acc);
  group_store_tile<V>(g, first, acc);
}

// They are staged, so that none sees a border column.
template <class V, int Pixels>
FASTCONV_INLINE void group_strips(const GroupArgs<typename V::value_type>& g, std::int64_t first) {
  const std::int64_t pixels = g.pixels.pixels;
  for (; first + Pixels <= pixels; first += Pixels) group_strip<V, true, Pixels>(g, first);
  if constexpr (Pixels > 1) {
    constexpr int kNext = Pixels / 2;
    if (first == pixels) return;
    if (pixels - first > kNext && pixels >= Pixels)
      return group_strip<V, true, Pixels>(g, pixels - Pixels);
    group_strips<V, kNext>(g, first);
  }
}

// Pixels [first, end) by whole tiles, and what is left by narrower ones, the last of which may
// overlap.
template <class V, int Pixels, int Sums>
FASTCONV_NOINLINE void group_border(const GroupArgs<typename V::value_type>& g, std::int64_t first,
                                    std::int64_t end) {
  const std::int64_t pixels = end - first;
  for (; first + Pixels <= end; first += Pixels) group_tile<V, Pixels, Sums, false>(g, first);
  if constexpr (Pixels > 1) {
    constexpr int kNext = Pixels / 2;
    if (first == end) return;
    if (end - first > kNext && pixels >= Pixels)
      return group_tile<V, Pixels, Sums, false>(g, end - Pixels);
    group_border<V, kNext, Sums>(g, first, end);
  }
}

// A row, whose ends alone see the border: to look up each input takes as long as two products.
template <class V, int Sums>
FASTCONV_INLINE void group_pixels(const GroupArgs<typename V::value_type>& g) {
  constexpr int kPixels = kGroupPixels<V, Sums>, kBorder = (kPixels + 1) / 2;
  const std::int64_t pixels = g.pixels.pixels;
  if (g.inside_end - g.inside < kPixels) return group_border<V, kBorder, Sums>(g, 0, pixels);
  group_border<V, kBorder, Sums>(g, 0, g.inside);
  std::int64_t at = g.inside;
  for (; at + kPixels <= g.inside_end; at += kPixels) group_tile<V, kPixels, Sums, true>(g, at);
  if (at < g.inside_end) group_tile<V, kPixels, Sums, true>(g, g.inside_end - kPixels);
  group_border<V, kBorder, Sums>(g, g.inside_end, pixels);
}

template <class V>
void group_lanes(const GroupArgs<typename V::value_type>& g) {
  const ChannelArgs<typename V::value_type>& a = g.pixels;
  if (g.sums == 1 && a.column_pitch > 0 && a.kernel_columns > 1 && a.dilation == 1 && a.stride == 1)
    return group_strips<V, kStripPixels<V>>(g, 0);
  const auto run = [&]<int Sums>() FASTCONV_INLINE_LAMBDA { group_pixels<V, Sums>(g); };
  if constexpr (kMostGroupSums<V> > 4) {
    if (g.sums == 6) return run.template operator()<6>();
    if (g.sums > 6) return run.template operator()<8>();
  }
  switch (g.sums) {
    case 1:
      return run.template operator()<1>();
    case 2:
      return run.template operator()<2>();
    case 3:
      return run.template operator()<3>();
    default:
      return run.template operator()<4>();
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
