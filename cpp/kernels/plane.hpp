// One channel filtered by one kernel, from input rows straight to output rows: depthwise layers and
// pictures. Lanes are output columns.
//
//   row table          input rows                          Rows output rows
//     row[0] ------->  fill fill fill ...  (above)
//     row[1] ------->  x00  x01  x02  ...                  acc[0] = w[0] row[0] + w[1] row[1] + ...
//     row[2] ------->  x10  x11  x12  ...                  acc[1] = w[0] row[1] + w[1] row[2] + ...
//     ...                                                  ...    -> bias, activation -> out
//
// The table of rows makes borders above and below free: their entries point to a row of the fill
// value, or to the row that is mirrored. An input row is loaded once and feeds every output row
// that it touches, as in row_stencil.hpp. The last vector of a row overlaps the one before it, so
// that nothing is read or written beyond what the outputs need.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/store.hpp"
#include "kernels/table.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Vec i of a tile, of which the last lies `end` elements after the first.
template <class V, int Vecs>
FASTCONV_INLINE V plane_load(const typename V::value_type* x, std::int64_t at, std::int64_t last,
                             int i) {
  return V::load(i < Vecs - 1 ? x + at + i * V::lanes : x + last);
}

// Adds one kernel column of one input row to output rows [Lo, Hi]; `w` is the weight of row Lo.
template <class V, int Rows, int Vecs, int Lo, int Hi>
FASTCONV_INLINE void plane_column(V (&acc)[Rows][Vecs], const typename V::value_type* x,
                                  std::int64_t at, std::int64_t last,
                                  const typename V::value_type* w, std::int64_t w_pitch) {
  V xv[Vecs];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) {
    // By way of a variable of its own: GCC would also store an element of an array.
    V loaded = plane_load<V, Vecs>(x, at, last, i);
    if constexpr (Hi > Lo) FASTCONV_IN_REGISTER(loaded.v);
    xv[i] = loaded;
  }
  FASTCONV_UNROLL
  for (int r = Lo; r <= Hi; ++r) {
    const V wv = V::load_broadcast(w - (r - Lo) * w_pitch);
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[r][i] = V::fma(wv, xv[i], acc[r][i]);
  }
}

// One output row shares no loads, and most loads of whole vectors meet two cache lines. So every
// other column of a kernel row is cut out of two neighbouring vectors, which takes no load:
//
//   [x0 x1 x2 x3][x4 x5 x6 x7]      column 1: loaded     column 2: x2 x3 x4 x5 shifted out
//
// (Zen 4, 256 channels of 31 taps: 51 GFLOP/s with loads alone, by turns 69.)
template <class V>
inline constexpr bool kSlides = kIsFloat<V> && V::registers == 32 && V::lanes >= 8;

// Columns N to count - 1, at most a vector of them, of a row whose vectors begin at x.
template <class V, int Vecs, int N, bool Whole>
FASTCONV_INLINE void plane_slide(V (&acc)[1][Vecs], const V (&xv)[Vecs + 1],
                                 const typename V::value_type* x, const typename V::value_type* w,
                                 int count) {
  if constexpr (N < V::lanes) {
    if (!Whole && N >= count) return;
    const V wv = V::load_broadcast(w + N);
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      V column;
      if constexpr (N % 2 == 0) {
        column = V::template shifted<N>(xv[i], xv[i + 1]);
      } else {
        column = V::load(x + i * V::lanes + N);
      }
      acc[0][i] = V::fma(wv, column, acc[0][i]);
    }
    plane_slide<V, Vecs, N + 1, Whole>(acc, xv, x, w, count);
  }
}

template <class V, int Vecs, bool Whole>
FASTCONV_INLINE void plane_slide_block(V (&acc)[1][Vecs], const typename V::value_type* x,
                                       const typename V::value_type* w, int count) {
  V xv[Vecs + 1];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) xv[i] = V::load(x + i * V::lanes);
  // No more than the last column sees.
  xv[Vecs] = V::load(x + Vecs * V::lanes, count - 1);
  plane_slide<V, Vecs, 0, Whole>(acc, xv, x, w, count);
}

