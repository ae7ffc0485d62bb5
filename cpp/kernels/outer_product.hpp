// Lanes are output channels: acc[p][o] += x[p] * w[o], summed over the terms of the reduction.
//
//                w[0]       w[1]       <- OutVecs vectors, loaded once per term
//   x[0] ->   acc[0][0]  acc[0][1]
//   x[1] ->   acc[1][0]  acc[1][1]     <- Pixels broadcasts
//
// Each pixel has a pointer of its own and each term an offset, so one kernel serves every rank,
// kernel size, stride, dilation and layout, and a tile may span rows of the image. Single elements
// are all it reads of x, so it reads any array in place and never past its end.
//
// The accumulators start at zero for every call and are added to acc at its end: a long reduction
// is summed in blocks, which is a little more accurate than one chain.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/store.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

inline constexpr int kOuterPixels = 6;

// A tile of one vector needs more pixels to cover the latency of its additions; ten pointers are
// what the general registers hold beside the loop's own four (measured on Zen 3: 6 pixels 70 % of
// the peak, 8: 73 %, 10: 81 %).
inline constexpr int kOuterPixelsNarrow = 10;

// Two vectors of sixteen registers (12 accumulators, 2 weights, 1 pixel), four of thirty-two (24,
// 4, 1): the shape that oneDNN and XNNPACK have come to as well.
template <class V>
inline constexpr int kOuterVecs = V::registers >= 32 ? 4 : 2;

// Columns: the pixels of the tile lie side by side at x[0], and terms kOuterPixels further on each;
// one pointer and constant offsets, a tenth fewer instructions. Otherwise each pixel has a pointer.
template <class V, int Pixels, int OutVecs, bool Columns>
FASTCONV_INLINE void outer_tile(const OuterArgs<typename V::value_type>& a, std::int64_t first) {
  static_assert(Pixels * OutVecs + OutVecs + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  constexpr int kWidth = OutVecs * V::lanes;
  const T* x[Pixels];
  V acc[Pixels][OutVecs];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    if (!Columns || p == 0) {
      x[p] = a.x + a.pixel[first + p] + (Columns ? a.tap[0] : 0);
      FASTCONV_OPAQUE_POINTER(x[p]);
    }
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) acc[p][o] = V::zero();
  }
  const T* w = a.w;
  const auto term = [&](std::int64_t offset, const T* weights) {
    V wv[OutVecs];
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) wv[o] = V::load(weights + o * V::lanes);
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      const V xv = V::load_broadcast(Columns ? x[0] + offset + p : x[p] + offset);
      FASTCONV_UNROLL
      for (int o = 0; o < OutVecs; ++o) acc[p][o] = V::fma(xv, wv[o], acc[p][o]);
    }
  };
  // Two terms a turn: on a core whose other hardware thread is busy, instructions count (measured
  // on Zen 3: 68 GFLOP/s with GCC's own loop, 84 with this one, 79 with four terms a turn).
  if constexpr (Columns) {
    FASTCONV_NO_UNROLL
    for (std::int64_t turns = a.taps / 2; turns != 0; --turns) {
      term(0, w);
      term(kOuterPixels, w + kWidth);
      x[0] += 2 * kOuterPixels;
      w += 2 * kWidth;
    }
    if (a.taps % 2 != 0) term(0, w);
  } else {
    const std::int32_t* tap = a.tap;
    FASTCONV_NO_UNROLL
    for (std::int64_t turns = a.taps / 2; turns != 0; --turns) {
      term(tap[0], w);
      term(tap[1], w + kWidth);
      tap += 2;
      w += 2 * kWidth;
    }
    if (a.taps % 2 != 0) term(*tap, w);
  }
  const std::int64_t pitch = a.acc_pixel != 0 ? a.acc_pixel : kWidth;
  T* out[Pixels];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p)
    out[p] = a.acc + (a.place != nullptr ? a.place[first + p] : first + p) * pitch;
  if (a.accumulate) {
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      FASTCONV_UNROLL
      for (int o = 0; o < OutVecs; ++o)
        acc[p][o] = V::add(V::load(out[p] + o * V::lanes), acc[p][o]);
    }
  }
  if (a.finish.bias != nullptr) {
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) {
      const V bias = V::load(a.finish.bias + o * V::lanes);
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) acc[p][o] = V::add(acc[p][o], bias);
    }
  }
  if constexpr (kIsFloat<V>) {
    if (a.finish.clamp) {
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        FASTCONV_UNROLL
        for (int o = 0; o < OutVecs; ++o)
          acc[p][o] =
              V::at_most(V::at_least(acc[p][o], V::zero()), V::load_broadcast(&a.finish.most));
      }
    }
  }
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) acc[p][o].store(out[p] + o * V::lanes);
  }
}

