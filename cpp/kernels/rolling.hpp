// One channel filtered by one small square kernel, from the caller's rows straight to output rows.
// Lanes are output columns; the sums of the output rows that an input row touches roll through the
// registers, so that each input row is read once:
//
//   input row      sums
//      j           a[0] += w[0] x    a[1] += w[1] x    a[2] += w[2] x  -> output row j - 2
//      j + 1            \ becomes a[1]    \ becomes a[2]
//
// Nothing is staged. A row of the table is an offset into the plane, or stands for the border; the
// columns of a row are loaded through masks, which show the fill value beside it, and kernel
// columns are cut out of two neighbouring vectors:
//
//   padded columns    f f x0 x1 x2 x3 ...                 low  [f f x0 x1 | x2 x3 x4 x5]  high
//   kernel column 1         [f x0 x1 x2]
//
// With a stride of 2 there are three, and even and odd columns are sorted in registers.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/plane.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Kernels that reach further than the neighbouring vector have no such form.
template <class V, int Size>
inline constexpr bool kRolls = kIsFloat<V> && V::fused && Size - 1 <= V::lanes;

// Most vectors of a strip: sums, two vectors and the one cut out of them, a weight and the fill
// value are in registers, and of 3 x 3 all weights where there are 32.
template <class V, int Size>
inline constexpr int kRollVecs = V::registers == 32 ? (Size == 3   ? 4
                                                       : Size == 5 ? 3
                                                                   : 2)
                                                    : 1;

// What one vector of output columns sees of a row.
template <class V, int Size, int Stride>
struct RollColumns {
  static constexpr int kParts = Stride + 1;
  std::int64_t at;  // input column of the first lane
  typename V::Mask part[kParts];

  static FASTCONV_INLINE RollColumns make(std::int64_t first, std::int64_t border,
                                          std::int64_t width) {
    // Without branches, which would be mispredicted where planes are small.
    const auto lanes_of = [](std::int64_t n) {
      n &= ~(n >> 63);
      n -= V::lanes;
      return static_cast<int>((n & (n >> 63)) + V::lanes);
    };
    RollColumns c;
    c.at = first * Stride - border;
    for (int q = 0; q < kParts; ++q) {
      const std::int64_t start = c.at + q * V::lanes;
      c.part[q] = V::lanes_between(lanes_of(-start), lanes_of(width - start));
    }
    return c;
  }
};

// The vector of kernel column N.
template <class V, int Size, int Stride, int N>
FASTCONV_INLINE V roll_column(const V (&part)[4]) {
  if constexpr (Stride == 1) {
    return V::template shifted<N>(part[0], part[1]);
  } else {
    return V::template shifted<N / 2>(part[N % 2], part[2 + N % 2]);
  }
}

// part: low, high (stride 1) or even, odd, even and odd of what follows.
template <class V, int Size, int Stride>
FASTCONV_INLINE void roll_load(const RollColumns<V, Size, Stride>& c,
                               const typename V::value_type* row, V fill, V (&part)[4]) {
  row += c.at;
  part[0] = V::load(row, c.part[0], fill);
  part[1] = V::load(row + V::lanes, c.part[1], fill);
  if constexpr (Stride == 2) {
    V::unzip(part[0], part[1]);
    part[2] = V::load(row + 2 * V::lanes, c.part[2], fill);
    part[3] = part[2];
    // Of a 3 x 3 kernel only the first lane is looked at.
    if constexpr (Size > 3) V::unzip(part[2], part[3]);
  }
}

template <class V, int Vecs>
struct RollStrip {
  using T = typename V::value_type;
  const T* x;
  const T* w;
  const T* bias;  // null: none
  const T* from;  // null: sums start from zero
  T* out;
  const T* out_end;  // whole vectors may be written up to here
  std::int64_t rows;
  std::int64_t first[Vecs];  // output column of each vector
  // Where the vectors are the bands of one column of vectors: input rows, sums and output before
  // that of the first.
  std::int64_t slot[Vecs];
  std::int64_t from_at[Vecs];
  std::int64_t out_at[Vecs];
};