template <class V, int Rows, int Vecs, int Lo, int Hi>
FASTCONV_INLINE void plane_row(V (&acc)[Rows][Vecs], const typename V::value_type* x,
                               std::int64_t end, const typename V::value_type* w,
                               std::int64_t w_pitch, const PlaneArgs<typename V::value_type>& a) {
  w -= Lo * w_pitch;
  if constexpr (Rows == 1 && Vecs >= 5 && kSlides<V>) {
    if (a.neighbours && end == (Vecs - 1) * V::lanes) {
      x += a.column[0];
      std::int64_t left = a.kernel_columns;
      FASTCONV_NO_UNROLL
      for (; left >= V::lanes; left -= V::lanes, x += V::lanes, w += V::lanes)
        plane_slide_block<V, Vecs, true>(acc, x, w, V::lanes);
      if (left > 0) plane_slide_block<V, Vecs, false>(acc, x, w, static_cast<int>(left));
      return;
    }
  }
  FASTCONV_NO_UNROLL
  for (std::int64_t v = 0; v < a.kernel_columns; ++v)
    plane_column<V, Rows, Vecs, Lo, Hi>(acc, x + a.column[v], 0, end, w + v, w_pitch);
}

// What the vectors of a tile are: of columns side by side, or, where rows are no wider than a
// vector, of as many bands of Rows rows, so that each weight that is loaded serves them all. The
// last band may overlap the one before it. Or of columns whose output rows share few input rows,
// for a stride keeps them apart or the kernel is low, and share weights instead.
enum class PlaneForm : std::uint8_t { columns, bands, apart };

// Adds one input row of each band to output rows [Lo, Hi] of it.
template <class V, int Rows, int Bands, int Lo, int Hi>
FASTCONV_INLINE void plane_band_row(V (&acc)[Rows][Bands], const typename V::value_type* const* row,
                                    std::int64_t end, const typename V::value_type* w,
                                    std::int64_t w_pitch,
                                    const PlaneArgs<typename V::value_type>& a) {
  w -= Lo * w_pitch;
  const typename V::value_type* x[Bands];
  bool nothing = true;
  FASTCONV_UNROLL
  for (int i = 0; i < Bands; ++i) {
    x[i] = row[(i < Bands - 1 ? i * Rows : end) * a.advance];
    nothing &= x[i] == a.nothing;
  }
  if (nothing) return;
  FASTCONV_NO_UNROLL
  for (std::int64_t v = 0; v < a.kernel_columns; ++v) {
    const std::int64_t at = a.column[v];
    V xv[Bands];
    FASTCONV_UNROLL
    for (int i = 0; i < Bands; ++i) {
      V loaded = V::load(x[i] + at);
      if constexpr (Hi > Lo) FASTCONV_IN_REGISTER(loaded.v);
      xv[i] = loaded;
    }
    FASTCONV_UNROLL
    for (int r = Lo; r <= Hi; ++r) {
      const V wv = V::load_broadcast(w + v - (r - Lo) * w_pitch);
      FASTCONV_UNROLL
      for (int i = 0; i < Bands; ++i) acc[r][i] = V::fma(wv, xv[i], acc[r][i]);
    }
  }
}

