// Winograd's minimal filtering: m outputs of r taps from m + r - 1 products instead of m r, along
// each axis of a tile. For m = 2, r = 3 that makes 16 products of 36.
//
//   d (points) --input-----> V = B' d B
//                                       U * V, summed over channels --output--> A' M A (m x m)
//   g (taps) --weights-----> U = G g G'
//
// S. Winograd, Arithmetic Complexity of Computations, 1980; as layers: A. Lavin, S. Gray, Fast
// Algorithms for Convolutional Neural Networks, 2016. The matrices are Cook and Toom's for the
// points named below and infinity, scaled so that B has only exact coefficients.
//
// The sum over channels is kernels/outer_product.hpp. Larger kernels, and those of a stride, are
// sums of such blocks (algorithms/winograd_layout.hpp), of which some take one tap less (Narrow).
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <int Rows, int Cols>
struct Matrix {
  static constexpr int rows = Rows;
  static constexpr int cols = Cols;
  double at[Rows][Cols];
};

// One axis of a tile: `outputs` outputs of a block of `taps` kernel taps. The first point is 0, the
// last infinity: a block whose first or last weight is zero by construction has no product there.
// A row of zeros belongs to a point without a product, `missing`, or -1.
struct F11 {  // a plain multiplication
  static constexpr int outputs = 1, taps = 1, points = 1, missing = -1;
  static constexpr Matrix<1, 1> input = {{{1}}};
  static constexpr Matrix<1, 1> weights = {{{1}}};
  static constexpr Matrix<1, 1> output = {{{1}}};
};

// Points 0, 1. As with F23, an output reads no input but its own; with -1 for 1 it would, too, but
// of inputs of one sign (after a ReLU) differences are smaller than sums.
struct F22 {
  static constexpr int outputs = 2, taps = 2, points = 3, missing = -1;
  static constexpr Matrix<3, 3> input = {{{1, -1, 0},  //
                                          {0, 1, 0},
                                          {0, -1, 1}}};
  static constexpr Matrix<3, 2> weights = {{{1, 0},  //
                                            {1, 1},
                                            {0, 1}}};
  static constexpr Matrix<2, 3> output = {{{1, 1, 0},  //
                                           {0, 1, 1}}};
};

// Points 0, 1, -1. Every output reads no input but its own three: rows 0 to 2 of the products see
// d0 to d2, and rows 1 to 3 see d1 to d3. So where a window holds zeros alone, the result is zero.
struct F23 {
  static constexpr int outputs = 2, taps = 3, points = 4, missing = -1;
  static constexpr Matrix<4, 4> input = {{{1, 0, -1, 0},  //
                                          {0, 1, 1, 0},
                                          {0, -1, 1, 0},
                                          {0, -1, 0, 1}}};
  static constexpr Matrix<4, 3> weights = {{{1, 0, 0},  //
                                            {0.5, 0.5, 0.5},
                                            {0.5, -0.5, 0.5},
                                            {0, 0, 1}}};
  static constexpr Matrix<2, 4> output = {{{1, 1, 1, 0},  //
                                           {0, 1, -1, 1}}};
};

// Points 0, 1, -1, 1/2, -2: of those with exact coefficients, the set of least error (B. Barabasz,
// A. Anderson, K. M. Soodhalter, D. Gregg, Error Analysis and Improving the Accuracy of Winograd
// Convolution for Deep Neural Networks, 2020).
struct F43 {
  static constexpr int outputs = 4, taps = 3, points = 6, missing = -1;
  static constexpr Matrix<6, 6> input = {{{1, -1.5, -2, 1.5, 1, 0},
                                          {0, -1, 0.5, 2.5, 1, 0},
                                          {0, 1, -2.5, 0.5, 1, 0},
                                          {0, -2, -1, 2, 1, 0},
                                          {0, 0.5, -1, -0.5, 1, 0},
                                          {0, 1, -1.5, -2, 1.5, 1}}};
  static constexpr Matrix<6, 3> weights = {{{1, 0, 0},
                                            {1.0 / 3, 1.0 / 3, 1.0 / 3},
                                            {-1.0 / 3, 1.0 / 3, -1.0 / 3},
                                            {-16.0 / 15, -8.0 / 15, -4.0 / 15},
                                            {1.0 / 15, -2.0 / 15, 4.0 / 15},
                                            {0, 0, 1}}};
  static constexpr Matrix<4, 6> output = {{{1, 1, 1, 1, 1, 0},
                                           {0, 1, -1, 0.5, -2, 0},
                                           {0, 1, 1, 0.25, 4, 0},
                                           {0, 1, -1, 0.125, -8, 1}}};
};