template <class V, int Vecs, bool Bands>
FASTCONV_INLINE void roll_store(const RollArgs<typename V::value_type>& a,
                                const RollStrip<V, Vecs>& s, std::int64_t r, V (&sum)[Vecs]) {
  using T = typename V::value_type;
  if (s.bias != nullptr) {
    const V bias = V::load_broadcast(s.bias);
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i] = V::add(sum[i], bias);
  }
  if (a.activation == Activation::relu || a.activation == Activation::relu6) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i] = V::at_least(sum[i], V::zero());
    if (a.activation == Activation::relu6) {
      const V six = V::broadcast(T(6));
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) sum[i] = V::at_most(sum[i], six);
    }
  }
  T* const out = s.out + r * a.out_pitch;
  if constexpr (Bands && V::quick_masked_stores) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i].store(out + s.out_at[i], static_cast<int>(a.pixels));
    return;
  }
  if (Vecs == 1 && a.pixels < V::lanes) {
    if (!V::quick_masked_stores && out + V::lanes <= s.out_end) {
      sum[0].store(out);
    } else {
      sum[0].store(out, static_cast<int>(a.pixels));
    }
    return;
  }
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) sum[i].store(out + s.first[i]);
}

// Weights of 3 x 3 kernels stay in registers where there are 32; others are loaded for each row.
template <class V, int Size>
inline constexpr bool kHoldsWeights = Size == 3 && V::registers == 32;

template <class V, int Size>
struct RollWeights {
  const typename V::value_type* at;
  V held[kHoldsWeights<V, Size> ? Size * Size : 1];

  static FASTCONV_INLINE RollWeights load(const typename V::value_type* w) {
    RollWeights weights;
    weights.at = w;
    if constexpr (kHoldsWeights<V, Size>) {
      FASTCONV_UNROLL
      for (int i = 0; i < Size * Size; ++i) weights.held[i] = V::load_broadcast(w + i);
    }
    return weights;
  }
  FASTCONV_INLINE V get(int i) const {
    if constexpr (kHoldsWeights<V, Size>) return held[i];
    return V::load_broadcast(at + i);
  }
};

template <class V, int Size, int Stride, int N>
FASTCONV_INLINE void roll_all_columns(const V (&part)[4], V (&x)[Size]) {
  if constexpr (N < Size) {
    x[N] = roll_column<V, Size, Stride, N>(part);
    roll_all_columns<V, Size, Stride, N + 1>(part, x);
  }
}

// Makes GCC have the sums by now. It would compute some where they are used, such as in the branch
// that stores them, and keep all columns of a row until then.
template <class V, int Vecs>
FASTCONV_INLINE void roll_settle(V (&sum)[Vecs]) {
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) {
    V settled = sum[i];
    FASTCONV_IN_REGISTER(settled.v);
    sum[i] = settled;
  }
}

// Kernel column N and those after it, of one input row that all sums see.
template <class V, int Size, int Stride, int Vecs, int Sums, bool Inside, int Phase, int N>
FASTCONV_INLINE void roll_columns(V (&sum)[Sums][Vecs], const V (&part)[Vecs][4],
                                  const typename V::value_type* row,
                                  const std::int64_t (&first)[Vecs],
                                  const RollWeights<V, Size>& weights) {
  if constexpr (N < Size) {
    V x[Vecs];
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      V column;
      if constexpr (Inside) {
        column = V::load(row + first[i] + N);
      } else {
        column = roll_column<V, Size, Stride, N>(part[i]);
      }
      FASTCONV_IN_REGISTER(column.v);
      x[i] = column;
    }
    FASTCONV_UNROLL
    for (int m = 0; m < Sums; ++m) {
      if (m * Stride + Phase < Size) {
        const V weight = weights.get((m * Stride + Phase) * Size + N);
        FASTCONV_UNROLL
        for (int i = 0; i < Vecs; ++i) sum[m][i] = V::fma(weight, x[i], sum[m][i]);
        if constexpr (V::registers < 32) roll_settle(sum[m]);
      }
    }
    roll_columns<V, Size, Stride, Vecs, Sums, Inside, Phase, N + 1>(sum, part, row, first, weights);
  }
}

