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
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Two widths, so that any number of vectors is a sum of them (but for 1, 2 and 5 of thirty-two
// registers): accumulators, operands of a term and one weight fill the register file.
template <class V>
inline constexpr int kColumnVecs[2] = {V::registers >= 32 ? 4 : 3, V::registers >= 32 ? 3 : 2};
template <class V, int Vecs>
inline constexpr int kColumnRows = (V::registers - Vecs - 1) / Vecs > 8
                                       ? 8
                                       : (V::registers - Vecs - 1) / Vecs;

// What one tile asks for (Ahead).
struct Requests {
  const char* at;
  std::int64_t step;
  std::int64_t left;
};

FASTCONV_INLINE Requests requests_of(const Ahead& a, std::int64_t tile, const void* otherwise) {
  if (tile >= a.parts * a.columns) return {static_cast<const char*>(otherwise), 0, 0};
  return {a.at + tile % a.parts * a.count * a.step + tile / a.parts * a.pitch, a.step, a.count};
}

template <class V, int Vecs, int Rows>
FASTCONV_INLINE void column_tile(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                 Requests ahead) {
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
  T* const out = a.out + row * a.out_pitch;
  const std::int64_t pitch = a.out_pitch;
  // Lines of y that no cache holds are here when the sums are.
  if (a.pixels == Vecs * V::lanes) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) FASTCONV_PREFETCH(out + r * pitch + v * V::lanes);
    }
  }
  const T* x = a.x;
  const auto term = [&](const T* at, std::int64_t t) {
    V xv[Vecs];
    FASTCONV_UNROLL
    for (int v = 0; v < Vecs; ++v) {
      xv[v] = V::load(at + v * V::lanes);
      FASTCONV_IN_REGISTER(xv[v].v);
    }
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      V wv = V::load_broadcast(w[r] + t);
      FASTCONV_IN_REGISTER(wv.v);
      FASTCONV_UNROLL
      for (int v = 0; v < Vecs; ++v) acc[r][v] = V::fma(wv, xv[v], acc[r][v]);
    }
  };
  constexpr int kWidth = Vecs * V::lanes;
  std::int64_t t = 0;
  // Of sixteen registers GCC would spill some if there were two terms a turn.
  constexpr int kTerms = V::registers >= 32 ? 2 : 1;
  FASTCONV_NO_UNROLL
  for (; t + kTerms <= a.terms; t += kTerms, x += kTerms * kWidth) {
    FASTCONV_PREFETCH_L2(ahead.at);
    ahead.at += --ahead.left > 0 ? ahead.step : 0;
    term(x, t);
    if constexpr (kTerms == 2) term(x + kWidth, t + 1);
  }
  if constexpr (kTerms == 2)
    if (t < a.terms) term(x, t);

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

// The pixels behind the panel, one by one.
template <class V, int Rows>
FASTCONV_INLINE void dot_tile(const ColumnArgs<typename V::value_type>& a, std::int64_t row) {
  using T = typename V::value_type;
  for (std::int64_t p = 0; p < a.rest_pixels; ++p) {
    const T* const x = a.rest + p * a.rest_pitch;
    const T* w[Rows];
    V acc[Rows];
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      w[r] = a.w + (row + r) * a.w_pitch;
      FASTCONV_OPAQUE_POINTER(w[r]);
      acc[r] = V::zero();
    }
    std::int64_t t = 0;
    FASTCONV_NO_UNROLL
    for (; t + V::lanes <= a.terms; t += V::lanes) {
      const V xv = V::load(x + t);
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) acc[r] = V::fma(xv, V::load(w[r] + t), acc[r]);
    }
    if (t < a.terms) {
      const int n = static_cast<int>(a.terms - t);
      const V xv = V::load(x + t, n);
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) acc[r] = V::fma(xv, V::load(w[r] + t, n), acc[r]);
    }
    FASTCONV_UNROLL
    for (int first = 0; first < Rows; first += V::lanes) {
      constexpr int kMost = Rows < V::lanes ? Rows : V::lanes;
      const int n = Rows - first < V::lanes ? Rows - first : V::lanes;
      V square[V::lanes];
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i)
        square[i] = i < kMost && first + i < Rows ? acc[first + i] : V::zero();
      V::transpose(square);
      FASTCONV_UNROLL
      for (int step = 1; step < V::lanes; step *= 2) {
        FASTCONV_UNROLL
        for (int i = 0; i + step < V::lanes; i += 2 * step)
          square[i] = V::add(square[i], square[i + step]);
      }
      V sum = square[0];
      T value[V::lanes] = {};
      T* const out = a.out + (row + first) * a.out_pitch + a.pixels + p;
      if (a.accumulate) {
        for (int i = 0; i < n; ++i) value[i] = out[i * a.out_pitch];
        sum = V::add(V::load(value), sum);
      }
      if (a.bias != nullptr) sum = V::add(sum, V::load(a.bias + row + first, n));
      if (a.relu) sum = V::at_least(sum, V::zero());
      sum.store(value);
      for (int i = 0; i < n; ++i) out[i * a.out_pitch] = value[i];
    }
  }
}