// A block of one tap less, whose products add up in the same tile: of F22 a single tap, which the
// points 0 and infinity pass to one output each; of F23 the whole F22. The same as F where there
// is none.
template <class F>
struct NarrowOf {
  using type = F;
};
struct F22Narrow {
  static constexpr int outputs = 2, taps = 1, points = 3, missing = 1;
  static constexpr Matrix<3, 2> input = {{{1, 0},  //
                                          {0, 0},
                                          {0, 1}}};
  static constexpr Matrix<3, 1> weights = {{{1},  //
                                            {0},
                                            {1}}};
};
struct F23Narrow {
  static constexpr int outputs = 2, taps = 2, points = 4, missing = 2;
  static constexpr Matrix<4, 3> input = {{{1, -1, 0},  //
                                          {0, 1, 0},
                                          {0, 0, 0},
                                          {0, -1, 1}}};
  static constexpr Matrix<4, 2> weights = {{{1, 0},  //
                                            {1, 1},
                                            {0, 0},
                                            {0, 1}}};
};
template <>
struct NarrowOf<F22> {
  using type = F22Narrow;
};
template <>
struct NarrowOf<F23> {
  using type = F23Narrow;
};
template <class F>
using Narrow = typename NarrowOf<F>::type;

// Of the rows that no tap is missing in, the first.
template <int Rows, int Cols>
constexpr bool takes_all(const Matrix<Rows, Cols>& m, int row) {
  for (int r = 0; r <= row; ++r) {
    bool all = true;
    for (int c = 0; c < Cols; ++c) all = all && m.at[r][c] != 0;
    if (all) return r == row;
  }
  return false;
}

template <int Rows, int Cols>
constexpr bool is_zero_row(const Matrix<Rows, Cols>& m, int row) {
  for (int c = 0; c < Cols; ++c)
    if (m.at[row][c] != 0) return false;
  return true;
}

// The last column of a row whose coefficient is 1, or else the first that is not 0.
template <int Rows, int Cols>
constexpr int leading_column(const Matrix<Rows, Cols>& m, int row) {
  for (int c = Cols - 1; c >= 0; --c)
    if (m.at[row][c] == 1) return c;
  for (int c = 0; c < Cols; ++c)
    if (m.at[row][c] != 0) return c;
  return 0;
}

// Row `Row` of a matrix times x[0], x[step], ..., from column Col on.
template <class V, const auto& M, int Row, int Step, int Col = 0>
FASTCONV_INLINE V add_columns(V sum, const V* x) {
  if constexpr (Col == M.cols) {
    return sum;
  } else {
    constexpr double kFactor = M.at[Row][Col];
    if constexpr (kFactor == 0 || Col == leading_column(M, Row)) {
    } else if constexpr (kFactor == 1) {
      sum = V::add(sum, x[Col * Step]);
    } else if constexpr (kFactor == -1) {
      sum = V::sub(sum, x[Col * Step]);
    } else {
      using T = typename V::value_type;
      sum = V::fma(V::broadcast(static_cast<T>(kFactor)), x[Col * Step], sum);
    }
    return add_columns<V, M, Row, Step, Col + 1>(sum, x);
  }
}

