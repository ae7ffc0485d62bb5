// Depthwise layers with channels last, whatever their number: lanes are the elements of a row as
// they lie, whole pixels of all channels one after the other, so that rows of three channels fill
// vectors as well as those of sixteen.
//
//   3 channels        x    a0 b0 c0 a1 | b1 c1 a2 b2 | c2 a3 b3 c3 | ...
//                     w    a  b  c  a  | b  c  a  b  | c  a  b  c  | ...
//
// Weights lie repeated, and a vector of them begins with the channel that the vector of x begins
// with. What is loaded of them serves four rows of output. Most vectors of x lie across two lines:
// three rows of a kernel are taken at once where each that is loaded serves several rows of output.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Vectors of a tile.
template <class V>
inline constexpr int kFlatVecs = V::registers >= 32 ? 4 : 2;

template <class V, int Vecs>
FASTCONV_INLINE void flat_store(const FlatArgs<typename V::value_type>& a, std::int64_t first,
                                std::int64_t channel, const V (&acc)[kFlatRows][Vecs]) {
  using T = typename V::value_type;
  const V low = V::broadcast(a.low), high = V::broadcast(a.high);
  const std::int64_t left = a.count - first;
  FASTCONV_UNROLL
  for (int j = 0; j < Vecs; ++j) {
    const V bias = V::load(a.bias + channel + j * V::lanes);
    FASTCONV_UNROLL
    for (int r = 0; r < kFlatRows; ++r) {
      const V sum = V::at_most(V::at_least(V::add(acc[r][j], bias), low), high);
      T* const out = a.out[r] + first + j * V::lanes;
      if (Vecs > 1 || left >= V::lanes) {
        sum.store(out);
      } else {
        sum.store(out, static_cast<int>(left));
      }
    }
  }
}

template <class V, int Vecs>
FASTCONV_NOINLINE void flat_tile(const FlatArgs<typename V::value_type>& a, std::int64_t first,
                                 std::int64_t channel) {
  using T = typename V::value_type;
  static_assert((kFlatRows + kFlatShared) * Vecs < V::registers, "the tile spills");
  constexpr int kRows = kFlatRows + kFlatShared - 1;
  V acc[kFlatRows][Vecs];
  FASTCONV_UNROLL
  for (int r = 0; r < kFlatRows; ++r) {
    FASTCONV_UNROLL
    for (int j = 0; j < Vecs; ++j) acc[r][j] = V::zero();
  }
  for (std::int64_t three = 0; three < a.shared; three += kFlatShared) {
    const T* const* const row = a.row + three * kFlatRows;
    const T* const* const w = a.w + three;
    std::int64_t at = channel;
    FASTCONV_NO_UNROLL
    for (std::int64_t v = 0; v < a.columns; ++v, at += a.w_pitch) {
      const std::int64_t column = first + a.column[v];
      V weight[kFlatShared][Vecs];
      FASTCONV_UNROLL
      for (int u = 0; u < kFlatShared; ++u) {
        FASTCONV_UNROLL
        for (int j = 0; j < Vecs; ++j) {
          weight[u][j] = V::load(w[u] + at + j * V::lanes);
          FASTCONV_IN_REGISTER(weight[u][j].v);
        }
      }
      FASTCONV_UNROLL
      for (int i = 0; i < kRows; ++i) {
        // Of the first kernel row, or of the last output row.
        const int r = i < kFlatRows ? i : kFlatRows - 1;
        const T* const x = row[(i - r) * kFlatRows + r] + column;
        FASTCONV_UNROLL
        for (int j = 0; j < Vecs; ++j) {
          V value = V::load(x + j * V::lanes);
          FASTCONV_IN_REGISTER(value.v);
          FASTCONV_UNROLL
          for (int u = 0; u < kFlatShared; ++u) {
            if (i - u >= 0 && i - u < kFlatRows)
              acc[i - u][j] = V::fma(weight[u][j], value, acc[i - u][j]);
          }
        }
      }
    }
  }
  for (std::int64_t u = a.shared; u < a.rows; ++u) {
    const T* const* const row = a.row + u * kFlatRows;
    const T *const x0 = row[0] + first, *const x1 = row[1] + first, *const x2 = row[2] + first,
                   *const x3 = row[3] + first;
    const T* w = a.w[u] + channel;
    FASTCONV_NO_UNROLL
    for (std::int64_t v = 0; v < a.columns; ++v, w += a.w_pitch) {
      const std::int64_t column = a.column[v];
      V weight[Vecs];
      FASTCONV_UNROLL
      for (int j = 0; j < Vecs; ++j) {
        weight[j] = V::load(w + j * V::lanes);
        FASTCONV_IN_REGISTER(weight[j].v);
      }
      const auto add = [&](const T* x, V(&sum)[Vecs]) FASTCONV_INLINE_LAMBDA {
        FASTCONV_UNROLL
        for (int j = 0; j < Vecs; ++j)
          sum[j] = V::fma(weight[j], V::load(x + column + j * V::lanes), sum[j]);
      };
      add(x0, acc[0]);
      add(x1, acc[1]);
      add(x2, acc[2]);
      add(x3, acc[3]);
    }
  }
  flat_store<V, Vecs>(a, first, channel, acc);
}

