// Lanes are output pixels, rows are output channels, for many of them: a matrix product in which
// neither weights nor output change their order.
//
//                x0    x1    x2    x3     <- one term of a panel of columns: 4 vectors of pixels
//   w[k  ][t]   acc   acc   acc   acc
//   w[k+1][t]   acc   acc   acc   acc     <- broadcast from the caller's own array
//   ...                                      (a channel's terms lie side by side)
//
// A panel (gather_columns) is copied once and used for every output channel. What is left over of a
// picture of few pixels goes by the dot product, lanes being terms: one pixel costs a sixteenth of
// a vector then, not a whole one (7 x 7 pixels: three vectors and one pixel).
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Two widths, so that any number of vectors is a sum of them (but for 1, 2 and 5 of thirty-two
// registers): accumulators, operands of a term and one weight fill the register file.
template <class V>
inline constexpr int kColumnVecs[2] = {V::registers >= 32 ? 4 : 3, V::registers >= 32 ? 3 : 2};
template <class V, int Vecs>
inline constexpr int kColumnRows =
    (V::registers - Vecs - 1) / Vecs > 8 ? 8 : (V::registers - Vecs - 1) / Vecs;

// What one tile asks for (Ahead).
struct Requests {
  const char* at;
  std::int64_t step;
  std::int64_t left;
};

// Of the tiles of a call, one after the other.
template <class T>
class RequestsInTurn {
 public:
  explicit FASTCONV_INLINE RequestsInTurn(const ColumnArgs<T>& a)
      : now_(a.ahead), then_(a.w_lines), otherwise_(reinterpret_cast<const char*>(a.x)) {}
  FASTCONV_NOINLINE Requests next() {
    if (now_.columns == 0) {
      if (then_.columns == 0) return {otherwise_, 0, 0};
      now_ = then_;
      then_.columns = 0;
    }
    const Requests part = {now_.at + part_ * now_.count * now_.step, now_.step, now_.count};
    if (++part_ == now_.parts) {
      part_ = 0;
      now_.at += now_.pitch;
      --now_.columns;
    }
    return part;
  }

 private:
  Ahead now_, then_;
  const char* otherwise_;
  std::int64_t part_ = 0;
};

template <class V, int Vecs, int Rows>
FASTCONV_NOINLINE void column_tile(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                   std::int64_t panel, Requests ahead) {
  static_assert(Rows * Vecs + Vecs + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  const T* w[Rows];
  V acc[Rows][Vecs];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    w[r] = a.w + (row + r) * a.w_pitch;
    FASTCONV_OPAQUE_POINTER(w[r]);
  }
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) acc[r][v] = V::zero();
  }
  T* const out = a.out + row * a.out_pitch + panel * (Vecs * V::lanes);
  const std::int64_t pitch = a.out_pitch;
  // Lines of y that no cache holds are here when the sums are.
  if (a.pixels == Vecs * V::lanes) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) FASTCONV_PREFETCH(out + r * pitch + v * V::lanes);
    }
  }
  const T* x = a.x + panel * a.panel_pitch;
  const auto term = [&](const T* at, std::int64_t t) FASTCONV_INLINE_LAMBDA {
    V xv[Vecs];
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) xv[v] = V::load(at + v * V::lanes);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) add_products(w[r] + t, xv, acc[r]);
  };
  constexpr int kWidth = Vecs * V::lanes;
  std::int64_t t = 0;
  // Instructions count where another hardware thread is busy on the core: one term a turn took 28
  // for twelve multiply-adds, four take 87 for 48 (Zen 3, 512 channels to 512 on 14 x 14: 40
  // GFLOP/s before, 54). A line is asked for on every second term.
  constexpr int kTerms = kFillsRegisters<V> ? 4 : 2, kLines = kTerms / 2;
  const std::int64_t advance = kLines * ahead.step;
  FASTCONV_NO_UNROLL
  for (std::int64_t turns = a.terms / kTerms; turns != 0; --turns) {
    FASTCONV_UNROLL
    for (int i = 0; i < kLines; ++i) FASTCONV_PREFETCH_L2(ahead.at + i * ahead.step);
    ahead.left -= kLines;
    ahead.at += ahead.left > 0 ? advance : 0;
    term(x, t);
    term(x + kWidth, t + 1);
    if constexpr (kTerms == 4) {
      term(x + 2 * kWidth, t + 2);
      term(x + 3 * kWidth, t + 3);
    }
    x += kTerms * kWidth;
    t += kTerms;
    FASTCONV_OPAQUE_POINTER(t);  // one index for all rows: GCC would advance a pointer of each
  }
  FASTCONV_NO_UNROLL
  for (; t < a.terms; ++t, x += kWidth) term(x, t);

  if (a.pixels == kWidth) {
    if (a.accumulate) {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; ++v)
          acc[r][v] = V::add(V::load(out + r * pitch + v * V::lanes), acc[r][v]);
      }
    }
    if (a.bias != nullptr) {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; ++v)
          acc[r][v] = V::add(acc[r][v], V::load_broadcast(a.bias + row + r));
      }
    }
    if (a.relu) {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        FASTCONV_UNROLL
        for (int v = 0; v < Vecs; ++v) acc[r][v] = V::at_least(acc[r][v], V::zero());
      }
    }
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) acc[r][v].store(out + r * pitch + v * V::lanes);
    }
    return;
  }
  // The end of a picture: as many lanes as there are pixels.
  T sums[Rows * kWidth];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) acc[r][v].store(sums + r * kWidth + v * V::lanes);
  }
  FASTCONV_NO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FASTCONV_NO_UNROLL
    for (int p = 0; p < a.pixels; p += V::lanes) {
      const int n = a.pixels - p < V::lanes ? static_cast<int>(a.pixels - p) : V::lanes;
      T* const to = out + r * pitch + p;
      V v = V::load(sums + r * kWidth + p);
      if (a.accumulate) v = V::add(n == V::lanes ? V::load(to) : V::load(to, n), v);
      if (a.bias != nullptr) v = V::add(v, V::load_broadcast(a.bias + row + r));
      if (a.relu) v = V::at_least(v, V::zero());
      if (n == V::lanes) {
        v.store(to);
      } else {
        v.store(to, n);
      }
    }
  }
}