template <class V, const auto& M, int Row, int Step>
FASTCONV_INLINE V dot_row(const V* x) {
  constexpr int kFirst = leading_column(M, Row);
  V first = x[kFirst * Step];
  if constexpr (M.at[Row][kFirst] != 1) {
    using T = typename V::value_type;
    first = V::mul(V::broadcast(static_cast<T>(M.at[Row][kFirst])), first);
  }
  return add_columns<V, M, Row, Step>(first, x);
}

// Whether a row of three terms or more and the next differ in signs alone: what they have in common
// is summed once. Multiply-adds bound the transform of the weights.
template <int Rows, int Cols>
constexpr bool is_mirrored(const Matrix<Rows, Cols>& m, int row) {
  if (row + 1 >= Rows) return false;
  int terms = 0;
  for (int c = 0; c < Cols; ++c) {
    const double x = m.at[row][c], y = m.at[row + 1][c];
    if (x != y && x != -y) return false;
    terms += x != 0;
  }
  return terms > 2;
}

// The terms of a row that have the same sign in the next (or that have not), as signs alone.
template <int Rows, int Cols>
constexpr Matrix<1, Cols> signs_of(const Matrix<Rows, Cols>& m, int row, bool same) {
  Matrix<1, Cols> signs = {};
  for (int c = 0; c < Cols; ++c)
    if ((m.at[row][c] == m.at[row + 1][c]) == same)
      signs.at[0][c] = m.at[row][c] > 0 ? 1 : m.at[row][c] < 0 ? -1 : 0;
  return signs;
}
template <const auto& M, int Row, bool Same>
inline constexpr auto kSignsOf = signs_of(M, Row, Same);

// The magnitude that all terms of a row have.
template <int Rows, int Cols>
constexpr double factor_of(const Matrix<Rows, Cols>& m, int row) {
  double factor = 0;
  for (int c = 0; c < Cols; ++c) {
    const double magnitude = m.at[row][c] < 0 ? -m.at[row][c] : m.at[row][c];
    if (magnitude == 0) continue;
    if (factor != 0 && factor != magnitude) return 0;
    factor = magnitude;
  }
  return factor;
}

// Mirrored rows times x.
template <class V, const auto& M, int Row, int Step>
FASTCONV_INLINE void multiply_mirrored(const V* x, V& first, V& second) {
  using T = typename V::value_type;
  constexpr T kFactor = static_cast<T>(factor_of(M, Row));
  static_assert(kFactor != 0);
  const V factor = V::broadcast(kFactor);
  const V same = V::mul(dot_row<V, kSignsOf<M, Row, true>, 0, Step>(x), factor);
  const V others = dot_row<V, kSignsOf<M, Row, false>, 0, Step>(x);
  first = V::fma(others, factor, same);
  second = V::fma(others, V::broadcast(-kFactor), same);
}

// to[r * ToStep] = row r of M times x, for every row.
template <class V, const auto& M, int Step, int ToStep, int Row = 0>
FASTCONV_INLINE void multiply_rows(const V* x, V* to) {
  if constexpr (is_mirrored(M, Row)) {
    multiply_mirrored<V, M, Row, Step>(x, to[Row * ToStep], to[(Row + 1) * ToStep]);
    multiply_rows<V, M, Step, ToStep, Row + 2>(x, to);
  } else if constexpr (Row < M.rows) {
    if constexpr (is_zero_row(M, Row))
      to[Row * ToStep] = V::zero();
    else
      to[Row * ToStep] = dot_row<V, M, Row, Step>(x);
    multiply_rows<V, M, Step, ToStep, Row + 1>(x, to);
  }
}