// Tile by tile, so that the requests are spread over the call.
class Prefetcher {
 public:
  FASTCONV_INLINE Prefetcher(const Upcoming& upcoming, std::int64_t tiles)
      : upcoming_(upcoming), at_(upcoming.at), left_(upcoming.runs) {
    if (left_ != 0) runs_ = tiles < left_ ? left_ / tiles + 1 : 1;
  }
  FASTCONV_INLINE void tile() {
    if (left_ == 0) return;
    const std::int64_t runs = runs_ < left_ ? runs_ : left_;
    for (std::int64_t i = 0; i < runs; ++i, at_ += upcoming_.pitch) {
      FASTCONV_NO_UNROLL
      for (std::int64_t b = 0; b < upcoming_.bytes; b += 64) FASTCONV_PREFETCH_L2(at_ + b);
    }
    left_ -= runs;
  }

 private:
  const Upcoming& upcoming_;
  const char* at_;
  std::int64_t left_;
  std::int64_t runs_ = 0;
};

template <class V, int OutVecs>
void outer_product(const OuterArgs<typename V::value_type>& a) {
  std::int64_t p = 0;
  if constexpr (OutVecs == 1)
    for (; p + kOuterPixelsNarrow <= a.pixels; p += kOuterPixelsNarrow)
      outer_tile<V, kOuterPixelsNarrow, OutVecs, false>(a, p);
  // One to three pixels left over would wait for their additions: they share with the last tile.
  const std::int64_t rest = (a.pixels - p) % kOuterPixels;
  const bool share = rest >= 1 && rest <= 3 && a.pixels - p > kOuterPixels;
  const std::int64_t end = a.pixels - rest - (share ? kOuterPixels : 0);
  Prefetcher prefetcher(a.upcoming, a.pixels / kOuterPixels + 1);
  if (a.columns && OutVecs > 1) {
    for (; p < end; p += kOuterPixels) {
      prefetcher.tile();
      outer_tile<V, kOuterPixels, OutVecs, true>(a, p);
    }
  } else {
    for (; p < end; p += kOuterPixels) {
      prefetcher.tile();
      outer_tile<V, kOuterPixels, OutVecs, false>(a, p);
    }
  }
  switch (a.pixels - p) {
    case 9:
      outer_tile<V, 5, OutVecs, false>(a, p);
      return outer_tile<V, 4, OutVecs, false>(a, p + 5);
    case 8:
      outer_tile<V, 4, OutVecs, false>(a, p);
      return outer_tile<V, 4, OutVecs, false>(a, p + 4);
    case 7:
      outer_tile<V, 4, OutVecs, false>(a, p);
      return outer_tile<V, 3, OutVecs, false>(a, p + 4);
    case 5:
      return outer_tile<V, 5, OutVecs, false>(a, p);
    case 4:
      return outer_tile<V, 4, OutVecs, false>(a, p);
    case 3:
      return outer_tile<V, 3, OutVecs, false>(a, p);
    case 2:
      return outer_tile<V, 2, OutVecs, false>(a, p);
    case 1:
      return outer_tile<V, 1, OutVecs, false>(a, p);
    default:
      return;
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