// One product for each output: what begins and ends a tile would take longer.
template <class V>
FASTCONV_NOINLINE void flat_scale(const FlatArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  const V low = V::broadcast(a.low), high = V::broadcast(a.high);
  const std::int64_t step = V::lanes % a.period, count = a.count;
  for (int r = 0; r < kFlatRows; ++r) {
    const T* const x = a.row[r] + a.column[0];
    T* const out = a.out[r];
    const T *const w = a.w[0], *const bias = a.bias;
    const auto scaled = [&](std::int64_t at, std::int64_t channel) FASTCONV_INLINE_LAMBDA {
      const V product = V::fma(V::load(w + channel), V::load(x + at), V::zero());
      return V::at_most(V::at_least(V::add(product, V::load(bias + channel)), low), high);
    };
    std::int64_t at = 0, channel = 0;
    for (; at + V::lanes <= count; at += V::lanes) {
      scaled(at, channel).store(out + at);
      channel += step;
      if (channel >= a.period) channel -= a.period;
    }
    if (at == count) continue;
    if (count < V::lanes) {
      scaled(0, 0).store(out, static_cast<int>(count));
    } else {
      at = count - V::lanes;
      scaled(at, at % a.period).store(out + at);
    }
  }
}

// Whole tiles, and the rest by vectors, the last of which may overlap.
template <class V>
void flat_lanes(const FlatArgs<typename V::value_type>& a) {
  if (a.rows == 1 && a.columns == 1 && a.shared == 0) return flat_scale<V>(a);
  constexpr std::int64_t kTile = kFlatVecs<V> * V::lanes;
  const std::int64_t step = kTile % a.period, single = V::lanes % a.period;
  const auto wrapped = [&](std::int64_t channel) FASTCONV_INLINE_LAMBDA {
    return channel < a.period ? channel : channel - a.period;
  };
  std::int64_t first = 0, channel = 0;
  for (; first + kTile <= a.count; first += kTile, channel = wrapped(channel + step))
    flat_tile<V, kFlatVecs<V>>(a, first, channel);
  for (; first < a.count; first += V::lanes, channel = wrapped(channel + single)) {
    if (first + V::lanes > a.count && a.count >= V::lanes) {
      first = a.count - V::lanes;
      channel = first % a.period;
    }
    flat_tile<V, 1>(a, first, channel);
  }
}

// Pointwise layers of groups of several channels or filters, whose outputs each pick what they see
// of two vectors of x; a step takes whole groups.
//
//   2 groups of 2 channels and 3 filters     x   a0 a1 b0 b1 ...
//
//     channel 0 of each output                   a0 a0 a0 b0 b0 b0 ...
//     channel 1                                  a1 a1 a1 b1 b1 b1 ...
template <class V, bool Two>
FASTCONV_INLINE void flat_steps(const FlatArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  // Of sixteen registers two vectors of each of four rows would leave none for a product.
  constexpr int kRows = Two && V::registers < 32 ? kFlatRows / 2 : kFlatRows;
  const V low = V::broadcast(a.low), high = V::broadcast(a.high);
  const auto load = [](const T* x, std::int64_t left) FASTCONV_INLINE_LAMBDA {
    return left >= V::lanes ? V::load(x) : V::load(x, static_cast<int>(left));
  };
  std::int64_t channel = 0;
  for (std::int64_t first = 0, in = 0; first < a.count; first += a.out_step, in += a.in_step) {
    // The last step overlaps the one before it.
    if (first + a.out_step > a.count && first > 0) {
      first = a.count - a.out_step;
      in = a.in - a.in_step;
      channel = first % a.period;
    }
    const std::int64_t left = a.in - in;
    // What is stored beyond the step is the next one's, which follows.
    const std::int64_t room = a.count - first;
    const V bias = V::load(a.bias + channel);
    FASTCONV_NO_UNROLL
    for (int row = 0; row < kFlatRows; row += kRows) {
      V x[kRows][2], acc[kRows];
      FASTCONV_UNROLL
      for (int r = 0; r < kRows; ++r) {
        x[r][0] = load(a.row[row + r] + in, left);
        x[r][1] = V::zero();
        acc[r] = V::zero();
      }
      if (Two && left > V::lanes) {
        FASTCONV_UNROLL
        for (int r = 0; r < kRows; ++r)
          x[r][1] = load(a.row[row + r] + in + V::lanes, left - V::lanes);
      }
      const std::int32_t* route = a.route;
      FASTCONV_NO_UNROLL
      for (std::int64_t c = 0; c < a.rows; ++c, route += V::lanes) {
        const V weight = V::load(a.w[c] + channel);
        FASTCONV_UNROLL
        for (int r = 0; r < kRows; ++r)
          acc[r] = V::fma(
              weight, Two ? V::routed(x[r][0], x[r][1], route) : V::routed(x[r][0], route), acc[r]);
      }
      FASTCONV_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V sum = V::at_most(V::at_least(V::add(acc[r], bias), low), high);
        T* const out = a.out[row + r] + first;
        if (room >= V::lanes) {
          sum.store(out);
        } else {
          sum.store(out, static_cast<int>(room < a.out_step ? room : a.out_step));
        }
      }
    }
    channel += a.out_step;
    while (channel >= a.period) channel -= a.period;
  }
}

// With AVX2 to choose of two vectors takes twice as long as of one.
template <class V>
void flat_groups(const FlatArgs<typename V::value_type>& a) {
  if constexpr (V::registers < 32) {
    if (a.in_step <= V::lanes) return flat_steps<V, false>(a);
  }
  flat_steps<V, true>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