// B' d B for lanes x blocks tiles (or channels) side by side. H is the axis of rows, W of columns.
template <class V, class H, class W>
void winograd_input(const WinogradInputArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const WinogradInputArgs<T> a = args;  // no store can change a copy
  constexpr int kRows = H::input.cols, kColumns = W::input.cols;
  const T* column[kColumns];
  FASTCONV_UNROLL
  for (int j = 0; j < kColumns; ++j) column[j] = a.x + a.column[j];
  std::int64_t row[kRows];
  FASTCONV_UNROLL
  for (int i = 0; i < kRows; ++i) row[i] = a.row[i];
  T* block = a.v;
  for (std::int64_t b = 0; b < a.blocks; ++b, block += V::lanes) {
    V half[H::points * kColumns];
    FASTCONV_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      V d[kRows];
      FASTCONV_UNROLL
      for (int i = 0; i < kRows; ++i) d[i] = V::load(column[j] + row[i]);
      column[j] += V::lanes;
      FASTCONV_OPAQUE_POINTER(column[j]);
      multiply_rows<V, H::input, 1, kColumns>(d, half + j);
    }
    T* to = block;
    FASTCONV_UNROLL
    for (int i = 0; i < H::points; ++i) {
      V v[W::points];
      multiply_rows<V, W::input, 1, 1>(half + i * kColumns, v);
      FASTCONV_UNROLL
      for (int j = 0; j < W::points; ++j)
        if (i != H::missing && j != W::missing) v[j].store(to + j * a.frequency);
      to += W::points * a.frequency;
      FASTCONV_OPAQUE_POINTER(to);
    }
  }
}

// A' M A: from the products of a panel of output channels to its pixels.
template <class V, class H, class W>
void winograd_output(const WinogradOutputArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const WinogradOutputArgs<T> a = args;  // no store can change a copy
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    for (std::int64_t o = 0; o < a.width; o += V::lanes) {
      const T* from = a.m + t * a.width + o;
      V half[H::outputs * W::points];
      FASTCONV_UNROLL
      for (int j = 0; j < W::points; ++j) {
        V m[H::points];
        FASTCONV_UNROLL
        for (int i = 0; i < H::points; ++i) m[i] = V::load(from + i * W::points * a.frequency);
        from += a.frequency;
        FASTCONV_OPAQUE_POINTER(from);
        multiply_rows<V, H::output, 1, W::points>(m, half + j);
      }
      T* const to = a.acc + a.tile[t] * a.width + o;
      FASTCONV_UNROLL
      for (int i = 0; i < H::outputs; ++i) {
        V y[W::outputs];
        multiply_rows<V, W::output, 1, 1>(half + i * W::points, y);
        FASTCONV_UNROLL
        for (int j = 0; j < W::outputs; ++j) y[j].store(to + (i * a.row + j) * a.width);
      }
    }
  }
}

// Of weights, for is_even (algorithms/winograd.cpp).
template <class V, int Chains>
struct WeightSums {
  V sum, squares[Chains];  // which would wait for each other

  explicit FASTCONV_INLINE WeightSums(const typename V::value_type* sums) : sum(V::load(sums)) {
    squares[0] = V::load(sums + V::lanes);
    FASTCONV_UNROLL
    for (int i = 1; i < Chains; ++i) squares[i] = V::zero();
  }
  FASTCONV_INLINE void store(typename V::value_type* sums) const {
    V all = squares[0];
    FASTCONV_UNROLL
    for (int i = 1; i < Chains; ++i) all = V::add(all, squares[i]);
    sum.store(sums);
    all.store(sums + V::lanes);
  }
};

