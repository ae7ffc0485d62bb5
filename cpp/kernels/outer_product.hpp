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
#include <type_traits>

#include "kernels/args.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/store.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

inline constexpr int kOuterPixels = 6;

// A tile of one vector needs more pixels to cover the latency of its additions; ten pointers are
// what the general registers hold beside the loop's own four (measured on Zen 3: 6 pixels 70 % of
// the peak, 8: 73 %, 10: 81 %).
inline constexpr int kOuterPixelsNarrow = 10;

inline constexpr std::int64_t kLine = 64;

// Of what lies ahead, and terms of a turn of the loop that asks for a line of each.
template <class V>
inline constexpr int kStreams = V::registers >= 32 ? 4 : 2;
inline constexpr int kTermsAhead = 2;

// Two vectors of sixteen registers (12 accumulators, 2 weights, 1 pixel), four of thirty-two (24,
// 4, 1): the shape that oneDNN and XNNPACK have come to as well.
template <class V>
inline constexpr int kOuterVecs = V::registers >= 32 && !kLean<V> ? 4 : 2;

// Where the terms of a tile lie.
enum class Terms : std::uint8_t {
  listed,    // at offsets of their own, from a pointer of each pixel
  adjacent,  // side by side, from a pointer of each pixel
  columns    // kOuterPixels further on each from one pointer, pixels side by side
};

// Few instructions for each term count most where tiles are narrow.
template <class V, int OutVecs>
inline constexpr bool kTellsAdjacent = kFillsRegisters<V> && OutVecs == 2;

