// Lanes are output pixels: acc[o][v] += w[o] * x[v], for few output channels.
//
//              x[0]       x[1]       x[2]      <- Vecs vectors of neighbouring pixels
//   w[0] ->  acc[0][0]  acc[0][1]  acc[0][2]
//   w[1] ->  acc[1][0]  acc[1][1]  acc[1][2]   <- Rows output channels, broadcast
//
// A row of the staged image is contiguous whatever the stride was, so a term of the reduction is a
// shift of the load. Each vector has a pointer of its own: the last one of a row may overlap the
// one before it, and a tile may span rows. Or the rows of one plane are run through as one long
// row; what falls between them is computed and never stored.
//
// Complete sums go from the registers to the output where it lies as they do. While the next tile
// is multiplied the store queue empties; a pass of its own over accumulators has nothing to hide
// behind (3 -> 64 channels, 3 x 3, on Zen 4: 105 GFLOP/s, and 75 with the outer product and a
// transpose).
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/lines_ahead.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/store.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Vectors of pixels in the widest tile of so many rows: as many as the registers hold beside one
// weight per row and one load, and ten pointers (outer_product.hpp).
template <class V, int Rows>
inline constexpr int kLanesVecs = kSlowProduct<V>                   ? (Rows <= 2 ? 3 : 2)
                                  : V::registers >= 32 && !kLean<V> ? (Rows == 1   ? 10
                                                                       : Rows == 2 ? 10
                                                                       : Rows == 3 ? 8
                                                                                   : 6)
                                                                    : (Rows == 1   ? 10
                                                                       : Rows == 2 ? 6
                                                                       : Rows == 3 ? 4
                                                                                   : 3);

// Whether vectors may go from one row to the next: there is a load that leaves lanes as they are.
template <class V>
inline constexpr bool kSplices = requires { requires V::quick_masked_stores; };

template <class V, bool Spliced>
struct Seam {};
template <class V>
struct Seam<V, true> {
  const typename V::value_type* x;
  typename V::Mask lanes;
};

