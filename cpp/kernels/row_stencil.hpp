// One output channel: a tile of Rows output rows, in which each input row is loaded once and feeds
// every output row that it touches.
//
//   input row i        acc[0]   acc[1]   acc[2]   acc[3]      3 kernel rows, 4 output rows
//        0              w[0]
//        1              w[1]     w[0]
//        2              w[2]     w[1]     w[0]
//        3                       w[2]     w[1]     w[0]
//        4                                w[2]     w[1]
//        5                                         w[2]
//
// The terms come in groups of kernel rows that step through neighbouring rows of the patch: one
// for each channel, kernel slice and row phase. The first and last input rows of a group run
// tiles of their own, compiled for the output rows that they touch: multiplying by zero instead
// would spread a NaN or an infinity to outputs that do not see it.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/store.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

inline constexpr int kStencilRows = 4;

// Real numbers with sixteen registers have pixel_lanes instead (algorithms/stencil.cpp).
template <class V>
inline constexpr bool kHasRowStencil = !kIsFloat<V> || V::registers >= 32;

template <class V>
inline constexpr int kStencilVecs = V::registers >= 32 && !kLean<V> ? 6 : 3;

// Adds one input row to output rows [Lo, Hi].
template <class V, int Rows, int Vecs, int Lo, int Hi>
FASTCONV_INLINE void stencil_row(V (&acc)[Rows][Vecs], const typename V::value_type* x,
                                 const typename V::value_type* w, const StencilGroup& g,
                                 const std::int32_t* column) {
  // Where the product takes the last register, the last vector is loaded for each row.
  constexpr bool kReload = Rows * Vecs + Vecs + 1 + V::product_registers > V::registers;
  FASTCONV_NO_UNROLL
  for (std::int64_t v = 0; v < g.columns; ++v) {
    const typename V::value_type* const at = x + column[v];
    V xv[Vecs];
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) xv[i] = V::load(at + i * V::lanes);
    const typename V::value_type* again = at + (Vecs - 1) * V::lanes;
    FASTCONV_UNROLL
    for (int r = Lo; r <= Hi; ++r) {
      if constexpr (kReload) {
        FASTCONV_OPAQUE_POINTER(again);
        xv[Vecs - 1] = V::load(again);
      }
      const V wv = V::load_broadcast(w - r * g.w_pitch + v);
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) acc[r][i] = V::fma(wv, xv[i], acc[r][i]);
    }
  }
}

template <class V, int Rows, int Vecs>
FASTCONV_INLINE void stencil_group(V (&acc)[Rows][Vecs], const typename V::value_type* x,
                                   const typename V::value_type* w, const StencilGroup& g,
                                   const StencilArgs<typename V::value_type>& a) {
  static_assert(Rows <= 4, "the cases below are those of four rows");
  const std::int64_t last = g.rows - 1;
  FASTCONV_NO_UNROLL
  for (std::int64_t i = 0; i <= last + Rows - 1; ++i, x += a.x_pitch, w += g.w_pitch) {
    const std::int64_t lo = i > last ? i - last : 0;
    const std::int64_t hi = i < Rows - 1 ? i : Rows - 1;
    switch (lo * 4 + hi) {
#define FASTCONV_CASE(Lo, Hi)                                                            \
  case Lo * 4 + Hi:                                                                      \
    if constexpr (Hi < Rows) stencil_row<V, Rows, Vecs, Lo, Hi>(acc, x, w, g, a.column); \
    break;
      FASTCONV_CASE(0, 0)
      FASTCONV_CASE(0, 1)
      FASTCONV_CASE(0, 2)
      FASTCONV_CASE(0, 3)
      FASTCONV_CASE(1, 1)
      FASTCONV_CASE(1, 2)
      FASTCONV_CASE(1, 3)
      FASTCONV_CASE(2, 2)
      FASTCONV_CASE(2, 3)
      FASTCONV_CASE(3, 3)
#undef FASTCONV_CASE
    }
  }
}

template <class V, int Rows, int Vecs>
FASTCONV_INLINE void stencil_tile(const StencilArgs<typename V::value_type>& a,
                                  std::int64_t first) {
  static_assert(Rows * Vecs + Vecs + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[r][i] = V::zero();
  }
  for (std::int64_t n = 0; n < a.groups; ++n) {
    const StencilGroup& g = a.group[n];
    stencil_group<V, Rows, Vecs>(acc, a.x + first + g.x, a.w + g.w, g, a);
  }
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      T* const to = a.acc + r * a.acc_pitch + first + i * V::lanes;
      if (a.accumulate) acc[r][i] = V::add(V::load(to), acc[r][i]);
      acc[r][i].store(to);
    }
  }
}

template <class V, int Rows>
void row_stencil(const StencilArgs<typename V::value_type>& a) {
  if constexpr ((Rows == 3 && kLean<V>) || (Rows == 4 && kSlowProduct<V>)) {
    row_stencil<V, 2>(a);
    StencilArgs<typename V::value_type> others = a;
    others.x += 2 * a.x_pitch;
    others.acc += 2 * a.acc_pitch;
    return row_stencil<V, Rows - 2>(others);
  }
  constexpr int kVecs = kStencilVecs<V>;
  std::int64_t p = 0;
  for (; p + kVecs * V::lanes <= a.pixels; p += kVecs * V::lanes)
    stencil_tile<V, Rows, kVecs>(a, p);
  if constexpr (kVecs > 3)
    for (; p + 3 * V::lanes <= a.pixels; p += 3 * V::lanes) stencil_tile<V, Rows, 3>(a, p);
  for (; p + V::lanes < a.pixels; p += 2 * V::lanes) stencil_tile<V, Rows, 2>(a, p);
  for (; p < a.pixels; p += V::lanes) stencil_tile<V, Rows, 1>(a, p);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
