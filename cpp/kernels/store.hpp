// From accumulators to the output: bias, activation, and a transpose where accumulators and output
// run along different axes.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/logistic.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class V>
inline constexpr bool kIsFloat = static_cast<typename V::value_type>(0.5) != 0;

// Integers, and processors without a fused multiply-add, make do with fewer and smaller tiles: for
// the size of the code, of which they would be two thirds. Integers lose little, for what their
// sums wait for is an addition of one cycle, and the product decides.
template <class V>
inline constexpr bool kLean = !kIsFloat<V> || !V::fused;
// Those processors alone: what integers keep all the same, for pictures of them are common, and
// those of NumPy have 64 bits; and widths of tiles, whose sums are the same in narrower ones.
template <class V>
inline constexpr bool kLeanest = !V::fused;
// Their integers: a product takes ten instructions, beside which little counts that larger tiles
// share.
template <class V>
inline constexpr bool kSlowProduct = kLeanest<V> && !kIsFloat<V>;

// Long ones are called: inlined wherever rows are stored, they would be most of this code.
template <class V>
FASTCONV_NOINLINE V activate_smoothly(V x, Activation activation) {
  if (activation == Activation::tanh) return hyperbolic_tangent(x);
  if (activation == Activation::sigmoid) return sigmoid_or_silu<V, false>(x);
  return sigmoid_or_silu<V, true>(x);
}

template <class V>
FASTCONV_INLINE V activate(V x, Activation activation) {
  using T = typename V::value_type;
  if constexpr (kIsFloat<V>) {
    switch (activation) {
      case Activation::none:
        break;
      case Activation::relu:
        return V::at_least(x, V::zero());
      case Activation::relu6:
        return V::at_most(V::at_least(x, V::zero()), V::broadcast(T(6)));
      case Activation::leaky_relu:
        return V::max(x, V::mul(x, V::broadcast(T(0.01))));
      case Activation::sigmoid:
      case Activation::silu:
      case Activation::tanh:
        return activate_smoothly(x, activation);
    }
    return x;
  } else {
    // Integers are wrapped to their own width first, so their activations wait for the conversion.
    return x;
  }
}

// Accumulators and output run along the same axis: `run` elements a row, one bias for the row
// (channel-major) or one for each element (channels last).
template <class V, bool BiasPerElement>
FASTCONV_INLINE void store_row(const typename V::value_type* acc, typename V::value_type* out,
                               std::int64_t run, const typename V::value_type* bias,
                               Activation activation) {
  const V row_bias = !BiasPerElement && bias != nullptr ? V::broadcast(*bias) : V::zero();
  const auto finish = [&](V v, std::int64_t i, int n) FASTCONV_INLINE_LAMBDA {
    if (bias != nullptr) {
      if constexpr (BiasPerElement) {
        v = V::add(v, n == V::lanes ? V::load(bias + i) : V::load(bias + i, n));
      } else {
        v = V::add(v, row_bias);
      }
    }
    return activate(v, activation);
  };
  std::int64_t i = 0;
  for (; i + V::lanes <= run; i += V::lanes) finish(V::load(acc + i), i, V::lanes).store(out + i);
  if (i == run) return;
  if (run >= V::lanes) {
    // The last whole vector once more, over what is stored already: parts of one take longer.
    i = run - V::lanes;
    finish(V::load(acc + i), i, V::lanes).store(out + i);
  } else {
    const int n = static_cast<int>(run);
    finish(V::load(acc, n), 0, n).store(out, n);
  }
}

// acc is [pixels][channels], out is [channels][pixels]: one square of lanes x lanes at a time.
// Plain: neither bias nor activation.
template <class V, bool Plain>
FASTCONV_INLINE void store_transposed(const StoreArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  for (std::int64_t c = 0; c < a.channels; c += V::lanes) {
    const int channels = static_cast<int>(a.channels - c < V::lanes ? a.channels - c : V::lanes);
    for (std::int64_t next = 0; next < a.pixels; next += V::lanes) {
      // The last square overlaps the one before it, as the last vector of store_row does.
      const std::int64_t last = a.pixels - V::lanes;
      const std::int64_t p = next > last && last >= 0 ? last : next;
      const int pixels = static_cast<int>(a.pixels - p < V::lanes ? a.pixels - p : V::lanes);
      const T* from = a.acc + p * a.acc_pixel + c;
      T* to = a.out + c * a.out_channel + p;
      V square[V::lanes];
      if (pixels == V::lanes) {
        FASTCONV_UNROLL
        for (int i = 0; i < V::lanes; ++i, from += a.acc_pixel) {
          square[i] = V::load(from);
          FASTCONV_OPAQUE_POINTER(from);
        }
      } else {
        FASTCONV_UNROLL
        for (int i = 0; i < V::lanes; ++i)
          square[i] = i < pixels ? V::load(from + i * a.acc_pixel) : V::zero();
      }
      V::transpose(square);
      if constexpr (!Plain) {
        FASTCONV_UNROLL
        for (int i = 0; i < V::lanes; ++i) {
          if (i >= channels) break;
          if (a.bias != nullptr) square[i] = V::add(square[i], V::load_broadcast(a.bias + c + i));
          square[i] = activate(square[i], a.activation);
        }
      }
      if (pixels == V::lanes && channels == V::lanes) {
        FASTCONV_UNROLL
        for (int i = 0; i < V::lanes; ++i, to += a.out_channel) {
          square[i].store(to);
          FASTCONV_OPAQUE_POINTER(to);
        }
        continue;
      }
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        if (i >= channels) break;
        if (pixels == V::lanes) {
          square[i].store(to + i * a.out_channel);
        } else {
          square[i].store(to + i * a.out_channel, pixels);
        }
      }
    }
  }
}