// Kernels of any size: the kernel rows of one phase after the other.
template <class V, int Rows, int Vecs, PlaneForm Form>
FASTCONV_INLINE void plane_sum(V (&acc)[Rows][Vecs], std::int64_t first, std::int64_t end,
                               const typename V::value_type* const* rows,
                               const typename V::value_type* weights,
                               const PlaneArgs<typename V::value_type>& a) {
  static_assert(Rows <= 4, "the cases below are those of four rows");
  const std::int64_t w_pitch = a.phases * a.w_row;
  for (std::int64_t phase = 0; phase < a.phases && phase < a.kernel_rows; ++phase) {
    // A division takes as long as a row of a small kernel.
    const std::int64_t last =
        a.phases == 1 ? a.kernel_rows - 1 : (a.kernel_rows - 1 - phase) / a.phases;
    const typename V::value_type* const* row = rows + phase * a.phase_step;
    const typename V::value_type* w = weights + phase * a.w_row;
    FASTCONV_NO_UNROLL
    for (std::int64_t i = 0; i <= last + Rows - 1; ++i, row += a.row_step, w += w_pitch) {
      // A row of zeros in the border.
      if constexpr (Form == PlaneForm::columns && Rows > 1)
        if (*row == a.nothing) continue;
      const typename V::value_type* const x = *row + first;
      const std::int64_t lo = i > last ? i - last : 0;
      const std::int64_t hi = i < Rows - 1 ? i : Rows - 1;
      switch (lo * 4 + hi) {
#define FASTCONV_CASE(Lo, Hi)                                              \
  case Lo * 4 + Hi:                                                        \
    if constexpr (Hi < Rows && Form == PlaneForm::bands)                   \
      plane_band_row<V, Rows, Vecs, Lo, Hi>(acc, row, end, w, w_pitch, a); \
    else if constexpr (Hi < Rows)                                          \
      plane_row<V, Rows, Vecs, Lo, Hi>(acc, x, end, w, w_pitch, a);        \
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
}

// The same, to the same bits, a kernel row at a time: a weight is loaded once for all sums, and
// input where it is multiplied. By input rows, 12 sums of a 5 x 5 kernel with a stride of 2
// take 2.8 instructions for each multiply-add, for an input row is seen by 1.8 of four output rows;
// so 1.5.
template <class V, int Rows, int Vecs>
FASTCONV_INLINE void plane_sum_apart(V (&acc)[Rows][Vecs], std::int64_t first, std::int64_t end,
                                     const typename V::value_type* const* rows,
                                     const typename V::value_type* weights,
                                     const PlaneArgs<typename V::value_type>& a) {
  for (std::int64_t phase = 0; phase < a.phases; ++phase) {
    const typename V::value_type* const* row = rows + phase * a.phase_step;
    FASTCONV_NO_UNROLL
    for (std::int64_t u = phase; u < a.kernel_rows; u += a.phases, row += a.row_step) {
      const typename V::value_type* x[Rows];
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) x[r] = row[r * a.advance] + first;
      const typename V::value_type* const w = weights + u * a.w_row;
      FASTCONV_NO_UNROLL
      for (std::int64_t v = 0; v < a.kernel_columns; ++v) {
        const std::int64_t at = a.column[v], last = at + end;
        const V wv = V::load_broadcast(w + v);
        FASTCONV_UNROLL
        for (int r = 0; r < Rows; ++r) {
          FASTCONV_UNROLL
          for (int i = 0; i < Vecs; ++i)
            acc[r][i] = V::fma(plane_load<V, Vecs>(x[r], at, last, i), wv, acc[r][i]);
        }
      }
    }
  }
}

// Size x Size, unrolled whole: input row Row and those after it. Stride is the vertical one; the
// table steps through all of its rows.
template <class V, int Rows, int Vecs, int Size, int Stride, int Row>
FASTCONV_INLINE void plane_square(V (&acc)[Rows][Vecs], const typename V::value_type* const* row,
                                  std::int64_t row_step, const typename V::value_type* w,
                                  const std::int64_t (&at)[Size],
                                  const std::int64_t (&last)[Size]) {
  if constexpr (Row <= (Rows - 1) * Stride + Size - 1) {
    constexpr int kLo = Row < Size ? 0 : (Row - Size) / Stride + 1;
    constexpr int kHi = Row / Stride < Rows - 1 ? Row / Stride : Rows - 1;
    // GCC would keep weights for the rows to come, and spill accumulators.
    if constexpr ((Rows + 1) * Vecs + Size * Size > V::registers) FASTCONV_OPAQUE_POINTER(w);
    const typename V::value_type* const x = *row;
    FASTCONV_UNROLL
    for (int v = 0; v < Size; ++v)
      plane_column<V, Rows, Vecs, kLo, kHi>(acc, x, at[v], last[v],
                                            w + (Row - kLo * Stride) * Size + v, Size * Stride);
    plane_square<V, Rows, Vecs, Size, Stride, Row + 1>(acc, row + row_step, row_step, w, at, last);
  }
}

// A function of its own: inlined, one beside the other, GCC 12 spilled dozens of sums a tile.
template <class V, int Rows, int Vecs, PlaneKernel Kernel, PlaneForm Form = PlaneForm::columns>
FASTCONV_NOINLINE void plane_tile(const PlaneArgs<typename V::value_type>& a, std::int64_t first,
                                  std::int64_t end) {
  static_assert(Rows == 1 ? Vecs + 2 <= V::registers : Rows * Vecs + Vecs + 1 <= V::registers,
                "the tile spills");
  using T = typename V::value_type;
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[r][i] = V::zero();
  }
  if constexpr (Kernel == PlaneKernel::any) {
    const T* const* row = a.row;
    const T* w = a.w;
    for (std::int64_t slice = 0; slice < a.slices; ++slice) {
      if constexpr (Form == PlaneForm::apart) {
        plane_sum_apart<V, Rows, Vecs>(acc, first, end, row, w, a);
      } else {
        plane_sum<V, Rows, Vecs, Form>(acc, first, end, row, w, a);
      }
      row += a.slice_rows;
      w += a.kernel_rows * a.w_row;
    }
  } else {
    constexpr int kSize = Kernel == PlaneKernel::square5   ? 5
                          : Kernel == PlaneKernel::square7 ? 7
                                                           : 3;
    constexpr int kStride = Kernel == PlaneKernel::square3_by2 ? 2 : 1;
    std::int64_t at[kSize], last[kSize];
    FASTCONV_UNROLL
    for (int v = 0; v < kSize; ++v) {
      at[v] = first + (kSize == 3 ? a.column[v] : v);
      last[v] = at[v] + end;
    }
    plane_square<V, Rows, Vecs, kSize, kStride, 0>(acc, a.row, a.row_step, a.w, at, last);
  }
  if (a.bias != nullptr) {
    const V bias = V::load_broadcast(a.bias);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) acc[r][i] = V::add(acc[r][i], bias);
    }
  }
  if (a.activation == Activation::relu || a.activation == Activation::relu6) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) acc[r][i] = activate(acc[r][i], Activation::relu);
    }
    if (a.activation == Activation::relu6) {
      const V six = V::broadcast(T(6));
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        FASTCONV_UNROLL
        for (int i = 0; i < Vecs; ++i) acc[r][i] = V::min(acc[r][i], six);
      }
    }
  }
  if constexpr (Form == PlaneForm::bands) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const std::int64_t at = ((i < Vecs - 1 ? i * Rows : end) + r) * a.out_pitch;
        if (a.pixels == V::lanes || at + V::lanes <= a.room) {
          acc[r][i].store(a.out + at);
        } else {
          acc[r][i].store(a.out + at, static_cast<int>(a.pixels));
        }
      }
    }
    return;
  }
  T* out = a.out + first;
  if (Vecs == 1 && a.pixels < V::lanes) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r, out += a.out_pitch) {
      if (r * a.out_pitch + V::lanes <= a.room) {
        acc[r][0].store(out);
      } else {
        acc[r][0].store(out, static_cast<int>(a.pixels));
      }
    }
    return;
  }
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r, out += a.out_pitch) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs - 1; ++i) acc[r][i].store(out + i * V::lanes);
    acc[r][Vecs - 1].store(out + end);
  }
}

