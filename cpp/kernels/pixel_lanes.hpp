// Lanes are output pixels: acc[o][v] += w[o] * x[v], for few output channels.
//
//              x[0]       x[1]       x[2]      <- Vecs vectors of neighbouring pixels
//   w[0] ->  acc[0][0]  acc[0][1]  acc[0][2]
//   w[1] ->  acc[1][0]  acc[1][1]  acc[1][2]   <- Rows output channels, broadcast
//
// A row of the staged image is contiguous whatever the stride was, so a term of the reduction is a
// shift of the load. Rows of one plane may be run through as one long row; what falls between them
// is computed and never stored.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Vectors of pixels in the widest tile of so many rows: as many as the registers hold beside one
// weight per row and one load.
template <class V, int Rows>
inline constexpr int kLanesVecs = V::registers >= 32 ? (Rows == 1   ? 12
                                                        : Rows == 2 ? 12
                                                        : Rows == 3 ? 8
                                                                    : 6)
                                                     : (Rows == 1   ? 10
                                                        : Rows == 2 ? 6
                                                        : Rows == 3 ? 4
                                                                    : 3);

template <class V, int Rows, int Vecs>
FASTCONV_INLINE void lanes_tile(const LanesArgs<typename V::value_type>& a, std::int64_t first) {
  static_assert(Rows * Vecs + (Rows < Vecs ? Rows : Vecs) + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int o = 0; o < Rows; ++o) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) acc[o][v] = V::zero();
  }
  const T* w = a.w;
  const T* const x = a.x + first;
  const std::int32_t* const end = a.tap + a.taps;
  const auto term = [&](const T* at, const T* weights) {
    if constexpr (Rows <= Vecs) {
      // Where the product takes the last register, it loads for itself.
      constexpr bool kHold =
          Rows > 1 && Rows * Vecs + Rows + 1 + V::product_registers <= V::registers;
      V wv[Rows];
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o) wv[o] = V::load_broadcast(weights + o);
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) {
        V xv = V::load(at + v * V::lanes);
        if constexpr (kHold) FASTCONV_IN_REGISTER(xv.v);
        FASTCONV_UNROLL
        for (int o = 0; o < Rows; ++o) acc[o][v] = V::fma(wv[o], xv, acc[o][v]);
      }
    } else {
      // Where the product takes the last register, the last vector is loaded for each row.
      constexpr bool kReload = Rows * Vecs + Vecs + 1 + V::product_registers > V::registers;
      V xv[Vecs];
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) xv[v] = V::load(at + v * V::lanes);
      const T* again = at + (Vecs - 1) * V::lanes;
      FASTCONV_UNROLL
      for (int o = 0; o < Rows; ++o) {
        if constexpr (kReload) {
          FASTCONV_OPAQUE_POINTER(again);
          xv[Vecs - 1] = V::load(again);
        }
        const V wv = V::load_broadcast(weights + o);
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; ++v) acc[o][v] = V::fma(wv, xv[v], acc[o][v]);
      }
    }
  };
  const std::int32_t* tap = a.tap;
  // Two terms a turn for one and two rows (7 % faster on Zen 3); wider tiles lose a third so.
  if constexpr (Rows <= 2) {
    FASTCONV_NO_UNROLL
    for (; end - tap >= 2; tap += 2, w += 2 * Rows) {
      term(x + tap[0], w);
      term(x + tap[1], w + Rows);
    }
  }
  FASTCONV_NO_UNROLL
  for (; tap != end; ++tap, w += Rows) term(x + *tap, w);
  FASTCONV_UNROLL
  for (int o = 0; o < Rows; ++o) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) {
      T* const to = a.acc + o * a.acc_pitch + first + v * V::lanes;
      if (a.accumulate) acc[o][v] = V::add(V::load(to), acc[o][v]);
      acc[o][v].store(to);
    }
  }
}

template <class V, int Rows>
void pixel_lanes(const LanesArgs<typename V::value_type>& a) {
  constexpr int kVecs = kLanesVecs<V, Rows>;
  std::int64_t p = 0;
  for (; p + kVecs * V::lanes <= a.pixels; p += kVecs * V::lanes) lanes_tile<V, Rows, kVecs>(a, p);
  if constexpr (kVecs > 8)
    for (; p + 8 * V::lanes <= a.pixels; p += 8 * V::lanes) lanes_tile<V, Rows, 8>(a, p);
  if constexpr (kVecs > 4)
    for (; p + 4 * V::lanes <= a.pixels; p += 4 * V::lanes) lanes_tile<V, Rows, 4>(a, p);
  for (; p + 2 * V::lanes <= a.pixels; p += 2 * V::lanes) lanes_tile<V, Rows, 2>(a, p);
  for (; p < a.pixels; p += V::lanes) lanes_tile<V, Rows, 1>(a, p);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