// The other way: acc is [channels][pixels], out is [pixels][channels].
template <class V>
FASTCONV_INLINE void store_channels_last(const StoreArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  for (std::int64_t p = 0; p < a.pixels; p += V::lanes) {
    const int pixels = static_cast<int>(a.pixels - p < V::lanes ? a.pixels - p : V::lanes);
    for (std::int64_t c = 0; c < a.channels; c += V::lanes) {
      const int channels = static_cast<int>(a.channels - c < V::lanes ? a.channels - c : V::lanes);
      const bool whole = pixels == V::lanes && channels == V::lanes;
      const T* from = a.acc + c * a.acc_channel + p;
      V square[V::lanes];
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i, from += a.acc_channel) {
        square[i] = whole ? V::load(from) : i < channels ? V::load(from, pixels) : V::zero();
        FASTCONV_OPAQUE_POINTER(from);
      }
      V::transpose(square);
      T* to = a.out + p * a.out_pixel + c;
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i, to += a.out_pixel) {
        if (i >= pixels) break;
        if (channels == V::lanes) {
          square[i].store(to);
        } else {
          square[i].store(to, channels);
        }
        FASTCONV_OPAQUE_POINTER(to);
      }
      if (a.bias == nullptr && a.activation == Activation::none) continue;
      to = a.out + p * a.out_pixel + c;
      FASTCONV_NO_UNROLL
      for (int i = 0; i < pixels; ++i, to += a.out_pixel)
        store_row<V, true>(to, to, channels, a.bias == nullptr ? nullptr : a.bias + c,
                           a.activation);
    }
  }
}

inline constexpr std::int64_t kFewTurned = 4;  // channels that are not worth a square

template <class V>
void store_tile(const StoreArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const StoreArgs<T> a = args;  // no store can change a copy
  if (a.acc_pixel == 1 && a.out_pixel == 1) {
    for (std::int64_t c = 0; c < a.channels; ++c)
      store_row<V, false>(a.acc + c * a.acc_channel, a.out + c * a.out_channel, a.pixels,
                          a.bias != nullptr ? a.bias + c : nullptr, a.activation);
  } else if (a.acc_channel == 1 && a.out_channel == 1 && a.bias == nullptr &&
             a.activation == Activation::none) {
    const T* from = a.acc;
    T* to = a.out;
    const std::int64_t whole = a.channels / V::lanes * V::lanes, last = a.channels - V::lanes;
    const int rest = static_cast<int>(a.channels - whole);
    for (std::int64_t p = 0; p < a.pixels; ++p, from += a.acc_pixel, to += a.out_pixel) {
      for (std::int64_t c = 0; c < whole; c += V::lanes) V::load(from + c).store(to + c);
      if (rest == 0) continue;
      if (last >= 0) {
        V::load(from + last).store(to + last);
      } else {
        V::load(from, rest).store(to, rest);
      }
    }
  } else if (a.acc_channel == 1 && a.out_channel == 1) {
    for (std::int64_t p = 0; p < a.pixels; ++p)
      store_row<V, true>(a.acc + p * a.acc_pixel, a.out + p * a.out_pixel, a.channels, a.bias,
                         a.activation);
  } else if (a.acc_channel == 1 && a.out_pixel == 1) {
    if (a.bias == nullptr && a.activation == Activation::none) {
      store_transposed<V, true>(a);
    } else {
      store_transposed<V, false>(a);
    }
  } else if (kIsFloat<V> && a.acc_pixel == 1 && a.out_channel == 1 && a.channels > kFewTurned) {
    if constexpr (kIsFloat<V>) store_channels_last<V>(a);
  } else if (a.acc_pixel == 1) {
    // Few channels to channels last, or any other strides.
    constexpr std::int64_t kRun = 64;
    T row[kRun];
    for (std::int64_t c = 0; c < a.channels; ++c) {
      for (std::int64_t p = 0; p < a.pixels; p += kRun) {
        const std::int64_t run = a.pixels - p < kRun ? a.pixels - p : kRun;
        store_row<V, false>(a.acc + c * a.acc_channel + p, row, run,
                            a.bias != nullptr ? a.bias + c : nullptr, a.activation);
        T* const to = a.out + c * a.out_channel + p * a.out_pixel;
        for (std::int64_t i = 0; i < run; ++i) to[i * a.out_pixel] = row[i];
      }
    }
  } else {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      for (std::int64_t p = 0; p < a.pixels; ++p) {
        T value;
        store_row<V, false>(a.acc + c * a.acc_channel + p * a.acc_pixel, &value, 1,
                            a.bias != nullptr ? a.bias + c : nullptr, a.activation);
        a.out[c * a.out_channel + p * a.out_pixel] = value;
      }
    }
  }
}