// Lane i of the result is the sum of the lanes of square[i].
template <class V>
FASTCONV_INLINE V sum_of_lanes(V (&square)[V::lanes]) {
  V::transpose(square);
  FASTCONV_UNROLL
  for (int step = 1; step < V::lanes; step *= 2) {
    FASTCONV_UNROLL
    for (int i = 0; i + step < V::lanes; i += 2 * step)
      square[i] = V::add(square[i], square[i + step]);
  }
  return square[0];
}

// Pixels [first, first + Pixels) of those behind the panel.
template <class V, int Rows, int Pixels>
FASTCONV_NOINLINE void dot_tile(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                std::int64_t first) {
  using T = typename V::value_type;
  constexpr int kSums = Rows * Pixels;
  const T* const x = a.rest + first * a.rest_pitch;
  const T* w[Rows];
  FASTCONV_UNROLL
  for (int r = 0; r < Rows; ++r) {
    w[r] = a.w + (row + r) * a.w_pitch;
    FASTCONV_OPAQUE_POINTER(w[r]);
  }
  V acc[kSums];
  FASTCONV_UNROLL
  for (int i = 0; i < kSums; ++i) acc[i] = V::zero();
  std::int64_t t = 0;
  FASTCONV_NO_UNROLL
  for (; t + V::lanes <= a.terms; t += V::lanes) {
    V xv[Pixels];
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) xv[p] = V::load(x + p * a.rest_pitch + t);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const V wv = V::load(w[r] + t);
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) acc[p * Rows + r] = V::fma(xv[p], wv, acc[p * Rows + r]);
    }
  }
  if (t < a.terms) {
    const int n = static_cast<int>(a.terms - t);
    V xv[Pixels];
    FASTCONV_UNROLL
    for (int p = 0; p < Pixels; ++p) xv[p] = V::load(x + p * a.rest_pitch + t, n);
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const V wv = V::load(w[r] + t, n);
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) acc[p * Rows + r] = V::fma(xv[p], wv, acc[p * Rows + r]);
    }
  }
  // Sums of lanes, a square at a time.
  T sums[(kSums + V::lanes - 1) / V::lanes * V::lanes];
  FASTCONV_UNROLL
  for (int s = 0; s < kSums; s += V::lanes) {
    V square[V::lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < V::lanes; ++i) square[i] = s + i < kSums ? acc[s + i] : V::zero();
    sum_of_lanes(square).store(sums + s);
  }
  T* const out = a.out + row * a.out_pitch + a.pixels + first;
  FASTCONV_NO_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    FASTCONV_NO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      T& to = out[r * a.out_pitch + p];
      V sum = V::broadcast(sums[p * Rows + r]);
      if (a.accumulate) sum = V::add(V::broadcast(to), sum);
      if (a.bias != nullptr) sum = V::add(sum, V::broadcast(a.bias[row + r]));
      if (a.relu) sum = V::at_least(sum, V::zero());
      T lanes[V::lanes];
      sum.store(lanes);
      to = lanes[0];
    }
  }
}