// One row of G g G', or two that are mirrored, and those behind: taps lie side by side, and weights
// as far from each other as frequencies are.
template <class V, class H, class W, int Row = 0>
FASTCONV_INLINE void transform_whole(const typename V::value_type* from, std::int64_t frequency,
                                     typename V::value_type* to, WeightSums<V, W::taps>& sums) {
  if constexpr (Row < H::points) {
    constexpr bool kPair = is_mirrored(H::weights, Row), kTakes = takes_all(H::weights, Row);
    V first[W::taps], second[W::taps];
    V sum = V::zero();
    FASTCONV_UNROLL
    for (int j = 0; j < W::taps; ++j) {
      V g[H::taps];
      FASTCONV_UNROLL
      for (int i = 0; i < H::taps; ++i) g[i] = V::load(from + (i * W::taps + j) * V::lanes);
      if constexpr (kPair)
        multiply_mirrored<V, H::weights, Row, 1>(g, first[j], second[j]);
      else
        first[j] = dot_row<V, H::weights, Row, 1>(g);
      if constexpr (kTakes) {
        FASTCONV_UNROLL
        for (int i = 0; i < H::taps; ++i) {
          sum = i + j == 0 ? V::abs(g[i]) : V::add(sum, V::abs(g[i]));
          sums.squares[j] = V::fma(g[i], g[i], sums.squares[j]);
          FASTCONV_IN_REGISTER(sum.v);
        }
      }
    }
    if constexpr (kTakes) sums.sum = V::add(sums.sum, sum);
    const auto store = [&](const V* half) FASTCONV_INLINE_LAMBDA {
      V u[W::points];
      multiply_rows<V, W::weights, 1, 1>(half, u);
      FASTCONV_UNROLL
      for (int j = 0; j < W::points; ++j) u[j].store(to + j * frequency);
      to += W::points * frequency;
      FASTCONV_OPAQUE_POINTER(to);
    };
    store(first);
    if constexpr (kPair) store(second);
    transform_whole<V, H, W, Row + (kPair ? 2 : 1)>(from, frequency, to, sums);
  }
}

// G g G' for some channels of a vector of output channels.
template <class V, class H, class W>
void winograd_weights(const WinogradWeightsArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const WinogradWeightsArgs<T> a = args;  // no store can change a copy
  if constexpr (V::lanes > 1 && W::taps == 3 && H::missing < 0 && W::missing < 0) {
    if (a.tap == nullptr) {
      WeightSums<V, W::taps> sums(a.sums);
      const T* from = a.w;
      T* to = a.u[0];
      const std::int64_t frequency = a.u[1] - a.u[0];
      for (std::int64_t c = 0; c < a.channels; ++c, from += a.channel, to += a.u_channel)
        transform_whole<V, H, W>(from, frequency, to, sums);
      sums.store(a.sums);
      return;
    }
  }
  V sum = V::load(a.sums), squares = V::load(a.sums + V::lanes);
  for (std::int64_t c = 0; c < a.channels; ++c) {
    const T* from = a.w + c * a.channel;
    V half[H::points * W::taps];
    FASTCONV_UNROLL
    for (int j = 0; j < W::taps; ++j) {
      V g[H::taps];
      FASTCONV_UNROLL
      for (int i = 0; i < H::taps; ++i) {
        const std::int64_t at = a.tap[i * W::taps + j];
        g[i] = at >= 0 ? V::load(from + at) : V::zero();
        sum = V::add(sum, V::abs(g[i]));
        squares = V::fma(g[i], g[i], squares);
      }
      multiply_rows<V, H::weights, 1, W::taps>(g, half + j);
    }
    const std::int64_t to = c * a.u_channel;
    FASTCONV_UNROLL
    for (int i = 0; i < H::points; ++i) {
      V u[W::points];
      multiply_rows<V, W::weights, 1, 1>(half + i * W::taps, u);
      FASTCONV_UNROLL
      for (int j = 0; j < W::points; ++j) {
        if (i == H::missing || j == W::missing) continue;
        T* const row = a.u[i * W::points + j];
        if (row != nullptr) u[j].store(row + to);
      }
    }
  }
  sum.store(a.sums);
  squares.store(a.sums + V::lanes);
}

// What is_even (algorithms/winograd.cpp) asks of some numbers, lane by lane: whether the rounding
// errors of sums and differences stay small beside every result.
template <class V>
struct Magnitudes {
  using T = typename V::value_type;
  static constexpr int kChains = 2;  // of multiply-adds, which would wait for each other
  V sum = V::zero(), squares[kChains] = {V::zero(), V::zero()}, count = V::zero();

