// One channel filtered by one small square kernel, from the caller's rows straight to output rows.
// Lanes are output columns; the sums of the output rows that an input row touches roll through the
// registers, so that each input row is read once:
//
//   input row      sums
//      j           a[0] += w[0] x    a[1] += w[1] x    a[2] += w[2] x  -> output row j - 2
//      j + 1            \ becomes a[1]    \ becomes a[2]
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/args.hpp"
#include "kernels/plane.hpp"
#include "kernels/rolling_row.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Needs masked loads; kernels that reach further than the neighbouring vector have no such form.
// Nor have 7 x 7 of doubles, for the size of the code. (NEON, whose masked load would go through
// memory, spilled everywhere around it.)
template <class V, int Size>
inline constexpr bool kRolls = false;
template <class V, int Size>
  requires requires { typename V::Mask; }
inline constexpr bool kRolls<V, Size> =
    kIsFloat<V> && V::registers == 32 && V::quick_masked_stores && Size - 1 <= V::lanes &&
    (Size < 7 || sizeof(typename V::value_type) == 4);

// Most vectors of a strip: sums, two vectors and the one cut out of them, a weight and the fill
// value are in registers, and of 3 x 3 all weights.
template <int Size>
inline constexpr int kRollVecs = Size == 3   ? 4
                                 : Size == 5 ? 3
                                             : 2;

// Bias and activation.
template <class V, int Vecs>
FASTCONV_INLINE void roll_finish(const RollArgs<typename V::value_type>& a,
                                 const RollStrip<V, Vecs>& s, V (&sum)[Vecs]) {
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
}

template <class V, int Vecs, RollForm Form>
FASTCONV_INLINE void roll_store(const RollArgs<typename V::value_type>& a,
                                const RollStrip<V, Vecs>& s, std::int64_t r, const V (&sum)[Vecs]) {
  auto* const out = s.out + r * a.out_pitch;
  if constexpr (Form == RollForm::bands) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i].store(out + s.out_at[i], static_cast<int>(a.pixels));
    return;
  }
  if (Form == RollForm::edges && a.pixels < V::lanes)
    return sum[0].store(out, static_cast<int>(a.pixels));
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) sum[i].store(out + s.first[i]);
}

// Whether a strip copies its arguments, of which GCC then knows that no store of a vector changes
// them. Elsewhere it would spill sums.
template <int Size, RollForm Form>
inline constexpr bool kCopiesArgs = Size == 3 && Form == RollForm::ends;

// The input rows that begin with output row j, one for each phase of the vertical stride.
template <class V, int Size, int Stride, int Vecs, int Sums, RollPart Part, RollForm Form,
          class KernelWeights>
FASTCONV_INLINE void roll_step(V (&sum)[Sums][Vecs], const RollStrip<V, Vecs>& s,
                               const RollColumns<V, Size, Stride> (&columns)[Vecs],
                               const KernelWeights& weights, V fill,
                               const RollArgs<typename V::value_type>& a, bool finishes,
                               std::int64_t j) {
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
  if (j >= Sums - 1) {
    if (!kCopiesArgs<Size, Form> || finishes) roll_finish<V, Vecs>(a, s, sum[Sums - 1]);
    roll_store<V, Vecs, Form>(a, s, j - (Sums - 1), sum[Sums - 1]);
  }
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
FASTCONV_NOINLINE void roll_strip(const RollArgs<typename V::value_type>& args,
                                  const RollStrip<V, Vecs>& strip,
                                  const RollColumns<V, Size, Stride> (&columns)[Vecs]) {
  constexpr bool kCopies = kCopiesArgs<Size, Form>;
  using Args = RollArgs<typename V::value_type>;
  using Strip = RollStrip<V, Vecs>;
  const std::conditional_t<kCopies, const Args, const Args&> a = args;
  const std::conditional_t<kCopies, const Strip, const Strip&> s = strip;
  const bool finishes =
      s.bias != nullptr || a.activation == Activation::relu || a.activation == Activation::relu6;
  constexpr int kSums = (Size - 1) / Stride + 1;
  constexpr bool kHolds = kHoldsWeights<Size>;
  const auto weights = RollWeights<V, Size, kHolds>::load(s.w);
  const V fill = V::load_broadcast(a.fill_row);
  V sum[kSums][Vecs];
  FASTCONV_UNROLL
  for (int m = 0; m < kSums; ++m) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[m][i] = V::zero();
  }
  const std::int64_t steps = s.rows + kSums - 1;
  FASTCONV_NO_UNROLL
  for (std::int64_t j = 0; j < steps; ++j) {
    if (kSkipsRows<Size> && (j < kSums - 1 || j >= s.rows)) {
      roll_step<V, Size, Stride, Vecs, kSums, RollPart::some, Form>(sum, s, columns, weights, fill,
                                                                    a, finishes, j);
    } else {
      roll_step<V, Size, Stride, Vecs, kSums, RollPart::whole, Form>(sum, s, columns, weights, fill,
                                                                     a, finishes, j);
    }
  }
}