// What is too long to be inlined into every tile acts on the rows once they are stored.
template <class V>
FASTCONV_NOINLINE void plane_activate(const PlaneArgs<typename V::value_type>& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    typename V::value_type* const out = a.out + r * a.out_pitch;
    for (std::int64_t i = 0; i < a.pixels; i += V::lanes) {
      const std::int64_t left = a.pixels - i;
      const int n = static_cast<int>(left < V::lanes ? left : V::lanes);
      activate(V::load(out + i, n), a.activation).store(out + i, n);
    }
  }
}

// The same of what rolling.hpp and staged_planes.hpp have filtered.
template <class V>
FASTCONV_INLINE void activate_planes(const RollArgs<typename V::value_type>& a) {
  if (a.activation <= Activation::relu6) return;
  PlaneArgs<typename V::value_type> rows{};
  rows.rows = a.rows;
  rows.pixels = a.pixels;
  rows.out_pitch = a.out_pitch;
  rows.activation = a.activation;
  for (std::int64_t p = 0; p < a.planes * a.filters; ++p) {
    rows.out = a.out + p * a.out_plane;
    plane_activate<V>(rows);
  }
}

// The product of integers takes a register; kernels of any size have none left for it.
template <class V, int Rows, PlaneKernel Kernel>
inline constexpr int kPlaneVecs =
    Kernel == PlaneKernel::any && Rows * 3 + 4 + V::product_registers > V::registers ? 2 : 3;