// Row `row` of the kernel from column `first` on, times so many columns of some vectors.
template <class V, int Size, int Columns, int Count>
FASTCONV_INLINE void roll_row(V* sum, const V (&x)[Count][Columns],
                              const RollWeights<V, Size>& weights, int row, int first) {
  FASTCONV_UNROLL
  for (int v = 0; v < Columns; ++v) {
    const V weight = weights.get(row * Size + first + v);
    FASTCONV_UNROLL
    for (int n = 0; n < Count; ++n) sum[n] = V::fma(weight, x[n][v], sum[n]);
  }
}

// The same for the kernel rows of sums `low` to `high`, of vectors from `i` on.
template <class V, int Size, int Stride, int Phase, int Vecs, int Sums, int Columns, int Count>
FASTCONV_INLINE void roll_some(V (&sum)[Sums][Vecs], int i, const V (&x)[Count][Columns],
                               const RollWeights<V, Size>& weights, int first, int low, int high) {
  static_assert(Sums <= 7, "the cases below");
  switch (high) {
#define FASTCONV_CASE(M)                                                                    \
  case M:                                                                                   \
    if constexpr (M < Sums && M * Stride + Phase < Size)                                    \
      roll_row<V, Size, Columns, Count>(&sum[M][i], x, weights, M * Stride + Phase, first); \
    if (low == M) break;                                                                    \
    [[fallthrough]];
    FASTCONV_CASE(6)
    FASTCONV_CASE(5)
    FASTCONV_CASE(4)
    FASTCONV_CASE(3)
    FASTCONV_CASE(2)
    FASTCONV_CASE(1)
#undef FASTCONV_CASE
    default:
      roll_row<V, Size, Columns, Count>(&sum[0][i], x, weights, Phase, first);
  }
}

// All columns of them, one at a time: 16 registers do not hold a row of them.
template <class V, int Size, int Stride, int Phase, int N, int Vecs, int Sums>
FASTCONV_INLINE void roll_some_columns(V (&sum)[Sums][Vecs], int i, const V (&part)[1][4],
                                       const RollWeights<V, Size>& weights, int low, int high) {
  if constexpr (N < Size) {
    V column = roll_column<V, Size, Stride, N>(part[0]);
    FASTCONV_IN_REGISTER(column.v);
    const V x[1][1] = {{column}};
    // Or GCC would go through all columns in each case, and have all of them ready before.
    FASTCONV_OPAQUE_POINTER(high);
    roll_some<V, Size, Stride, Phase, Vecs, Sums, 1, 1>(sum, i, x, weights, N, low, high);
    roll_some_columns<V, Size, Stride, Phase, N + 1>(sum, i, part, weights, low, high);
  }
}

enum class RollForm : std::uint8_t {
  edges,   // vectors side by side, which may see borders
  inside,  // vectors side by side, none of whose loads does
  bands    // two halves of the rows of one vector: the weights that are loaded serve both
};

enum class RollPart : std::uint8_t {
  whole,  // all sums are of output rows, or those that are not are computed in vain
  some    // sums `low` to `high` are
};

// The sums of kernel rows `Phase`, `Phase` + Stride, ... of one input row.
template <class V, int Size, int Stride, int Vecs, int Sums, RollPart Part, RollForm Form,
          int Phase>