template <class V, int Vecs, int Rows>
FASTCONV_INLINE void column_rows(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                 std::int64_t tile) {
  column_tile<V, Vecs, Rows>(a, row, requests_of(a.ahead, tile, a.x));
  if (a.rest_pixels != 0) dot_tile<V, Rows>(a, row);
}

// Tiles of Rows and, for tails, of fewer.
template <class V, int Vecs, int Rows>
FASTCONV_INLINE void column_tail(const ColumnArgs<typename V::value_type>& a, std::int64_t row,
                                 std::int64_t rows, std::int64_t tile) {
  if (rows == Rows) return column_rows<V, Vecs, Rows>(a, row, tile);
  if constexpr (Rows > kColumnRows<V, Vecs> / 2 && Rows > 1) {
    column_tail<V, Vecs, Rows - 1>(a, row, rows, tile);
  } else {
    // Fewer channels than half a tile.
    for (; rows != 0; --rows, ++row) column_rows<V, Vecs, 1>(a, row, tile);
  }
}

template <class V, int Vecs>
void column_product(const ColumnArgs<typename V::value_type>& args) {
  const ColumnArgs<typename V::value_type> a = args;  // no store can change a copy
  constexpr int kRows = kColumnRows<V, Vecs>;
  std::int64_t row = 0, tile = 0;
  for (; a.rows - row >= 2 * kRows || a.rows - row == kRows; row += kRows, ++tile)
    column_rows<V, Vecs, kRows>(a, row, tile);
  // Two tiles of about the same height rather than a whole one and a thin one, which would wait for
  // its additions.
  for (std::int64_t left = a.rows - row; left != 0; ++tile) {
    const std::int64_t rows = left > kRows ? (left + 1) / 2 : left;
    column_tail<V, Vecs, kRows>(a, row, rows, tile);
    row += rows;
    left -= rows;
  }
}

// Terms of a panel, its pieces one behind the other. The pages of two terms are far apart, where
// the processor's own prefetching stops: lines are asked for kAhead terms ahead.
template <class V>
void gather_columns(const GatherArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const GatherArgs<T> a = args;  // no store can change a copy
  constexpr int kAhead = 4;
  if (a.tap == nullptr) {
    const std::int64_t whole = a.pixels / V::lanes * V::lanes;
    for (std::int64_t t = 0; t < a.terms; ++t) {
      const T* const from = a.from + t * a.from_pitch;
      T* const to = a.to + t * a.to_pitch;
      const std::int64_t ahead = t + kAhead < a.terms ? kAhead * a.from_pitch : 0;
      for (std::int64_t i = 0; i < whole; i += V::lanes) {
        FASTCONV_PREFETCH(from + ahead + i);
        V::load(from + i).store(to + i);
      }
      if (whole != a.pixels)
        V::load(from + whole, static_cast<int>(a.pixels - whole)).store(to + whole);
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