// One row at a time shares no loads; ten sums hide the latency of each other.
template <class V>
inline constexpr bool kTenSums = kIsFloat<V> || !kLeanest<V>;
inline constexpr std::int64_t kTenVecs = 10;

// Kernels that gain more from ten sums, and no jump for each input row, than from rows that four
// output rows share: those of one row, and small ones.
template <class V>
FASTCONV_INLINE bool suits_one_row(const PlaneArgs<typename V::value_type>& a) {
  constexpr std::int64_t kFewTaps = 6;
  const bool few = a.kernel_rows * a.kernel_columns <= kFewTaps;
  return a.slices == 1 && a.pixels >= kTenVecs * V::lanes && (a.kernel_rows == 1 || few);
}

template <class V, int Rows, PlaneKernel Kernel, PlaneForm Form = PlaneForm::columns>
FASTCONV_INLINE void plane_rows(const PlaneArgs<typename V::value_type>& a) {
  constexpr int kVecs = kPlaneVecs<V, Rows, Kernel>;
  constexpr bool kOne = Rows == 1 && kTenSums<V>;
  constexpr int kWide = kOne ? kTenVecs : kVecs;
  constexpr int kMiddle = kOne && !kLeanest<V> ? 5 : kOne ? 2 : kVecs;
  std::int64_t left = (a.pixels + V::lanes - 1) / V::lanes;
  if (a.pixels < V::lanes) {
    plane_tile<V, Rows, 1, Kernel, Form>(a, 0, 0);
    left = 0;
  }
  for (std::int64_t first = 0; left > 0;) {
    const std::int64_t to_last = a.pixels - V::lanes - first;
    const auto end = [&](std::int64_t vecs) {
      return left == vecs ? to_last : (vecs - 1) * V::lanes;
    };
    std::int64_t taken = 1;
    if (left >= kWide && left != kWide + 1) {
      taken = kWide;
      plane_tile<V, Rows, kWide, Kernel, Form>(a, first, end(taken));
    } else if (kMiddle != kWide && left >= kMiddle) {
      taken = kMiddle;
      if constexpr (kMiddle != kWide)
        plane_tile<V, Rows, kMiddle, Kernel, Form>(a, first, end(taken));
    } else if (left >= 2) {
      taken = 2;
      plane_tile<V, Rows, 2, Kernel, Form>(a, first, end(taken));
    } else {
      plane_tile<V, Rows, 1, Kernel, Form>(a, first, to_last);
    }
    first += taken * V::lanes;
    left -= taken;
  }
}

// One tap: rows of four vectors and more times a number, which takes no tiles.
template <class V>
FASTCONV_INLINE void plane_scale(const PlaneArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  const V w = V::load_broadcast(a.w), zero = V::zero();
  const V bias = a.bias != nullptr ? V::load_broadcast(a.bias) : zero;
  const bool has_bias = a.bias != nullptr;
  const bool relu = a.activation == Activation::relu || a.activation == Activation::relu6;
  const bool relu6 = a.activation == Activation::relu6;
  const auto scale = [&](const V& x) FASTCONV_INLINE_LAMBDA {
    V y = V::fma(w, x, zero);
    if (has_bias) y = V::add(y, bias);
    if (relu) y = activate(y, Activation::relu);
    if (relu6) y = V::min(y, V::broadcast(T(6)));
    return y;
  };
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const T* const x = a.row[r * a.advance] + a.column[0];
    T* const out = a.out + r * a.out_pitch;
    std::int64_t i = 0;
    FASTCONV_NO_UNROLL
    for (; i + 4 * V::lanes <= a.pixels; i += 4 * V::lanes) {
      FASTCONV_UNROLL
      for (int j = 0; j < 4; ++j)
        scale(V::load(x + i + j * V::lanes)).store(out + i + j * V::lanes);
    }
    for (; i < a.pixels; i += V::lanes) {
      const std::int64_t at = i + V::lanes <= a.pixels ? i : a.pixels - V::lanes;
      scale(V::load(x + at)).store(out + at);
    }
  }
}

