// What one input row adds to the rolling sums of the output rows that it touches (rolling.hpp).
//
// Nothing is staged. A row of the table is an offset into the plane, or stands for the border; the
// columns of a row are loaded through masks, which show the fill value beside it, and kernel
// columns are cut out of two neighbouring vectors:
//
//   padded columns    f f x0 x1 x2 x3 ...                 low  [f f x0 x1 | x2 x3 x4 x5]  high
//   kernel column 1         [f x0 x1 x2]
//
// With a stride of 2 there are three, and even and odd columns are sorted in registers. Vectors
// that see no border are loaded without masks.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

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
    FASTCONV_UNROLL
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

// part: low, high (stride 1) or even, odd, even and odd of what follows. `left` and `right` say on
// which side the vector may see the border.
template <class V, int Size, int Stride>
FASTCONV_INLINE void roll_load(const RollColumns<V, Size, Stride>& c,
                               const typename V::value_type* row, V fill, bool left, bool right,
                               V (&part)[4]) {
  row += c.at;
  part[0] = left ? V::load(row, c.part[0], fill) : V::load(row);
  part[1] = right ? V::load(row + V::lanes, c.part[1], fill) : V::load(row + V::lanes);
  if constexpr (Stride == 2) {
    // GCC would load what two instructions shuffle twice, and loads that cross cache lines are the
    // dear ones here.
    FASTCONV_IN_REGISTER(part[0].v);
    FASTCONV_IN_REGISTER(part[1].v);
    V::unzip(part[0], part[1]);
    const auto* const next = row + 2 * V::lanes;
    // Of a 3 x 3 kernel only the first lane is looked at.
    part[2] = right      ? V::load(next, c.part[2], fill)
              : Size > 3 ? V::load(next)
                         : V::load_broadcast(next);
    part[3] = part[2];
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
  std::int64_t rows;
  std::int64_t next;  // from an input row, what the next strip of columns or plane sees of it
  std::int64_t first[Vecs];  // output column of each vector
  // Where the vectors are the bands of one column of vectors: input rows, sums and output before
  // that of the first.
  std::int64_t slot[Vecs];
  std::int64_t from_at[Vecs];
  std::int64_t out_at[Vecs];
};

enum class RollForm : std::uint8_t {
  edges,   // one vector, which may see borders
  ends,    // vectors side by side: the first and the last two may
  inside,  // vectors side by side, none of which does
  bands    // two halves of the rows of one vector: the weights that are loaded serve both
};

// Weights of 3 x 3 kernels stay in registers; others are loaded for each row.
template <int Size>
inline constexpr bool kHoldsWeights = Size == 3;

template <class V, int Size, bool Holds>
struct RollWeights {
  const typename V::value_type* at;
  V held[Holds ? Size * Size : 1];

  static FASTCONV_INLINE RollWeights load(const typename V::value_type* w) {
    RollWeights weights;
    weights.at = w;
    if constexpr (Holds) {
      FASTCONV_UNROLL
      for (int i = 0; i < Size * Size; ++i) weights.held[i] = V::load_broadcast(w + i);
    }
    return weights;
  }
  FASTCONV_INLINE V get(int i) const {
    if constexpr (Holds) return held[i];
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
template <class V, int Size, int Stride, int Vecs, int Sums, bool Inside, int Phase, int N,
          class KernelWeights>
FASTCONV_INLINE void roll_columns(V (&sum)[Sums][Vecs], const V (&part)[Vecs][4],
                                  const typename V::value_type* row,
                                  const std::int64_t (&first)[Vecs], const KernelWeights& weights) {
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
      }
    }
    roll_columns<V, Size, Stride, Vecs, Sums, Inside, Phase, N + 1>(sum, part, row, first, weights);
  }
}

// Row `row` of the kernel times the columns of some vectors.
template <class V, int Size, int Count, class KernelWeights>
FASTCONV_INLINE void roll_row(V* sum, const V (&x)[Count][Size], const KernelWeights& weights,
                              int row) {
  FASTCONV_UNROLL
  for (int v = 0; v < Size; ++v) {
    const V weight = weights.get(row * Size + v);
    FASTCONV_UNROLL
    for (int n = 0; n < Count; ++n) sum[n] = V::fma(weight, x[n][v], sum[n]);
  }
}

// The same for the kernel rows of sums `low` to `high`, of vectors from `i` on.
template <class V, int Size, int Stride, int Phase, int Vecs, int Sums, int Count,
          class KernelWeights>