// Rows of which one pixel needs each element once.
template <class V>
inline constexpr int kDotColumn =
    V::registers == 16 && V::lanes * sizeof(typename V::value_type) == 32 ? 8 : 0;

// Their sums lie side by side, or as those of a panel do.
template <class V, bool Adjacent>
FASTCONV_NOINLINE void dot_column(const ColumnArgs<typename V::value_type>& a, std::int64_t row) {
  using T = typename V::value_type;
  constexpr int kRows = kDotColumn<V>;
  const T* const x = a.rest;
  const T* w[kRows];
  FASTCONV_UNROLL
  for (int r = 0; r < kRows; ++r) {
    w[r] = a.w + (row + r) * a.w_pitch;
    FASTCONV_OPAQUE_POINTER(w[r]);
  }
  V acc[kRows];
  FASTCONV_UNROLL
  for (int r = 0; r < kRows; ++r) acc[r] = V::zero();
  const auto term = [&](std::int64_t t) FASTCONV_INLINE_LAMBDA {
    const V xv = V::load(x + t);
    FASTCONV_UNROLL
    for (int r = 0; r < kRows; ++r) acc[r] = V::fma(V::load(w[r] + t), xv, acc[r]);
  };
  std::int64_t t = 0;
  FASTCONV_NO_UNROLL
  for (; t + 2 * V::lanes <= a.terms; t += 2 * V::lanes) {
    term(t);
    term(t + V::lanes);
    FASTCONV_OPAQUE_POINTER(t);
  }
  if (t + V::lanes <= a.terms) {
    term(t);
    t += V::lanes;
  }
  if (t < a.terms) {
    const int n = static_cast<int>(a.terms - t);
    const V xv = V::load(x + t, n);
    FASTCONV_UNROLL
    for (int r = 0; r < kRows; ++r) acc[r] = V::fma(V::load(w[r] + t, n), xv, acc[r]);
  }
  FASTCONV_UNROLL
  for (int s = 0; s < kRows; s += V::lanes) {
    V square[V::lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < V::lanes; ++i) square[i] = acc[s + i];
    V sum = sum_of_lanes(square);
    T* const out = Adjacent ? a.out + row + s : a.out + (row + s) * a.out_pitch + a.pixels;
    T lanes[V::lanes];
    if (a.accumulate) {
      if constexpr (!Adjacent) {
        FASTCONV_UNROLL
        for (int i = 0; i < V::lanes; ++i) lanes[i] = out[i * a.out_pitch];
      }
      sum = V::add(V::load(Adjacent ? out : lanes), sum);
    }
    if (a.bias != nullptr) sum = V::add(sum, V::load(a.bias + row + s));
    if (a.relu) sum = V::at_least(sum, V::zero());
    if constexpr (Adjacent) {
      sum.store(out);
    } else {
      sum.store(lanes);
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i) out[i * a.out_pitch] = lanes[i];
    }
  }
}

