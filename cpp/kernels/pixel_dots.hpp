// Dot products of pixels and a filter or two, channels last: lanes are channels, read where they
// lie, of one pixel of each stream at a time.
//
//   stream 0   pixel 0     pixel 1      ...    a vector of each stream in turn
//   stream 1   pixel n     pixel n + 1  ...
//   stream 2   pixel 2n    pixel 2n + 1 ...
//
// A processor fetches ahead within a page and begins anew in the next one. Of several streams, each
// in a page of its own, some are fetched meanwhile; lines of eight neighbours in turn, which are
// not one behind the other, are not fetched at all (Zen 3, 64 channels of 256 x 256, by turns on
// a busy machine: 2100 us by neighbours that were asked for, 680 by streams).
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/column_product.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

inline constexpr int kDotSums = 8;

// Pixels first[s] + p, for all p < count, of each stream.
template <class V, int Filters>
FASTCONV_NOINLINE void dot_streams(const DotArgs<typename V::value_type>& args,
                                   const std::int64_t* first, std::int64_t count) {
  using T = typename V::value_type;
  constexpr int kStreams = kDotSums / Filters, kAhead = 512 / sizeof(T);
  const DotArgs<T> a = args;  // no store can change a copy
  T bias[kDotSums];
  FASTCONV_NO_UNROLL
  for (int i = 0; i < kDotSums; ++i) bias[i] = a.bias != nullptr ? a.bias[i % Filters] : T(-0.0);
  const T* x[kStreams];
  T* out[kStreams];
  FASTCONV_UNROLL
  for (int s = 0; s < kStreams; ++s) {
    x[s] = a.x + first[s] * a.pixel;
    out[s] = a.out + first[s] * a.out_pixel;
  }
  FASTCONV_NO_UNROLL
  for (std::int64_t p = 0; p < count; ++p) {
    V acc[kDotSums];
    FASTCONV_UNROLL
    for (int i = 0; i < kDotSums; ++i) acc[i] = V::zero();
    // A vector of each stream, or the first n of its lanes.
    const auto add = [&]<bool Whole>(std::int64_t at, int n) FASTCONV_INLINE_LAMBDA {
      const auto load = [&](const T* from) FASTCONV_INLINE_LAMBDA {
        return Whole ? V::load(from + at) : V::load(from + at, n);
      };
      V w[Filters];
      FASTCONV_UNROLL
      for (int f = 0; f < Filters; ++f) w[f] = load(a.w + f * a.w_pitch);
      FASTCONV_UNROLL
      for (int s = 0; s < kStreams; ++s) {
        V* const sum = acc + s * Filters;
        if constexpr (Whole && Filters == 2 && kFillsRegisters<V>) {
          // GCC would load ahead until a sum is spilled.
          V::add_vector_products(x[s] + at, w[0], w[1], sum[0], sum[1]);
        } else {
          const V value = load(x[s]);
          FASTCONV_UNROLL
          for (int f = 0; f < Filters; ++f) sum[f] = V::fma(value, w[f], sum[f]);
        }
      }
    };
    std::int64_t t = 0;
    FASTCONV_NO_UNROLL
    for (; t + 2 * V::lanes <= a.terms; t += 2 * V::lanes) {
      FASTCONV_UNROLL
      for (int s = 0; s < kStreams; ++s) FASTCONV_PREFETCH(x[s] + t + kAhead);
      add.template operator()<true>(t, 0);
      add.template operator()<true>(t + V::lanes, 0);
      FASTCONV_OPAQUE_POINTER(t);
    }
    if (t + V::lanes <= a.terms) {
      add.template operator()<true>(t, 0);
      t += V::lanes;
    }
    if (t < a.terms) add.template operator()<false>(t, static_cast<int>(a.terms - t));
    T sums[kDotSums];
    // Read here: GCC would keep it in registers, and from there on the stack.
    const T* own_bias = bias;
    FASTCONV_OPAQUE_POINTER(own_bias);
    FASTCONV_UNROLL
    for (int i = 0; i < kDotSums; i += V::lanes) {
      V square[V::lanes];
      FASTCONV_UNROLL
      for (int j = 0; j < V::lanes; ++j) square[j] = acc[i + j];
      V sum = V::add(sum_of_lanes(square), V::load(own_bias + i));
      if (a.relu) sum = V::at_least(sum, V::zero());
      sum.store(sums + i);
    }
    FASTCONV_UNROLL
    for (int s = 0; s < kStreams; ++s) {
      FASTCONV_UNROLL
      for (int f = 0; f < Filters; ++f) out[s][p * a.out_pixel + f] = sums[s * Filters + f];
      x[s] += a.pixel;
    }
  }
}

// Streams a multiple of a page apart would push each other's lines out of L1: they are cut to lie
// some lines beside it, and what that leaves goes by short ones. The last pixels go by one of each
// stream, some of them once more.
template <class V, int Filters>
FASTCONV_INLINE void dots_of_filters(const DotArgs<typename V::value_type>& a) {
  constexpr std::int64_t kStreams = kDotSums / Filters, kPage = 4096, kBeside = 512;
  const std::int64_t pixel = (a.pixel < 0 ? -a.pixel : a.pixel) * std::int64_t{sizeof(*a.x)};
  std::int64_t first[kStreams], done = 0;
  while (a.pixels - done >= kStreams) {
    std::int64_t count = (a.pixels - done) / kStreams;
    const std::int64_t bytes = count * pixel;
    if (bytes >= 2 * kPage) count -= (bytes - kBeside) % kPage / pixel;
    FASTCONV_NO_UNROLL
    for (std::int64_t s = 0; s < kStreams; ++s) {
      first[s] = done;
      done += count;
      FASTCONV_OPAQUE_POINTER(done);  // no vectors for eight numbers
    }
    dot_streams<V, Filters>(a, first, count);
  }
  if (done == a.pixels) return;
  FASTCONV_NO_UNROLL
  for (std::int64_t s = 0; s < kStreams; ++s) {
    const std::int64_t at = a.pixels - kStreams + s;
    first[s] = at > 0 ? at : 0;
  }
  dot_streams<V, Filters>(a, first, 1);
}

template <class V>
void pixel_dots(const DotArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  if constexpr (V::lanes * sizeof(T) == 64) {
    // Vectors half as long are faster (dispatch.cpp). Where there are none: as many pictures of one
    // pixel, with filters and pixels in each other's place.
    ColumnArgs<T> c{};
    c.terms = a.terms;
    c.w = a.x;
    c.w_pitch = a.pixel;
    c.rows = a.pixels;
    c.rest = a.w;
    c.rest_pitch = a.w_pitch;
    c.rest_pixels = a.filters;
    c.out = a.out;
    c.out_pitch = a.out_pixel;
    column_product<V, kColumnVecs<V>[1]>(c);
    for (std::int64_t i = 0; i < a.pixels * a.filters; ++i) {
      T& y = a.out[i / a.filters * a.out_pixel + i % a.filters];
      if (a.bias != nullptr) y += a.bias[i % a.filters];
      if (a.relu && y < 0) y = 0;
    }
  } else if (a.filters == 1) {
    dots_of_filters<V, 1>(a);
  } else {
    dots_of_filters<V, 2>(a);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