FASTCONV_INLINE void roll_some(V (&sum)[Sums][Vecs], int i, const V (&x)[Count][Size],
                               const KernelWeights& weights, int low, int high) {
  static_assert(Sums <= 7, "the cases below");
  switch (high) {
#define FASTCONV_CASE(M)                                                    \
  case M:                                                                   \
    if constexpr (M < Sums && M * Stride + Phase < Size)                    \
      roll_row<V, Size, Count>(&sum[M][i], x, weights, M * Stride + Phase); \
    if (low == M) break;                                                    \
    [[fallthrough]];
    FASTCONV_CASE(6)
    FASTCONV_CASE(5)
    FASTCONV_CASE(4)
    FASTCONV_CASE(3)
    FASTCONV_CASE(2)
    FASTCONV_CASE(1)
#undef FASTCONV_CASE
    default:
      roll_row<V, Size, Count>(&sum[0][i], x, weights, Phase);
  }
}

enum class RollPart : std::uint8_t {
  whole,  // all sums are of output rows, or those that are not are computed in vain
  some    // sums `low` to `high` are
};

// The sums of kernel rows `Phase`, `Phase` + Stride, ... of one input row.
template <class V, int Size, int Stride, int Vecs, int Sums, RollPart Part, RollForm Form,
          int Phase, class KernelWeights>
FASTCONV_INLINE void roll_input_row(V (&sum)[Sums][Vecs], const RollStrip<V, Vecs>& s,
                                    const RollColumns<V, Size, Stride> (&columns)[Vecs],
                                    const KernelWeights& given, V fill,
                                    const RollArgs<typename V::value_type>& a, std::int64_t slot,
                                    int low, int high) {
  using T = typename V::value_type;
  const auto look_up = [&](std::int64_t i) FASTCONV_INLINE_LAMBDA {
    const std::int64_t offset = a.row[i];
    return offset == kFillRow ? a.fill_row : s.x + offset;
  };
  const T* const row = look_up(slot);
  const T* rows[Vecs];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i)
    rows[i] = Form == RollForm::bands && i > 0 ? look_up(slot + s.slot[i]) : row;
  KernelWeights weights = given;
  // GCC would keep weights for the rows to come, and spill sums.
  if constexpr (!kHoldsWeights<Size>) FASTCONV_OPAQUE_POINTER(weights.at);
  constexpr bool kInside = Form == RollForm::inside;
  if constexpr (kInside) {
    // What is next, in so many streams that hardware does not follow them.
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) FASTCONV_PREFETCH(row + s.next + i * V::lanes);
  }
  const auto left = [](int i) { return Form != RollForm::ends || i == 0; };
  const auto right = [](int i) { return Form != RollForm::ends || i >= Vecs - 2; };
  const auto add_all = [&](int i, const V(&x)[Size]) FASTCONV_INLINE_LAMBDA {
    FASTCONV_UNROLL
    for (int v = 0; v < Size; ++v) {
      FASTCONV_UNROLL
      for (int m = 0; m < Sums; ++m)
        if (m * Stride + Phase < Size)
          sum[m][i] = V::fma(weights.get((m * Stride + Phase) * Size + v), x[v], sum[m][i]);
    }
  };
  if constexpr (Part == RollPart::whole && kInside) {
    const V none[Vecs][4] = {};
    roll_columns<V, Size, Stride, Vecs, Sums, true, Phase, 0>(sum, none, row - a.border, s.first,
                                                              weights);
  } else if constexpr (Part == RollPart::whole && Size > 3) {
    V part[Vecs][4];
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i)
      roll_load<V, Size, Stride>(columns[i], rows[i], fill, left(i), right(i), part[i]);
    roll_columns<V, Size, Stride, Vecs, Sums, false, Phase, 0>(sum, part, row, s.first, weights);
  } else if constexpr (Part == RollPart::whole) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) {
      V part[4], x[Size];
      roll_load<V, Size, Stride>(columns[i], rows[i], fill, left(i), right(i), part);
      roll_all_columns<V, Size, Stride, 0>(part, x);
      add_all(i, x);
    }
  } else {
    // Two vectors share the weights; the columns of three do not fit the registers.
    constexpr int kShare = Vecs == 2 ? 2 : 1;
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; i += kShare) {
      V x[kShare][Size];
      FASTCONV_UNROLL
      for (int n = 0; n < kShare; ++n) {
        V part[4];
        roll_load<V, Size, Stride>(columns[i + n], rows[i + n], fill, left(i + n), right(i + n),
                                   part);
        roll_all_columns<V, Size, Stride, 0>(part, x[n]);
      }
      roll_some<V, Size, Stride, Phase, Vecs, Sums, kShare>(sum, i, x, weights, low, high);
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