// The first Spliced vectors lie in two rows.
template <class V, int Rows, int Vecs, int Spliced = 0>
FASTCONV_INLINE void lanes_tile(const LanesArgs<typename V::value_type>& a, std::int64_t first) {
  static_assert(Rows * Vecs + (Rows < Vecs ? Rows : Vecs) + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  const T* x[Vecs];
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int v = 0; v < Vecs; ++v) {
    x[v] = a.x + a.vector[first + v];
    FASTCONV_OPAQUE_POINTER(x[v]);
    FASTCONV_UNROLL
    for (int o = 0; o < Rows; ++o) acc[o][v] = V::zero();
  }
  Seam<V, Spliced != 0> seam[Spliced == 0 ? 1 : Spliced];
  if constexpr (Spliced != 0) {
    FASTCONV_UNROLL
    for (int v = 0; v < Spliced; ++v) {
      seam[v] = {a.x + a.next[first + v], V::lanes_between(a.seam[first + v], V::lanes)};
      FASTCONV_OPAQUE_POINTER(seam[v].x);
    }
  }
  const auto load = [&](int v, std::int64_t offset) FASTCONV_INLINE_LAMBDA {
    if constexpr (Spliced != 0) {
      if (v < Spliced) return V::load(seam[v].x + offset, seam[v].lanes, V::load(x[v] + offset));
    }
    return V::load(x[v] + offset);
  };
  const std::int64_t acc_pitch = a.vectors * V::lanes;
  constexpr int kLine = 64 / sizeof(T) > V::lanes ? 64 / sizeof(T) / V::lanes : 1;  // vectors
  if (a.out_is_far && a.out != nullptr) {
    // Of neighbouring vectors of one line the first.
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; v += kLine) {
      const T* ahead = a.out + a.place[first + v];
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o, ahead += a.out_channel) FASTCONV_PREFETCH(ahead);
    }
  }
  const T* w = a.w;
  const auto term = [&](std::int64_t offset, const T* weights) FASTCONV_INLINE_LAMBDA {
    if constexpr (Rows <= Vecs) {
      // Where the product takes the last register, it loads for itself.
      constexpr bool kHold =
          Rows > 1 && Rows * Vecs + Rows + 1 + V::product_registers <= V::registers;
      V wv[Rows];
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o) wv[o] = V::load_broadcast(weights + o);
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) {
        if constexpr (kFillsRegisters<V> && Spliced == 0 && Rows == 2) {
          V::add_vector_products(x[v] + offset, wv[0], wv[1], acc[0][v], acc[1][v]);
        } else if constexpr (kFillsRegisters<V> && Spliced == 0 && Rows == 3) {
          V::add_vector_products(x[v] + offset, wv[0], wv[1], wv[2], acc[0][v], acc[1][v],
                                 acc[2][v]);
        } else {
          V xv = load(v, offset);
          if constexpr (kHold) FASTCONV_IN_REGISTER(xv.v);
          FASTCONV_UNROLL
          for (int o = 0; o < Rows; ++o) acc[o][v] = V::fma(wv[o], xv, acc[o][v]);
        }
      }
    } else {
      // Where the product takes the last register, the last vector is loaded for each row.
      constexpr bool kReload = Rows * Vecs + Vecs + 1 + V::product_registers > V::registers;
      V xv[Vecs];
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) xv[v] = load(v, offset);
      const T* again = x[Vecs - 1] + offset;
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o) {
        if constexpr (kReload) {
          FASTCONV_OPAQUE_POINTER(again);
          xv[Vecs - 1] = V::load(again);
        }
        add_products(weights + o, xv, acc[o]);
      }
    }
  };
  const std::int32_t* tap = a.tap;
  const auto terms = static_cast<std::uint64_t>(a.taps);
  // Several terms a turn: where another hardware thread is busy on the core, a tile is bound by its
  // instructions. On other processors two for one and two rows; wider tiles lose a third so.
  constexpr bool kWidest = Rows > 2 && Vecs == kLanesVecs<V, Rows>;
  constexpr int kTerms = kFillsRegisters<V> && Rows > 1  ? (kWidest ? 8 : 4)
                         : Rows <= 2 && !kSlowProduct<V> ? 2
                                                         : 1;
  if constexpr (kTerms > 1) {
    // In most tiles.
    constexpr bool kAsks = Rows <= 2 && kIsFloat<V> && Spliced == 0 && Vecs > 4;
    [[maybe_unused]] const bool far = a.x_is_far;
    FASTCONV_NO_UNROLL
    for (std::uint64_t turns = terms / kTerms; turns != 0;
         --turns, tap += kTerms, w += kTerms * Rows) {
      FASTCONV_UNROLL
      for (int i = 0; i < kTerms; ++i) term(tap[i], w + i * Rows);
      if constexpr (kAsks) {
        if (!far) continue;
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; v += kLine) {
          FASTCONV_UNROLL
          for (int i = 0; i < kTerms; ++i) FASTCONV_PREFETCH_L2(x[v] + tap[i] + Vecs * V::lanes);
        }
      }
    }
  }
  FASTCONV_NO_UNROLL
  for (std::uint64_t left = kTerms > 1 ? terms % kTerms : terms; left != 0;
       --left, ++tap, w += Rows)
    term(*tap, w);
  if (a.accumulate) {
    const T* row = a.acc + first * V::lanes;
    FASTCONV_UNROLL
    for (int o = 0; o < Rows; ++o, row += acc_pitch) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) acc[o][v] = V::add(V::load(row + v * V::lanes), acc[o][v]);
    }
  }
  if (a.out == nullptr) {
    T* row = a.acc + first * V::lanes;
    FASTCONV_UNROLL
    for (int o = 0; o < Rows; ++o, row += acc_pitch) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) acc[o][v].store(row + v * V::lanes);
    }
    return;
  }
  if (const T* const bias = a.finish.bias; bias != nullptr) {
    FASTCONV_UNROLL
    for (int o = 0; o < Rows; ++o) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) acc[o][v] = V::add(acc[o][v], V::load_broadcast(bias + o));
    }
  }
  if constexpr (kIsFloat<V>) {
    if (a.finish.clamp) {
      const V most = V::load_broadcast(&a.finish.most);
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o) {
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; ++v)
          acc[o][v] = V::at_most(V::at_least(acc[o][v], V::zero()), most);
      }
    }
  }
  // A row after the other: the processor writes neighbouring vectors at once.
  T* out[Vecs];
  FASTCONV_UNROLL
  for (int v = 0; v < Vecs; ++v) {
    out[v] = a.out + a.place[first + v];
    FASTCONV_OPAQUE_POINTER(out[v]);
  }
  std::int64_t at = 0;
  FASTCONV_UNROLL
  for (int o = 0; o < Rows; ++o, at += a.out_channel) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) acc[o][v].store(out[v] + at);
  }
}

// Terms of one row whose planes are read side by side.
template <class V>
inline constexpr int kRunOfTerms = kFillsRegisters<V> ? 8 : 0;