// An odd number of rows, of tails, is an even one and one more.
template <class V, int Rows>
FASTCONV_INLINE void dot_rows(const ColumnArgs<typename V::value_type>& a, std::int64_t row) {
  if constexpr (Rows > 1 && Rows % 2 == 1) {
    dot_rows<V, Rows - 1>(a, row);
    return dot_rows<V, 1>(a, row + Rows - 1);
  }
  std::int64_t p = 0;
  // GCC 12 spills those of vectors of sixteen bytes.
  if constexpr (Rows * 3 + 4 <= V::registers && V::lanes * sizeof(*a.x) >= 32) {
    for (; a.rest_pixels - p == 3 || a.rest_pixels - p > 4; p += 3) dot_tile<V, Rows, 3>(a, row, p);
  }
  for (; p + 2 <= a.rest_pixels; p += 2) dot_tile<V, Rows, 2>(a, row, p);
  if (p < a.rest_pixels) dot_tile<V, Rows, 1>(a, row, p);
}

// Whether dots wait for as many rows as dot_column takes.
template <class V>
FASTCONV_INLINE bool dots_wait(const ColumnArgs<typename V::value_type>& a) {
  return kDotColumn<V> != 0 && a.rest_pixels == 1;
}

// Those of rows [first, end) by whole columns, `all` of them or not; the first row left.
template <class V>
FASTCONV_NOINLINE std::int64_t waiting_dots(const ColumnArgs<typename V::value_type>& a,
                                            std::int64_t first, std::int64_t end, bool all) {
  if constexpr (kDotColumn<V> != 0) {
    for (; first + kDotColumn<V> <= end; first += kDotColumn<V>) dot_column<V, false>(a, first);
    for (; all && first < end; ++first) dot_tile<V, 1, 1>(a, first, 0);
  }
  return first;
}

template <class V, int Vecs, int Rows>
FASTCONV_INLINE void column_rows(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                 RequestsInTurn<typename V::value_type>& requests) {
  if (a.pixels != 0)
    for (std::int64_t p = 0; p < a.panels; ++p)
      column_tile<V, Vecs, Rows>(a, row, p, requests.next());
  if (a.rest_pixels != 0 && !dots_wait<V>(a)) dot_rows<V, Rows>(a, row);
}

// Tiles of Rows and, for tails, of fewer.
template <class V, int Vecs, int Rows>
FASTCONV_INLINE void column_tail(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                 std::int64_t rows,
                                 RequestsInTurn<typename V::value_type>& requests) {
  if (rows == Rows) return column_rows<V, Vecs, Rows>(a, row, requests);
  if constexpr (Rows > kColumnRows<V, Vecs> / 2 && Rows > 1) {
    column_tail<V, Vecs, Rows - 1>(a, row, rows, requests);
  } else {
    // Fewer channels than half a tile.
    for (; rows != 0; --rows, ++row) column_rows<V, Vecs, 1>(a, row, requests);
  }
}

template <class V, int Vecs>
void column_product(const ColumnArgs<typename V::value_type>& args) {
  const ColumnArgs<typename V::value_type> a = args;  // no store can change a copy
  constexpr int kRows = kColumnRows<V, Vecs>;
  std::int64_t row = 0;
  if constexpr (kDotColumn<V> != 0) {
    if (a.pixels == 0 && a.rest_pixels == 1 && a.out_pitch == 1)
      for (; row + kDotColumn<V> <= a.rows; row += kDotColumn<V>) dot_column<V, true>(a, row);
  }
  RequestsInTurn<typename V::value_type> requests(a);
  // Weights are in L1 still: of pictures of 7 x 7 (AVX2) the one pixel took 6 % of the time by
  // fours, whose sums are a chain each.
  const bool wait = dots_wait<V>(a);
  std::int64_t dots = row;
  for (; a.rows - row >= 2 * kRows || a.rows - row == kRows; row += kRows) {
    column_rows<V, Vecs, kRows>(a, row, requests);
    if (wait) dots = waiting_dots<V>(a, dots, row + kRows, false);
  }
  // Two tiles of about the same height rather than a whole one and a thin one, which would wait for
  // its additions.
  for (std::int64_t left = a.rows - row; left != 0;) {
    const std::int64_t rows = left > kRows ? (left + 1) / 2 : left;
    column_tail<V, Vecs, kRows>(a, row, rows, requests);
    row += rows;
    left -= rows;
  }
  if (wait) waiting_dots<V>(a, dots, row, true);
}