template <class V>
inline constexpr bool kHasBands =
    !kLeanest<V> && (kIsFloat<V> || sizeof(typename V::value_type) == 4);

// Where an input row is seen by two of four output rows or fewer (Zen 3, AVX2: 72 channels of 56 x
// 56, 5 x 5 with a stride of 2, 328 us by input rows, 237 so; 9 x 9 with that stride, and 5 x 7,
// 0.86 of the speed).
template <class V>
FASTCONV_INLINE bool shares_weights(const PlaneArgs<typename V::value_type>& a) {
  return a.kernel_rows <= 3 * a.phases;
}

// The output rows in fours, then two or one. Fewer than four of a large kernel go without code of
// their own, to the same bits, as do those of integers, for whose last rows a four is done again.
template <class V, PlaneKernel Kernel>
void plane_filter(const PlaneArgs<typename V::value_type>& given) {
  PlaneArgs<typename V::value_type> a = given;
  const auto move = [&](std::int64_t rows) {
    a.row += rows * a.advance;
    a.out += rows * a.out_pitch;
    a.room -= rows * a.out_pitch;
    a.rows -= rows;
  };
  if constexpr (Kernel == PlaneKernel::any) {
    const bool one_tap = a.slices == 1 && a.kernel_rows == 1 && a.kernel_columns == 1;
    if (one_tap && a.pixels >= 4 * V::lanes) {
      plane_scale<V>(a);
      a.rows = 0;
    }
    if constexpr (kHasBands<V>) {
      constexpr int kBands = kPlaneVecs<V, 4, Kernel>;
      while (a.pixels <= V::lanes && a.rows > 4) {
        // 13 to 16 rows: twice two bands.
        const bool all = kBands == 3 && a.rows > 8 && (a.rows <= 12 || a.rows > 16);
        const std::int64_t most = all ? 12 : 8, taken = a.rows < most ? a.rows : most;
        if (all) {
          plane_tile<V, 4, kBands, Kernel, PlaneForm::bands>(a, 0, taken - 4);
        } else {
          plane_tile<V, 4, 2, Kernel, PlaneForm::bands>(a, 0, taken - 4);
        }
        move(taken);
      }
    }
  }
  constexpr bool kLarge = Kernel == PlaneKernel::square5 || Kernel == PlaneKernel::square7;
  constexpr bool kFours = Kernel != PlaneKernel::any && kLean<V>;
  constexpr PlaneKernel kFew = kLarge || kFours ? PlaneKernel::any : Kernel;
  if (kFours && a.rows < 4) a.row_step = a.advance;
  if constexpr (Kernel == PlaneKernel::any && kTenSums<V>) {
    while (a.rows > 0 && suits_one_row<V>(a)) {
      plane_rows<V, 1, Kernel>(a);
      move(1);
    }
  }
  if constexpr (Kernel == PlaneKernel::any && kFillsRegisters<V>) {
    while (given.rows > 3 && a.rows > 0 && shares_weights<V>(a)) {
      if (a.rows < 4) move(a.rows - 4);
      plane_rows<V, 4, Kernel, PlaneForm::apart>(a);
      move(4);
    }
  }
  while (a.rows > 0) {
    if constexpr (!kSlowProduct<V>) {
      // Three rows: four, once more over the last that is done.
      if ((kFours ? a.rows < 4 : a.rows == 3) && given.rows > 3) move(a.rows - 4);
      if (a.rows >= 4) {
        plane_rows<V, 4, Kernel>(a);
        move(4);
        continue;
      }
    }
    if (a.rows >= 2) {
      plane_rows<V, 2, kFew>(a);
      move(2);
    } else {
      plane_rows<V, 1, kFew>(a);
      move(1);
    }
  }
  if constexpr (kIsFloat<V>) {
    if (given.activation > Activation::relu6) plane_activate<V>(given);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