// Group by group, whole vectors; see SpreadArgs. The rows of two terms are often in different
// pages, where the processor's own prefetching stops: lines are asked for kAhead terms ahead.
template <class V, int Group>
void spread_rows(const SpreadArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const SpreadArgs<T> a = args;  // no store can change a copy
  constexpr int kVecs = (Group + V::lanes - 1) / V::lanes;
  constexpr int kAhead = 4;
  for (std::int64_t t = 0; t < a.terms; ++t) {
    const T* from = a.from + t * a.from_pitch;
    T* to = a.to + t * Group;
    std::int64_t left = a.pixels;
    const std::int64_t ahead = t + kAhead < a.terms ? kAhead * a.from_pitch : 0;
    for (; left >= kVecs * V::lanes; left -= Group, from += Group, to += a.pitch) {
      FASTCONV_PREFETCH(from + ahead);
      FASTCONV_UNROLL
      for (int v = 0; v < kVecs; ++v) V::load(from + v * V::lanes).store(to + v * V::lanes);
    }
    for (; left > 0; left -= Group, from += Group, to += a.pitch) {
      const std::int64_t n = left < Group ? left : Group;
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
    }
  }
}

// Whether none is infinite or not a number: its product with a zero of the border is not zero.
template <class V>
bool are_finite([[maybe_unused]] const typename V::value_type* x,
                [[maybe_unused]] std::int64_t count) {
  if constexpr (kIsFloat<V>) {
    constexpr int kSums = 4;
    constexpr std::int64_t kAhead = 32 * V::lanes;
    const V zero = V::zero();
    V sum[kSums] = {zero, zero, zero, zero};
    std::int64_t i = 0;
    FASTCONV_NO_UNROLL
    for (; i + kSums * V::lanes <= count; i += kSums * V::lanes) {
      FASTCONV_UNROLL
      for (int j = 0; j < kSums; ++j) {
        FASTCONV_PREFETCH(x + i + j * V::lanes + kAhead);
        sum[j] = V::fma(V::load(x + i + j * V::lanes), zero, sum[j]);
      }
    }
    FASTCONV_NO_UNROLL
    for (; i < count; i += V::lanes) {
      const std::int64_t left = count - i;
      sum[0] = V::fma(left >= V::lanes ? V::load(x + i) : V::load(x + i, static_cast<int>(left)),
                      zero, sum[0]);
    }
    typename V::value_type sums[V::lanes];
    V::add(V::add(sum[0], sum[1]), V::add(sum[2], sum[3])).store(sums);
    // Halves, as one addition would wait for the other.
    FASTCONV_UNROLL
    for (int n = V::lanes / 2; n > 0; n /= 2) {
      FASTCONV_UNROLL
      for (int l = 0; l < n; ++l) sums[l] += sums[l + n];
    }
    return sums[0] == 0;
  }
  return true;
}

// Reads nothing behind the last element: the last vector is the odd elements from one before it.
template <class V>
void every_second(const typename V::value_type* from, typename V::value_type* to,
                  std::int64_t count) {
  std::int64_t i = 0;
  for (; i + V::lanes < count; i += V::lanes) {
    V even = V::load(from + 2 * i), odd = V::load(from + 2 * i + V::lanes);
    V::unzip(even, odd);
    even.store(to + i);
  }
  if (i != 0) {
    i = count - V::lanes;
    V even = V::load(from + 2 * i - 1), odd = V::load(from + 2 * i - 1 + V::lanes);
    V::unzip(even, odd);
    odd.store(to + i);
    return;
  }
  for (; i < count; ++i) to[i] = from[2 * i];
}

inline constexpr int kChecks = 4;  // chains, since additions wait for each other