// One term: pieces of rows in which every Step-th element counts, and not one more is read.
template <class V, int Step>
FASTCONV_INLINE void gather_pieces(const GatherArgs<typename V::value_type>& a,
                                   const typename V::value_type* from, typename V::value_type* to) {
  FASTCONV_NO_UNROLL
  for (std::int64_t s = 0; s < a.pieces; ++s) {
    const auto* const x = from + a.piece[s].from;
    const int n = Step * (a.piece[s].count - 1) + 1;
    V first = n >= V::lanes ? V::load(x) : V::load(x, n);
    if constexpr (Step == 2) {
      V second = V::zero();
      if (n > V::lanes) second = V::load(x + V::lanes, n - V::lanes);
      V::unzip(first, second);
    }
    first.store(to + a.piece[s].to);
  }
}

// Terms of a panel, its pieces one behind the other. The pages of two terms are far apart, where
// the processor's own prefetching stops: lines are asked for kAhead terms ahead.
template <class V>
void gather_columns(const GatherArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const GatherArgs<T> a = args;  // no store can change a copy
  constexpr int kAhead = 4;
  if (a.tap == nullptr && a.pieces != 0) {
    for (std::int64_t t = 0; t < a.terms; ++t) {
      const T* const from = a.from + t * a.from_pitch;
      T* const to = a.to + t * a.to_pitch;
      if (a.step == 1) {
        gather_pieces<V, 1>(a, from, to);
      } else {
        gather_pieces<V, 2>(a, from, to);
      }
    }
    return;
  }
  if (a.tap == nullptr) {
    for (std::int64_t t = 0; t < a.terms; ++t) {
      const T* from = a.from + t * a.from_pitch;
      T* to = a.to + t * a.to_pitch;
      const std::int64_t ahead = t + kAhead < a.terms ? kAhead * a.from_pitch : 0;
      std::int64_t left = a.pixels;
      // Whole panels of three vectors, two lines, take half as many instructions so.
      constexpr int kWide = kColumnVecs<V>[0] * V::lanes;
      if constexpr (kFillsRegisters<V>) {
        if (a.to_pitch == kWide) {
          FASTCONV_NO_UNROLL
          for (; left >= kWide; left -= kWide, from += kWide, to += a.panel_pitch) {
            FASTCONV_PREFETCH(from + ahead);
            FASTCONV_PREFETCH(from + ahead + kWide - V::lanes);
            V x[kColumnVecs<V>[0]];
            FASTCONV_UNROLL
            for (int v = 0; v < kColumnVecs<V>[0]; ++v) x[v] = V::load(from + v * V::lanes);
            FASTCONV_UNROLL
            for (int v = 0; v < kColumnVecs<V>[0]; ++v) x[v].store(to + v * V::lanes);
          }
        }
      }
      for (; left > 0; left -= a.to_pitch, from += a.to_pitch, to += a.panel_pitch) {
        const std::int64_t pixels = left < a.to_pitch ? left : a.to_pitch;
        std::int64_t i = 0;
        for (; i + V::lanes <= pixels; i += V::lanes) {
          FASTCONV_PREFETCH(from + ahead + i);
          V::load(from + i).store(to + i);
        }
        if (i != pixels) V::load(from + i, static_cast<int>(pixels - i)).store(to + i);
      }
    }
    return;
  }
  for (std::int64_t t = 0; t < a.terms; ++t) {
    const T* const from = a.from + a.tap[t];
    T* const to = a.to + t * a.to_pitch;
    FASTCONV_NO_UNROLL
    for (std::int64_t s = 0; s < a.pieces; ++s)
      V::load(from + a.piece[s].from).store(to + a.piece[s].to);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