FASTCONV_INLINE void roll_input_row(V (&sum)[Sums][Vecs], const RollStrip<V, Vecs>& s,
                                    const RollColumns<V, Size, Stride> (&columns)[Vecs],
                                    const RollWeights<V, Size>& given, V given_fill,
                                    const RollArgs<typename V::value_type>& a, std::int64_t slot,
                                    int low, int high) {
  using T = typename V::value_type;
  const auto look_up = [&](std::int64_t i) {
    const std::int64_t offset = a.row[i];
    return offset == kFillRow ? a.fill_row : s.x + offset;
  };
  const T* const row = look_up(slot);
  const T* rows[Vecs];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i)
    rows[i] = Form == RollForm::bands && i > 0 ? look_up(slot + s.slot[i]) : row;
  RollWeights<V, Size> weights = given;
  const RollColumns<V, Size, Stride>* column = columns;
  // GCC would keep weights for the rows to come, and spill sums; of 16 registers masks and the fill
  // value are too many as well.
  if constexpr (!kHoldsWeights<V, Size>) FASTCONV_OPAQUE_POINTER(weights.at);
  V fill = given_fill;
  if constexpr (V::registers < 32) {
    FASTCONV_OPAQUE_POINTER(column);
    const T* fill_at = a.fill_row;
    FASTCONV_OPAQUE_POINTER(fill_at);
    fill = V::load_broadcast(fill_at);
  }
  constexpr bool kInside = Form == RollForm::inside;
  if constexpr (kInside) {
    // The strip that is next, in so many streams that hardware does not follow them.
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) FASTCONV_PREFETCH(row + s.first[0] + (Vecs + i) * V::lanes);
  }
  if constexpr (Part == RollPart::whole && kInside) {
    const V none[Vecs][4] = {};
    roll_columns<V, Size, Stride, Vecs, Sums, true, Phase, 0>(sum, none, row - a.border, s.first,
                                                              weights);
  } else if constexpr (Part == RollPart::whole && Size > 3) {
    V part[Vecs][4];
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) roll_load<V, Size, Stride>(column[i], rows[i], fill, part[i]);
    roll_columns<V, Size, Stride, Vecs, Sums, false, Phase, 0>(sum, part, row, s.first, weights);
  } else if constexpr (Part == RollPart::whole) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      V part[4], x[Size];
      roll_load<V, Size, Stride>(column[i], rows[i], fill, part);
      roll_all_columns<V, Size, Stride, 0>(part, x);
      FASTCONV_UNROLL
      for (int v = 0; v < Size; ++v) {
        FASTCONV_UNROLL
        for (int m = 0; m < Sums; ++m)
          if (m * Stride + Phase < Size)
            sum[m][i] = V::fma(weights.get((m * Stride + Phase) * Size + v), x[v], sum[m][i]);
      }
    }
  } else {
    // Two vectors share the weights; the columns of three do not fit the registers.
    constexpr int kShare = Vecs == 2 && V::registers == 32 ? 2 : 1;
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; i += kShare) {
      V part[kShare][4];
      FASTCONV_UNROLL
      for (int n = 0; n < kShare; ++n)
        roll_load<V, Size, Stride>(column[i + n], rows[i + n], fill, part[n]);
      if constexpr (V::registers == 32) {
        V x[kShare][Size];
        FASTCONV_UNROLL
        for (int n = 0; n < kShare; ++n) roll_all_columns<V, Size, Stride, 0>(part[n], x[n]);
        roll_some<V, Size, Stride, Phase, Vecs, Sums, Size, kShare>(sum, i, x, weights, 0, low,
                                                                    high);
      } else {
        roll_some_columns<V, Size, Stride, Phase, 0>(sum, i, part, weights, low, high);
      }
    }
  }
}

// The input rows that begin with output row j, one for each phase of the vertical stride.
template <class V, int Size, int Stride, int Vecs, int Sums, RollPart Part, RollForm Form>
FASTCONV_INLINE void roll_step(V (&sum)[Sums][Vecs], const RollStrip<V, Vecs>& s,
                               const RollColumns<V, Size, Stride> (&columns)[Vecs],
                               const RollWeights<V, Size>& weights, V fill,
                               const RollArgs<typename V::value_type>& a, std::int64_t j) {
  const int low = j < s.rows ? 0 : static_cast<int>(j - s.rows + 1);
  const int high = j < Sums - 1 ? static_cast<int>(j) : Sums - 1;
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) sum[0][i] = V::zero();
  if (s.from != nullptr && j < s.rows) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i)
      sum[0][i] = V::load(s.from + j * a.from_pitch +
                          (Form == RollForm::bands ? s.from_at[i] : s.first[i]));
  }
  roll_input_row<V, Size, Stride, Vecs, Sums, Part, Form, 0>(sum, s, columns, weights, fill, a,
                                                             j * Stride, low, high);
  roll_settle(sum[Sums - 1]);
  if (j >= Sums - 1)
    roll_store<V, Vecs, Form == RollForm::bands>(a, s, j - (Sums - 1), sum[Sums - 1]);
  if constexpr (Stride == 2)
    roll_input_row<V, Size, Stride, Vecs, Sums, Part, Form, 1>(sum, s, columns, weights, fill, a,
                                                               j * Stride + 1, low, high);
  FASTCONV_UNROLL
  for (int m = Sums - 1; m > 0; --m) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[m][i] = sum[m - 1][i];
  }
}