  // Brings every normal number but the very smallest to 1 or above.
  static FASTCONV_INLINE V large() {
    return V::broadcast(static_cast<T>(sizeof(T) == 4 ? 0x1p100 : 0x1p960));
  }
  FASTCONV_INLINE void take(V x, V large, V one, int chain) {
    const V magnitude = V::abs(x);
    sum = V::add(sum, magnitude);
    squares[chain] = V::fma(x, x, squares[chain]);
    count = V::add(count, V::at_most(V::mul(magnitude, large), one));
    // Now, not when magnitudes of all vectors wait for it in registers.
    FASTCONV_IN_REGISTER(sum.v);
  }
  FASTCONV_INLINE void add_to(T* sums) const {
    V::add(V::load(sums), sum).store(sums);
    V::add(V::load(sums + V::lanes), V::add(squares[0], squares[1])).store(sums + V::lanes);
    V::add(V::load(sums + 2 * V::lanes), count).store(sums + 2 * V::lanes);
  }
};

template <class V>
void magnitudes(const MagnitudesArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  Magnitudes<V> m;
  constexpr int kVecs = Magnitudes<V>::kChains;
  const V large = Magnitudes<V>::large(), one = V::broadcast(T(1));
  std::int64_t i = 0;
  for (; i + kVecs * V::lanes <= a.count; i += kVecs * V::lanes) {
    FASTCONV_UNROLL
    for (int c = 0; c < kVecs; ++c) m.take(V::load(a.x + i + c * V::lanes), large, one, c);
  }
  for (; i < a.count; i += V::lanes) {
    const std::int64_t left = a.count - i;
    m.take(left >= V::lanes ? V::load(a.x + i) : V::load(a.x + i, static_cast<int>(left)), large,
           one, 0);
  }
  m.add_to(a.sums);
}

// A row into `Phases` rows, which lets tiles lie side by side in lanes, and its magnitudes on the
// way. Whole vectors are written.
template <class V, int Phases>
void split_phases(const SplitArgs<typename V::value_type>& args) {
  static_assert(Phases == 1 || Phases == 2 || Phases == 4);
  using T = typename V::value_type;
  const SplitArgs<T> a = args;  // no store can change a copy
  Magnitudes<V> m;
  const V large = Magnitudes<V>::large(), one = V::broadcast(T(1));
  // Loads of vector p of a step; zeros behind the end.
  const auto step = [&](std::int64_t i, auto load) FASTCONV_INLINE_LAMBDA {
    V x[Phases];
    FASTCONV_UNROLL
    for (int p = 0; p < Phases; ++p) {
      x[p] = load(i + p * V::lanes);
      m.take(x[p], large, one, p % Magnitudes<V>::kChains);
    }
    if constexpr (Phases == 2) V::unzip(x[0], x[1]);
    if constexpr (Phases == 4) {
      V::unzip(x[0], x[1]);
      V::unzip(x[2], x[3]);
      V::unzip(x[0], x[2]);
      V::unzip(x[1], x[3]);
    }
    FASTCONV_UNROLL
    for (int p = 0; p < Phases; ++p) x[p].store(a.to + p * a.pitch + i / Phases);
  };
  std::int64_t i = 0;
  for (; i + Phases * V::lanes <= a.count; i += Phases * V::lanes)
    step(i, [&](std::int64_t at) FASTCONV_INLINE_LAMBDA { return V::load(a.from + at); });
  if (i < a.count) {
    step(i, [&](std::int64_t at) FASTCONV_INLINE_LAMBDA {
      const std::int64_t left = a.count - at;
      if (left >= V::lanes) return V::load(a.from + at);
      return left > 0 ? V::load(a.from + at, static_cast<int>(left)) : V::zero();
    });
  }
  m.add_to(a.sums);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