// Streams: a line of each of so many is asked for in each turn of the loop.
template <class V, int Pixels, int OutVecs, Terms At, int Streams = 0>
FASTCONV_INLINE void outer_tile(const OuterArgs<typename V::value_type>& a, std::int64_t first,
                                const char* ahead = nullptr, std::int64_t ahead_pitch = 0) {
  static_assert(Pixels * OutVecs + OutVecs + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  constexpr int kWidth = OutVecs * V::lanes;
  constexpr bool kColumns = At == Terms::columns;
  const T* x[Pixels];
  V acc[Pixels][OutVecs];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    if (!kColumns || p == 0) {
      x[p] = a.x + a.pixel[first + p] + (kColumns ? a.tap[0] : 0);
      FASTCONV_OPAQUE_POINTER(x[p]);
    }
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) acc[p][o] = V::zero();
  }
  const T* w = a.w;
  const auto term = [&](std::int64_t offset, const T* weights) FASTCONV_INLINE_LAMBDA {
    V wv[OutVecs];
    FASTCONV_UNROLL
    for (int o = 0; o < OutVecs; ++o) wv[o] = V::load(weights + o * V::lanes);
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p)
      add_products(kColumns ? x[0] + offset + p : x[p] + offset, wv, acc[p]);
  };
  const auto look_ahead = [&]() FASTCONV_INLINE_LAMBDA {
    FASTCONV_UNROLL
    for (int i = 0; i < Streams; ++i) FASTCONV_PREFETCH_L2(ahead + i * ahead_pitch);
    if constexpr (Streams != 0) ahead += kLine;
  };
  // Two terms a turn: on a core whose other hardware thread is busy, instructions count (measured
  // on Zen 3: 68 GFLOP/s with GCC's own loop, 84 with this one). Four, where GCC need not allot
  // registers (add_products): 83 instructions for 48 multiply-adds, two took 47 for 24.
  constexpr bool kOne = kSlowProduct<V> && sizeof(T) == 8;
  constexpr int kTerms = Streams != 0 ? kTermsAhead : kOne ? 1 : 2;
  if constexpr (At == Terms::listed) {
    const std::int32_t* tap = a.tap;
    FASTCONV_NO_UNROLL
    for (std::int64_t turns = a.taps / kTerms; turns != 0; --turns) {
      look_ahead();
      term(tap[0], w);
      if constexpr (kTerms == 2) term(tap[1], w + kWidth);
      tap += kTerms;
      w += kTerms * kWidth;
    }
    if (a.taps % kTerms != 0) term(*tap, w);
  } else {
    constexpr int kStep = kColumns ? kOuterPixels : 1;
    constexpr int kTurn = kFillsRegisters<V> && Streams == 0 ? 4 : kTerms;
    std::int64_t at = kColumns ? 0 : a.tap[0];
    const auto turn = [&]<int Count>() FASTCONV_INLINE_LAMBDA {
      term(at, w);
      if constexpr (Count >= 2) term(at + kStep, w + kWidth);
      if constexpr (Count == 4) {
        term(at + 2 * kStep, w + 2 * kWidth);
        term(at + 3 * kStep, w + 3 * kWidth);
      }
      w += Count * kWidth;
      if constexpr (kColumns) {
        x[0] += Count * kStep;
      } else {
        at += Count * kStep;
        FASTCONV_OPAQUE_POINTER(at);  // one index for all pixels
      }
    };
    FASTCONV_NO_UNROLL
    for (std::int64_t turns = a.taps / kTurn; turns != 0; --turns) {
      look_ahead();
      turn.template operator()<kTurn>();
    }
    FASTCONV_NO_UNROLL
    for (std::int64_t rest = a.taps % kTurn; rest != 0; --rest) turn.template operator()<1>();
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

// Shares requests out among the tiles of a call. Few of them go out between two tiles; many would
// stop the next tile until most have come, and take turns with its products instead, a line
// of each stream at a time (16 tiles of Winograd's algorithm, 512 channels, weights in L3: 79
// GFLOP/s between tiles, 110 in turns; 128 tiles: 1 % slower in turns).
template <int Streams>
class Prefetcher {
 public:
  FASTCONV_INLINE Prefetcher(const Upcoming& upcoming, std::int64_t tiles, std::int64_t turns)
      : next_(upcoming), turns_(turns) {
    if (tiles == 0 || turns == 0) next_.runs = 0;
    if (next_.runs == 0) return;
    const std::int64_t all = next_.runs * next_.bytes;
    if (all <= tiles * kFewLines * kLine) {
      at_once_ = next_.runs / tiles + 1;
    } else if (next_.pitch == next_.bytes) {
      next_.runs = Streams;
      next_.bytes = next_.pitch = (all / Streams + kLine - 1) / kLine * kLine;
    }
  }

  FASTCONV_INLINE bool takes_turns() const { return at_once_ == 0 && next_.runs > 0; }
  // The first lines of the next tile.
  FASTCONV_INLINE const char* at() const { return next_.at + done_; }
  FASTCONV_INLINE std::int64_t pitch() const { return next_.pitch; }

  FASTCONV_INLINE void tile_begins() {
    for (std::int64_t i = 0; i < at_once_ && next_.runs > 0; ++i, --next_.runs) {
      FASTCONV_NO_UNROLL
      for (std::int64_t b = 0; b < next_.bytes; b += kLine) FASTCONV_PREFETCH_L2(next_.at + b);
      next_.at += next_.pitch;
    }
  }
  FASTCONV_INLINE void tile_ends() {
    done_ += turns_ * kLine;
    if (done_ < next_.bytes) return;
    done_ = 0;
    next_.at += Streams * next_.pitch;
    next_.runs -= Streams;
  }

 private:
  static constexpr std::int64_t kFewLines = 16;

  Upcoming next_;
  std::int64_t turns_;
  std::int64_t done_ = 0;  // bytes of these streams
  std::int64_t at_once_ = 0;
};

template <class V, int Pixels, int OutVecs, Terms At>
FASTCONV_INLINE void outer_ahead(const OuterArgs<typename V::value_type>& a, std::int64_t p,
                                 Prefetcher<kStreams<V>>& prefetcher) {
  if constexpr (!kLean<V>) {
    if (prefetcher.takes_turns()) {
      outer_tile<V, Pixels, OutVecs, At, kStreams<V>>(a, p, prefetcher.at(), prefetcher.pitch());
      return prefetcher.tile_ends();
    }
  }
  prefetcher.tile_begins();
  outer_tile<V, Pixels, OutVecs, At>(a, p);
}

// The pixels left over, in tiles of one to five; a function each, that all sizes share.
template <class V, int Pixels, int OutVecs>
FASTCONV_NOINLINE void outer_rest(const OuterArgs<typename V::value_type>& a, std::int64_t p,
                                  Prefetcher<kStreams<V>>& prefetcher) {
  if constexpr (Pixels >= 4) {
    outer_ahead<V, Pixels, OutVecs, Terms::listed>(a, p, prefetcher);
  } else {
    outer_tile<V, Pixels, OutVecs, Terms::listed>(a, p);
  }
}

template <class V, int OutVecs>
void outer_product(const OuterArgs<typename V::value_type>& a) {
  std::int64_t p = 0;
  if constexpr (OutVecs == 1 && kIsFloat<V>) {
    constexpr int kPixels = kOuterPixelsNarrow;
    // Of pixels of several lines that lie side by side, those of the next tile are asked for: the
    // processor fetches none ahead of ten that are read in turn.
    constexpr std::int64_t kLeastBytes = 128;
    if constexpr (kFillsRegisters<V>) {
      if (a.adjacent && a.taps * std::int64_t{sizeof(*a.x)} >= kLeastBytes)
        for (; p + 2 * kPixels <= a.pixels; p += kPixels) {
          const auto line = [&](std::int64_t pixel) FASTCONV_INLINE_LAMBDA {
            return reinterpret_cast<const char*>(a.x + a.pixel[pixel] + a.tap[0]);
          };
          const char* const next = line(p + kPixels);
          outer_tile<V, kPixels, OutVecs, Terms::listed, 2>(a, p, next,
                                                            line(p + kPixels + kPixels / 2) - next);
        }
    }
    for (; p + kPixels <= a.pixels; p += kPixels)
      outer_tile<V, kPixels, OutVecs, Terms::listed>(a, p);
  }
  // One to three pixels left over would wait for their additions: they share with the last tile.
  const std::int64_t rest = (a.pixels - p) % kOuterPixels;
  const bool share = rest >= 1 && rest <= 3 && a.pixels - p > kOuterPixels;
  const std::int64_t end = a.pixels - rest - (share ? kOuterPixels : 0);
  const std::int64_t last = a.pixels - end;
  // A tile alone reads its weights once, in order: the processor's own requests are in time.
  const std::int64_t last_tiles = last >= 8 ? 2 : last == 7 || (last >= 4 && end > p) ? 1 : 0;
  Prefetcher<kStreams<V>> prefetcher(a.upcoming, (end - p) / kOuterPixels + last_tiles,
                                     a.taps / kTermsAhead);
  const auto tiles = [&]<Terms At>() FASTCONV_INLINE_LAMBDA {
    for (; p < end; p += kOuterPixels) outer_ahead<V, kOuterPixels, OutVecs, At>(a, p, prefetcher);
  };
  if (a.columns && OutVecs > 1)
    tiles.template operator()<Terms::columns>();
  else if (kTellsAdjacent<V, OutVecs> && a.adjacent)
    tiles.template operator()<kTellsAdjacent<V, OutVecs> ? Terms::adjacent : Terms::listed>();
  else
    tiles.template operator()<Terms::listed>();
  // A copy, for what functions are shown is kept in memory (512 channels of 7 x 7, a call: 2.00 ms
  // for 2.05; two slices of them, a plan: 5.65 for 5.94). Of integers GCC would spill sums instead.
  std::conditional_t<kLean<V>, Prefetcher<kStreams<V>>&, Prefetcher<kStreams<V>>> own = prefetcher;
  while (p < a.pixels) {
    constexpr std::int64_t kMost = kLeanest<V> ? 2 : 5;
    const std::int64_t left = a.pixels - p, half = (left + 1) / 2;
    const std::int64_t taken = left <= kMost ? left : half < kMost ? half : kMost;
    switch (taken) {
      case 5:
        if constexpr (kMost == 5) outer_rest<V, 5, OutVecs>(a, p, own);
        break;
      case 4:
        if constexpr (kMost == 5) outer_rest<V, 4, OutVecs>(a, p, own);
        break;
      case 3:
        if constexpr (kMost == 5) outer_rest<V, 3, OutVecs>(a, p, own);
        break;
      case 2:
        outer_rest<V, 2, OutVecs>(a, p, own);
        break;
      default:
        outer_rest<V, 1, OutVecs>(a, p, own);
    }
    p += taken;
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