// Sums of rows above and below the output are computed in vain where a kernel has three rows, for a
// branch that is mispredicted costs as much.
template <int Size>
inline constexpr bool kSkipsRows = Size > 3;

// All rows of a strip of columns.
template <class V, int Size, int Stride, int Vecs, RollForm Form>
FASTCONV_NOINLINE void roll_strip(const RollArgs<typename V::value_type>& a,
                                  const RollStrip<V, Vecs>& s,
                                  const RollColumns<V, Size, Stride> (&columns)[Vecs]) {
  constexpr int kSums = (Size - 1) / Stride + 1;
  const RollWeights<V, Size> weights = RollWeights<V, Size>::load(s.w);
  const V fill = V::load_broadcast(a.fill_row);
  V sum[kSums][Vecs];
  FASTCONV_UNROLL
  for (int m = 0; m < kSums; ++m) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[m][i] = V::zero();
  }
  const std::int64_t steps = s.rows + kSums - 1;
  std::int64_t j = 0;
  constexpr bool kSkips = kSkipsRows<Size>;
  const std::int64_t first_whole = kSkips ? kSums - 1 : 0;
  const std::int64_t whole = kSkips ? s.rows : steps;
  if constexpr (kSkips) {
    FASTCONV_NO_UNROLL
    for (; j < first_whole && j < steps; ++j)
      roll_step<V, Size, Stride, Vecs, kSums, RollPart::some, Form>(sum, s, columns, weights, fill,
                                                                    a, j);
  }
  FASTCONV_NO_UNROLL
  for (; j < whole; ++j)
    roll_step<V, Size, Stride, Vecs, kSums, RollPart::whole, Form>(sum, s, columns, weights, fill,
                                                                   a, j);
  if constexpr (kSkips) {
    FASTCONV_NO_UNROLL
    for (; j < steps; ++j)
      roll_step<V, Size, Stride, Vecs, kSums, RollPart::some, Form>(sum, s, columns, weights, fill,
                                                                    a, j);
  }
}

template <class V, int Size, int Stride, int Vecs>
FASTCONV_INLINE void roll_vectors(const RollArgs<typename V::value_type>& a, std::int64_t first,
                                  const RollStrip<V, 1>& plane) {
  RollStrip<V, Vecs> s{plane.x, plane.w, plane.bias, plane.from, plane.out, plane.out_end,
                       a.rows,  {},      {},         {},         {}};
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) {
    const std::int64_t at = first + i * V::lanes;
    s.first[i] = at + V::lanes <= a.pixels || a.pixels < V::lanes ? at : a.pixels - V::lanes;
  }
  RollColumns<V, Size, Stride> columns[Vecs];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i)
    columns[i] = RollColumns<V, Size, Stride>::make(s.first[i], a.border, a.width);
  if constexpr (Stride == 1 && Vecs == kRollVecs<V, Size>) {
    if (s.first[0] >= a.border && s.first[Vecs - 1] - a.border + V::lanes + Size - 1 <= a.width)
      return roll_strip<V, Size, Stride, Vecs, RollForm::inside>(a, s, columns);
  }
  roll_strip<V, Size, Stride, Vecs, RollForm::edges>(a, s, columns);
}