// A square of lanes x lanes, of which there may be fewer rows, the others being zero, and fewer
// terms. Checked: terms go to places of their own, and what is not finite makes one of `sums` NaN.
template <class V, bool Whole, bool Checked>
FASTCONV_INLINE void pack_square(const PackArgs<typename V::value_type>& a, std::int64_t r,
                                 std::int64_t t, int rows, int terms, V* sums) {
  using T = typename V::value_type;
  constexpr int kNear = 4;  // rows that one pointer and a multiple of the pitch reach
  const T* from = a.from + r * a.from_pitch + t;
  V square[V::lanes];
  FASTCONV_UNROLL
  for (int i = 0; i < V::lanes; ++i) {
    const T* const row = from + i % kNear * a.from_pitch;
    if (Whole) {
      square[i] = V::load(row);
    } else {
      square[i] = i >= rows ? V::zero() : terms < V::lanes ? V::load(row, terms) : V::load(row);
    }
    if (i % kNear != kNear - 1) continue;
    from += kNear * a.from_pitch;
    FASTCONV_OPAQUE_POINTER(from);
  }
  V::transpose(square);
  if constexpr (Checked) {
    FASTCONV_UNROLL
    for (int i = 0; i < V::lanes; ++i) {
      if (!Whole && i >= terms) break;
      square[i].store(a.to + a.place[t + i] * a.to_pitch + r);
      sums[i % kChecks] = V::fma(square[i], V::zero(), sums[i % kChecks]);
    }
    return;
  }
  T* to = a.to + t * a.to_pitch + r;
  FASTCONV_UNROLL
  for (int i = 0; i < V::lanes; ++i) {
    if (!Whole && i >= terms) break;
    square[i].store(to + i % kNear * a.to_pitch);
    if (i % kNear != kNear - 1) continue;
    to += kNear * a.to_pitch;
    FASTCONV_OPAQUE_POINTER(to);
  }
}

// A few rows side by side: compilers shuffle whole vectors.
template <int Rows, class T>
FASTCONV_NOINLINE void pack_few(const T* __restrict from, std::int64_t from_pitch,
                                std::int64_t taps, T* __restrict to) {
  for (std::int64_t t = 0; t < taps; ++t) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) to[t * Rows + r] = from[r * from_pitch + t];
  }
}

// Weights to kernel order: squares of lanes x lanes transposed in registers.
template <class V, bool Checked>
FASTCONV_INLINE void pack_squares(const PackArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  const auto row_of = [&](std::int64_t t) {
    return a.to + (Checked ? a.place[t] : t) * a.to_pitch;
  };
  V sums[kChecks];
  FASTCONV_UNROLL
  for (int i = 0; i < kChecks; ++i) sums[i] = V::zero();
  T others = T(0);
  std::int64_t r = 0;
  for (; r < a.rows && r + V::lanes <= a.to_pitch; r += V::lanes) {
    const std::int64_t left = a.rows - r;
    const int rows = static_cast<int>(left < V::lanes ? left : V::lanes);
    std::int64_t t = 0;
    if (rows == V::lanes)
      for (; t + V::lanes <= a.taps; t += V::lanes)
        pack_square<V, true, Checked>(a, r, t, rows, V::lanes, sums);
    constexpr std::int64_t kFew = 2;  // terms, one by one
    for (; t + kFew < a.taps; t += V::lanes) {
      const std::int64_t terms = a.taps - t;
      pack_square<V, false, Checked>(a, r, t, rows,
                                     static_cast<int>(terms < V::lanes ? terms : V::lanes), sums);
    }
    for (; t < a.taps; ++t) {
      T* const to = row_of(t) + r;
      for (int i = 0; i < V::lanes; ++i) {
        to[i] = i < rows ? a.from[(r + i) * a.from_pitch + t] : T(0);
        if constexpr (Checked) others += to[i] * T(0);
      }
    }
  }
  for (std::int64_t t = 0; r < a.to_pitch && t < a.taps; ++t) {
    T* const to = row_of(t);
    for (std::int64_t i = r; i < a.to_pitch; ++i) {
      to[i] = i < a.rows ? a.from[i * a.from_pitch + t] : T(0);
      if constexpr (Checked) others += to[i] * T(0);
    }
  }
  if constexpr (Checked) {
    T lanes[V::lanes];
    V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])).store(lanes);
    FASTCONV_NO_UNROLL
    for (int i = 0; i < V::lanes; ++i) others += lanes[i];
    if (others != T(0) && a.finite != nullptr) *a.finite = false;
  }
}

template <class V>
void pack_rows(const PackArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const PackArgs<T> a = args;  // no store can change a copy
  if (a.place != nullptr) return pack_squares<V, true>(a);
  if (a.rows == a.to_pitch && a.rows <= 4) {
    if (a.rows == 4) return pack_few<4>(a.from, a.from_pitch, a.taps, a.to);
    if (a.rows == 2) return pack_few<2>(a.from, a.from_pitch, a.taps, a.to);
    if (a.rows == 3) return pack_few<3>(a.from, a.from_pitch, a.taps, a.to);
  }
  pack_squares<V, false>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
