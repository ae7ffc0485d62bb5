// Winograd's minimal filtering for kernels of 3 x 3: an output tile of m x m from m + 2 products a
// side instead of 3 m, so (m + 2)^2 products for 9 m^2.
//
//   d (m+2 x m+2) --input--> V = B' d B
//                                       U * V, summed over channels --output--> A' M A (m x m)
//   g (3 x 3) --weights----> U = G g G'
//
// S. Winograd, Arithmetic Complexity of Computations, 1980; as layers: A. Lavin, S. Gray, Fast
// Algorithms for Convolutional Neural Networks, 2016. The matrices are Cook and Toom's for the
// points named below and infinity, scaled so that B has only exact coefficients.
//
// The sum over channels is kernels/outer_product.hpp. Every output reads no input but its own nine
// a channel: rows 0 to 2 of the products see d0 to d2, and so on.
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

template <int M>
struct Winograd;

// Points 0, 1, -1.
template <>
struct Winograd<2> {
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
template <>
struct Winograd<4> {
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

// to[r * ToStep] = row r of M times x, for every row.
template <class V, const auto& M, int Step, int ToStep, int Row = 0>
FASTCONV_INLINE void multiply_rows(const V* x, V* to) {
  if constexpr (Row < M.rows) {
    to[Row * ToStep] = dot_row<V, M, Row, Step>(x);
    multiply_rows<V, M, Step, ToStep, Row + 1>(x, to);
  }
}

// B' d B for lanes x blocks tiles (or channels) side by side.
template <class V, int M>
void winograd_input(const WinogradInputArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  constexpr int kPoints = M + 2;
  const T* column[kPoints];
  for (int j = 0; j < kPoints; ++j) column[j] = a.x + a.column[j];
  for (std::int64_t b = 0; b < a.blocks; ++b) {
    const std::int64_t at = b * V::lanes;
    V half[kPoints * kPoints];
    FASTCONV_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      V d[kPoints];
      FASTCONV_UNROLL
      for (int i = 0; i < kPoints; ++i) d[i] = V::load(column[j] + i * a.row + at);
      multiply_rows<V, Winograd<M>::input, 1, kPoints>(d, half + j);
    }
    T* to = a.v + at;
    FASTCONV_UNROLL
    for (int i = 0; i < kPoints; ++i) {
      V v[kPoints];
      multiply_rows<V, Winograd<M>::input, 1, 1>(half + i * kPoints, v);
      FASTCONV_UNROLL
      for (int j = 0; j < kPoints; ++j, to += a.frequency) v[j].store(to);
    }
  }
}

// A' M A: from the products of a panel of output channels to its pixels.
template <class V, int M>
void winograd_output(const WinogradOutputArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  constexpr int kPoints = M + 2;
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    for (std::int64_t o = 0; o < a.width; o += V::lanes) {
      const T* from = a.m + t * a.width + o;
      V half[M * kPoints];
      FASTCONV_UNROLL
      for (int j = 0; j < kPoints; ++j) {
        V m[kPoints];
        FASTCONV_UNROLL
        for (int i = 0; i < kPoints; ++i) m[i] = V::load(from + (i * kPoints + j) * a.frequency);
        multiply_rows<V, Winograd<M>::output, 1, kPoints>(m, half + j);
      }
      T* const to = a.acc + a.tile[t] * a.width + o;
      FASTCONV_UNROLL
      for (int i = 0; i < M; ++i) {
        V y[M];
        multiply_rows<V, Winograd<M>::output, 1, 1>(half + i * kPoints, y);
        FASTCONV_UNROLL
        for (int j = 0; j < M; ++j) y[j].store(to + (i * a.row + j) * a.width);
      }
    }
  }
}

// G g G' for every channel of a panel in kernel order.
template <class V, int M>
void winograd_weights(const WinogradWeightsArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  constexpr int kPoints = M + 2;
  for (std::int64_t c = 0; c < a.channels; ++c) {
    for (std::int64_t o = 0; o < a.width; o += V::lanes) {
      V sum = V::load(a.sums + o), squares = V::load(a.sums + a.width + o);
      const T* from = a.w + c * 9 * a.width + o;
      V half[kPoints * 3];
      FASTCONV_UNROLL
      for (int j = 0; j < 3; ++j) {
        V g[3];
        FASTCONV_UNROLL
        for (int i = 0; i < 3; ++i) {
          g[i] = V::load(from + (i * 3 + j) * a.width);
          sum = V::add(sum, V::abs(g[i]));
          squares = V::fma(g[i], g[i], squares);
        }
        multiply_rows<V, Winograd<M>::weights, 1, 3>(g, half + j);
      }
      sum.store(a.sums + o);
      squares.store(a.sums + a.width + o);
      T* to = a.u + c * a.width + o;
      FASTCONV_UNROLL
      for (int i = 0; i < kPoints; ++i) {
        V u[kPoints];
        multiply_rows<V, Winograd<M>::weights, 1, 1>(half + i * 3, u);
        FASTCONV_UNROLL
        for (int j = 0; j < kPoints; ++j, to += a.frequency) u[j].store(to);
      }
    }
  }
}

// Sum of magnitudes, of squares, and the number that is not 0, each lane by lane: they tell whether
// the rounding errors of sums and differences stay small beside every result.
template <class V>
void magnitudes(const MagnitudesArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  // Brings every normal number but the very smallest to 1 or above.
  const V large = V::broadcast(static_cast<T>(sizeof(T) == 4 ? 0x1p100 : 0x1p960));
  const V one = V::broadcast(T(1));
  V sum = V::zero(), squares = V::zero(), count = V::zero();
  const auto take = [&](V x) {
    const V magnitude = V::abs(x);
    sum = V::add(sum, magnitude);
    squares = V::fma(x, x, squares);
    count = V::add(count, V::min(one, V::mul(magnitude, large)));
  };
  std::int64_t i = 0;
  for (; i + V::lanes <= a.count; i += V::lanes) take(V::load(a.x + i));
  if (i < a.count) take(V::load(a.x + i, static_cast<int>(a.count - i)));
  sum.store(a.sums);
  squares.store(a.sums + V::lanes);
  count.store(a.sums + 2 * V::lanes);
}

// A row into m rows: to[j * pitch + i] = from[i * m + j]. Lets tiles lie side by side in lanes.
template <class T, int Phases>
void split_phases(const SplitArgs<T>& a) {
  for (std::int64_t i = 0; i < a.count; ++i) {
    FASTCONV_UNROLL
    for (int j = 0; j < Phases; ++j) a.to[j * a.pitch + i] = a.from[i * Phases + j];
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