template <class V, int Size, int Stride>
FASTCONV_INLINE void roll_plane(const RollArgs<typename V::value_type>& a,
                                const RollStrip<V, 1>& plane) {
  constexpr int kMost = kRollVecs<V, Size>;
  std::int64_t left = (a.pixels + V::lanes - 1) / V::lanes;
  for (std::int64_t first = 0; left > 0;) {
    // No single vector is left for the end where there are more.
    const std::int64_t taken = left >= kMost && left != kMost + 1 ? kMost
                               : left > kMost                     ? (left + 1) / 2
                                                                  : left;
    if (taken == 1) {
      roll_vectors<V, Size, Stride, 1>(a, first, plane);
    } else if constexpr (kMost >= 2) {
      if (taken == 2) {
        roll_vectors<V, Size, Stride, 2>(a, first, plane);
      } else if constexpr (kMost >= 3) {
        if (taken == 3) {
          roll_vectors<V, Size, Stride, 3>(a, first, plane);
        } else if constexpr (kMost >= 4) {
          roll_vectors<V, Size, Stride, 4>(a, first, plane);
        }
      }
    }
    first += taken * V::lanes;
    left -= taken;
  }
}

// A plane no wider than a vector, in two bands of rows.
template <class V, int Size, int Stride>
FASTCONV_INLINE void roll_bands(const RollArgs<typename V::value_type>& a,
                                const RollStrip<V, 1>& plane,
                                const RollColumns<V, Size, Stride>& column) {
  RollStrip<V, 2> s{plane.x,          plane.w, plane.bias, plane.from, plane.out, plane.out_end,
                    (a.rows + 1) / 2, {},      {},         {},         {}};
  const std::int64_t second = a.rows - s.rows;
  s.slot[1] = second * Stride;
  s.from_at[1] = second * a.from_pitch;
  s.out_at[1] = second * a.out_pitch;
  const RollColumns<V, Size, Stride> columns[2] = {column, column};
  roll_strip<V, Size, Stride, 2, RollForm::bands>(a, s, columns);
}

template <class V, int Size, int Stride, bool Single>
FASTCONV_INLINE void roll_planes(const RollArgs<typename V::value_type>& a) {
  RollStrip<V, 1> plane{a.x, a.w, a.bias, a.from, a.out, a.out + a.room, a.rows, {}, {}, {}, {}};
  const RollColumns<V, Size, Stride> columns[1] = {
      RollColumns<V, Size, Stride>::make(0, a.border, a.width)};
  constexpr bool kBands = V::quick_masked_stores && V::registers == 32;
  for (std::int64_t p = 0; p < a.planes; ++p) {
    if constexpr (Single && kBands) {
      if (a.rows >= 4) {
        roll_bands<V, Size, Stride>(a, plane, columns[0]);
      } else {
        roll_strip<V, Size, Stride, 1, RollForm::edges>(a, plane, columns);
      }
    } else if constexpr (Single) {
      roll_strip<V, Size, Stride, 1, RollForm::edges>(a, plane, columns);
    } else {
      roll_plane<V, Size, Stride>(a, plane);
    }
    plane.x += a.x_plane;
    plane.w += Size * Size;
    if (plane.bias != nullptr) ++plane.bias;
    plane.out += a.out_plane;
  }
}

// Several planes that lie evenly apart.
template <class V, int Size, int Stride>
void rolling(const RollArgs<typename V::value_type>& a) {
  bool done = false;
  if constexpr (requires { typename V::Narrow; }) {
    done = a.pixels <= V::Narrow::lanes;
    if (done) roll_planes<typename V::Narrow, Size, Stride, true>(a);
  }
  if (!done && a.pixels <= V::lanes) {
    roll_planes<V, Size, Stride, true>(a);
  } else if (!done) {
    roll_planes<V, Size, Stride, false>(a);
  }
  if (a.activation > Activation::relu6) {
    PlaneArgs<typename V::value_type> rows{};
    rows.rows = a.rows;
    rows.pixels = a.pixels;
    rows.out_pitch = a.out_pitch;
    rows.activation = a.activation;
    for (std::int64_t p = 0; p < a.planes; ++p) {
      rows.out = a.out + p * a.out_plane;
      plane_activate<V>(rows);
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