template <class V, int Size, int Stride, int Vecs>
FASTCONV_INLINE void roll_vectors(const RollArgs<typename V::value_type>& a, std::int64_t first,
                                  const RollStrip<V, 1>& plane) {
  RollStrip<V, Vecs> s{plane.x, plane.w, plane.bias, plane.from, plane.out, a.rows,
                       0,       {},      {},         {},         {}};
  const std::int64_t end = first + Vecs * V::lanes;
  s.next = end < a.pixels ? end * Stride : a.x_plane;
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) {
    const std::int64_t at = first + i * V::lanes;
    s.first[i] = at + V::lanes <= a.pixels || a.pixels < V::lanes ? at : a.pixels - V::lanes;
  }
  RollColumns<V, Size, Stride> columns[Vecs];
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i)
    columns[i] = RollColumns<V, Size, Stride>::make(s.first[i], a.border, a.width);
  // Elements of a row that loads may touch, from which on and how many.
  const auto inside = [&](int i, std::int64_t count) FASTCONV_INLINE_LAMBDA {
    return columns[i].at >= 0 && columns[i].at + count <= a.width;
  };
  if constexpr (Vecs == kRollVecs<Size> && Stride == 1) {
    constexpr int kSeen = V::lanes - 1 + Size;
    if (inside(0, kSeen) && inside(Vecs - 1, kSeen))
      return roll_strip<V, Size, Stride, Vecs, RollForm::inside>(a, s, columns);
  }
  if constexpr (Vecs == 1) {
    roll_strip<V, Size, Stride, 1, RollForm::edges>(a, s, columns);
  } else {
    // Of the first vector its first part alone is loaded through a mask on the left.
    bool ends = columns[0].at >= -V::lanes && columns[1].at >= 0 && inside(Vecs - 1, V::lanes);
    if constexpr (Vecs > 2) ends = ends && inside(Vecs - 3, (Stride + 1) * V::lanes);
    if (ends) return roll_strip<V, Size, Stride, Vecs, RollForm::ends>(a, s, columns);
    for (int i = 0; i < Vecs; ++i) roll_vectors<V, Size, Stride, 1>(a, s.first[i], plane);
  }
}

template <class V, int Size, int Stride>
FASTCONV_INLINE void roll_plane(const RollArgs<typename V::value_type>& a,
                                const RollStrip<V, 1>& plane) {
  constexpr int kMost = kRollVecs<Size>;
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
  RollStrip<V, 2> s{plane.x, plane.w, plane.bias, plane.from, plane.out, (a.rows + 1) / 2,
                    0,       {},      {},         {},         {}};
  const std::int64_t second = a.rows - s.rows;
  s.slot[1] = second * Stride;
  s.from_at[1] = second * a.from_pitch;
  s.out_at[1] = second * a.out_pitch;
  const RollColumns<V, Size, Stride> columns[2] = {column, column};
  roll_strip<V, Size, Stride, 2, RollForm::bands>(a, s, columns);
}

template <class V, int Size, int Stride, bool Single>
FASTCONV_INLINE void roll_planes(const RollArgs<typename V::value_type>& a) {
  RollStrip<V, 1> plane{a.x, a.w, a.bias, a.from, a.out, a.rows, a.x_plane, {}, {}, {}, {}};
  const RollColumns<V, Size, Stride> columns[1] = {
      RollColumns<V, Size, Stride>::make(0, a.border, a.width)};
  for (std::int64_t p = 0; p < a.planes; ++p) {
    if constexpr (Single) {
      if (a.rows >= 4) {
        roll_bands<V, Size, Stride>(a, plane, columns[0]);
      } else {
        roll_strip<V, Size, Stride, 1, RollForm::edges>(a, plane, columns);
      }
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
  activate_planes<V>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
