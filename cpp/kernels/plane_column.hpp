// Kernels of one column: weighted sums of whole rows, where each row that is loaded feeds four
// output rows.
//
//   input row i        acc[0]  acc[1]  acc[2]  acc[3]
//        0              w[0]                                 rising: fewer output rows
//        1              w[1]    w[0]
//        2              w[2]    w[1]    w[0]
//        3              w[3]    w[2]    w[1]    w[0]         a loop without a jump for each row
//        4              w[4]    w[3]    w[2]    w[1]
//        5                      w[4]    w[3]    w[2]         falling
//        6                              w[4]    w[3]
//        7                                      w[4]
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/plane.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

inline constexpr int kTallRows = 4;
// Of more sums GCC spills some: eight rows of three vectors, and on AVX2 four of three, or six of
// two.
template <class V>
inline constexpr int kTallVecs = V::registers >= 32 ? 3 : 2;

// Input rows Row to Rows - 2, which output rows up to their own see.
template <class V, int Rows, int Vecs, int Row>
FASTCONV_INLINE void tall_rise(V (&acc)[Rows][Vecs], const PlaneArgs<typename V::value_type>& a,
                               const typename V::value_type* const* row, std::int64_t at,
                               std::int64_t last) {
  if constexpr (Row < Rows - 1) {
    const typename V::value_type* w = a.w + Row;
    FASTCONV_OPAQUE_POINTER(w);
    plane_column<V, Rows, Vecs, 0, Row>(acc, *row, at, last, w, 1);
    tall_rise<V, Rows, Vecs, Row + 1>(acc, a, row + a.row_step, at, last);
  }
}

// The last Rows - 1 input rows, which output rows from Row on see.
template <class V, int Rows, int Vecs, int Row>
FASTCONV_INLINE void tall_fall(V (&acc)[Rows][Vecs], const PlaneArgs<typename V::value_type>& a,
                               const typename V::value_type* const* row, std::int64_t at,
                               std::int64_t last) {
  if constexpr (Row < Rows) {
    const typename V::value_type* w = a.w + a.kernel_rows - 1;
    FASTCONV_OPAQUE_POINTER(w);
    plane_column<V, Rows, Vecs, Row, Rows - 1>(acc, *row, at, last, w, 1);
    tall_fall<V, Rows, Vecs, Row + 1>(acc, a, row + a.row_step, at, last);
  }
}

template <class V, int Rows, int Vecs>
FASTCONV_NOINLINE void tall_tile(const PlaneArgs<typename V::value_type>& a, std::int64_t first,
                                 std::int64_t end) {
  static_assert(Rows * Vecs + Vecs + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[r][i] = V::zero();
  }
  const std::int64_t at = first + a.column[0], last = at + end;
  const T* const* row = a.row;
  tall_rise<V, Rows, Vecs, 0>(acc, a, row, at, last);
  row += (Rows - 1) * a.row_step;
  const T* w = a.w + Rows - 1;
  const T* const w_end = a.w + a.kernel_rows;
  FASTCONV_NO_UNROLL
  for (; w != w_end; ++w, row += a.row_step) {
    // GCC would keep weights for the rows to come, and spill accumulators.
    FASTCONV_OPAQUE_POINTER(w);
    plane_column<V, Rows, Vecs, 0, Rows - 1>(acc, *row, at, last, w, 1);
  }
  tall_fall<V, Rows, Vecs, 1>(acc, a, row, at, last);
  if (a.bias != nullptr) {
    const V bias = V::load_broadcast(a.bias);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) acc[r][i] = V::add(acc[r][i], bias);
    }
  }
  if (a.zeros != nullptr) {
    const V zero = V::zero();
    V zeros = V::load(a.zeros);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) zeros = V::fma(acc[r][i], zero, zeros);
    }
    zeros.store(a.zeros);
  }
  T* out = a.out + first;
  if (Vecs == 1 && a.pixels < V::lanes) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r, out += a.out_pitch)
      acc[r][0].store(out, static_cast<int>(a.pixels));
    return;
  }
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r, out += a.out_pitch) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs - 1; ++i) acc[r][i].store(out + i * V::lanes);
    acc[r][Vecs - 1].store(out + end);
  }
}

template <class V, int Rows>
FASTCONV_INLINE void tall_rows(const PlaneArgs<typename V::value_type>& a) {
  std::int64_t left = (a.pixels + V::lanes - 1) / V::lanes;
  for (std::int64_t first = 0; left > 0;) {
    const std::int64_t taken = left >= kTallVecs<V> ? kTallVecs<V> : 1;
    const bool ends = left == taken && a.pixels >= V::lanes;
    const std::int64_t end = ends ? a.pixels - V::lanes - first : (taken - 1) * V::lanes;
    if (taken > 1) {
      tall_tile<V, Rows, kTallVecs<V>>(a, first, end);
    } else {
      tall_tile<V, Rows, 1>(a, first, end);
    }
    first += taken * V::lanes;
    left -= taken;
  }
}

template <class V>
FASTCONV_INLINE void look_at_sums(const PlaneArgs<typename V::value_type>& a) {
  V zeros = V::load(a.zeros);
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const typename V::value_type* const sums = a.out + r * a.out_pitch;
    for (std::int64_t i = 0; i < a.pixels; i += V::lanes) {
      const std::int64_t left = a.pixels - i;
      const int n = static_cast<int>(left < V::lanes ? left : V::lanes);
      zeros = V::fma(V::load(sums + i, n), V::zero(), zeros);
    }
  }
  zeros.store(a.zeros);
}

// The last rows are made with some of those before them, once more to the same bits.
template <class V>
void plane_columns(const PlaneArgs<typename V::value_type>& given) {
  PlaneArgs<typename V::value_type> a = given;
  a.activation = Activation::none;
  if (a.rows < kTallRows || a.kernel_rows < kTallRows) {
    plane_filter<V, PlaneKernel::any>(a);
    if (a.zeros != nullptr) look_at_sums<V>(a);
  } else {
    const auto move = [&](std::int64_t rows) {
      a.row += rows * a.advance;
      a.out += rows * a.out_pitch;
      a.rows -= rows;
    };
    while (a.rows > 0) {
      if (a.rows < kTallRows) move(a.rows - kTallRows);
      tall_rows<V, kTallRows>(a);
      move(kTallRows);
    }
  }
  if (given.activation != Activation::none) plane_activate<V>(given);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