// A line of each of Terms planes after the other, their weights in registers: what no near cache
// holds comes in as many streams, of which the processor sees where they go on. Planes a power of
// two apart share the sets of L1, so that all of a line is used at once.
template <class V, int Terms, class Store>
FASTCONV_INLINE void lanes_run(const LanesArgs<typename V::value_type>& a, std::int64_t first,
                               Store store) {
  using T = typename V::value_type;
  const T* x[Terms];
  V w[Terms];
  FASTCONV_UNROLL
  for (int t = 0; t < Terms; ++t) {
    x[t] = a.x + a.tap[first + t];
    FASTCONV_OPAQUE_POINTER(x[t]);
    w[t] = V::load_broadcast(a.w + first + t);
  }
  const bool add = a.accumulate || first != 0;
  const std::int64_t count = a.vectors;
  const std::int32_t* const vector = a.vector;
  T* const acc = a.acc;
  std::int64_t i = 0;
  FASTCONV_NO_UNROLL
  for (; i + 2 <= count; i += 2) {
    const std::int64_t at[2] = {vector[i], vector[i + 1]};
    V sum[2] = {V::zero(), V::zero()};
    FASTCONV_UNROLL
    for (int t = 0; t < Terms; ++t) {
      FASTCONV_UNROLL
      for (int v = 0; v < 2; ++v) sum[v] = V::fma(V::load(x[t] + at[v]), w[t], sum[v]);
    }
    FASTCONV_UNROLL
    for (int v = 0; v < 2; ++v) {
      const T* const before = acc + (i + v) * V::lanes;
      store(add ? V::add(V::load(before), sum[v]) : sum[v], i + v);
    }
  }
  if (i == count) return;
  V sum = V::zero();
  FASTCONV_UNROLL
  for (int t = 0; t < Terms; ++t) sum = V::fma(V::load(x[t] + vector[i]), w[t], sum);
  store(add ? V::add(V::load(acc + i * V::lanes), sum) : sum, i);
}

template <class V, int Terms>
FASTCONV_NOINLINE void lanes_run_to_acc(const LanesArgs<typename V::value_type>& a,
                                        std::int64_t first) {
  auto* const acc = a.acc;
  lanes_run<V, Terms>(a, first, [=](V sum, std::int64_t i) FASTCONV_INLINE_LAMBDA {
    sum.store(acc + i * V::lanes);
  });
}

template <class V, int Terms>
FASTCONV_NOINLINE void lanes_run_to_out(const LanesArgs<typename V::value_type>& a,
                                        std::int64_t first) {
  const auto* const bias = a.finish.bias;
  const V most = V::load_broadcast(&a.finish.most);
  const bool clamp = a.finish.clamp;
  auto* const out = a.out;
  const std::int64_t* const place = a.place;
  lanes_run<V, Terms>(a, first, [=](V sum, std::int64_t i) FASTCONV_INLINE_LAMBDA {
    if (bias != nullptr) sum = V::add(sum, V::load_broadcast(bias));
    if (clamp) sum = V::at_most(V::at_least(sum, V::zero()), most);
    sum.store(out + place[i]);
  });
}

template <class V, int Rows>
void pixel_lanes(const LanesArgs<typename V::value_type>& a) {
  constexpr int kVecs = kLanesVecs<V, Rows>;
  std::int64_t i = 0;
  if constexpr (Rows == 1 && kRunOfTerms<V> != 0) {
    constexpr int kTerms = kRunOfTerms<V>;
    if (a.x_is_far && a.next == nullptr && a.taps >= kTerms) {
      std::int64_t first = 0;
      for (; first + kTerms < a.taps || (first + kTerms == a.taps && a.out == nullptr);
           first += kTerms)
        lanes_run_to_acc<V, kTerms>(a, first);
      if (first == a.taps) return;
      if (first + kTerms == a.taps) return lanes_run_to_out<V, kTerms>(a, first);
      LanesArgs<typename V::value_type> rest = a;
      rest.tap += first;
      rest.w += first;
      rest.taps -= first;
      rest.accumulate = true;
      return pixel_lanes<V, Rows>(rest);
    }
  }
  if constexpr (kSplices<V>) {
    if (a.next != nullptr) {
      for (; i < a.tiled; i += kSplicedTile) {
        if (a.next[i] == kOneRow) {
          lanes_tile<V, Rows, kSplicedTile>(a, i);
        } else {
          lanes_tile<V, Rows, kSplicedTile, kSpliced>(a, i);
        }
      }
      const std::int64_t spliced = i == a.vectors || a.next[i] == kOneRow ? i : a.vectors;
      for (; i + kSpliced <= spliced; i += kSpliced) lanes_tile<V, Rows, kSpliced, kSpliced>(a, i);
      for (; i < spliced; ++i) lanes_tile<V, Rows, 1, 1>(a, i);
    }
  }
  if constexpr (kFillsRegisters<V> && kIsFloat<V>) {
    RunsAhead ahead(a.upcoming, a.vectors / kVecs);
    for (; i + kVecs <= a.vectors; i += kVecs) {
      ahead.turn();
      lanes_tile<V, Rows, kVecs>(a, i);
    }
  } else {
    for (; i + kVecs <= a.vectors; i += kVecs) lanes_tile<V, Rows, kVecs>(a, i);
  }
  if constexpr (kVecs > 8 && !kLeanest<V>)
    for (; i + 8 <= a.vectors; i += 8) lanes_tile<V, Rows, 8>(a, i);
  if constexpr (kVecs > 4 && !kLeanest<V>)
    for (; i + 4 <= a.vectors; i += 4) lanes_tile<V, Rows, 4>(a, i);
  if constexpr (kVecs > 2)
    for (; i + 2 <= a.vectors; i += 2) lanes_tile<V, Rows, 2>(a, i);
  for (; i < a.vectors; ++i) lanes_tile<V, Rows, 1>(a, i);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
