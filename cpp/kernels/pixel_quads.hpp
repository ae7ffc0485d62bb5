// Lanes are output pixels, of layers of few filters whose input has channels last. Quads, four
// neighbouring pixels each, are read where they lie, four terms of each pixel at a time, and turned
// in registers; so are the sums of up to four filters before they are stored:
//
//   pixel 0   c0 c1 c2 c3 | c4 ..         c0 of pixels 0 1 2 3 | of the next quad | ..
//   pixel 1   c0 c1 c2 c3 | c4 ..   ->    c1
//   pixel 2   c0 c1 c2 c3 | c4 ..         c2
//   pixel 3   c0 c1 c2 c3 | c4 ..         c3
//
// A run of terms is what lies side by side: the channels of all kernel columns, a kernel row. So a
// load is never shared by two taps, but nothing is staged either.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class V>
inline constexpr bool kHasQuads = requires { V::quads; };

// The sums of the quads that begin at `quad`.
template <class V, int Filters>
FASTCONV_INLINE void quad_sums(const QuadArgs<typename V::value_type>& a,
                               const typename V::value_type* const* quad, V (&acc)[kQuad]) {
  using T = typename V::value_type;
  FASTCONV_UNROLL
  for (int o = 0; o < kQuad; ++o) acc[o] = V::zero();
  const std::int64_t pitch = a.pitch, terms = a.terms;
  const T* w = a.w;
  const auto add = [&](const V& value) FASTCONV_INLINE_LAMBDA {
    FASTCONV_UNROLL
    for (int o = 0; o < Filters; ++o) acc[o] = V::fma(V::load_broadcast(w + o), value, acc[o]);
    w += Filters;
  };
  const std::int64_t* const end = a.run + a.runs;
  FASTCONV_NO_UNROLL
  for (const std::int64_t* run = a.run; run != end; ++run) {
    std::int64_t offset = *run, ahead = a.ahead;
    const T* at[V::quads];
    const auto look_up = [&]() FASTCONV_INLINE_LAMBDA {
      FASTCONV_UNROLL
      for (int q = 0; q < V::quads; ++q) at[q] = quad[q] + offset;
    };
    if (pitch == 1 && terms == 1) {
      look_up();
      add(V::load_quads(at, 0));
      continue;
    }
    FASTCONV_NO_UNROLL
    for (std::int64_t left = terms; left > 0; left -= kQuad, offset += kQuad) {
      // The last terms lie behind some that were added, or before what is not used.
      const std::int64_t skipped = left >= kQuad || terms < kQuad ? 0 : kQuad - left;
      offset -= skipped;
      look_up();
      V value[kQuad];
      FASTCONV_UNROLL
      for (int q = 0; q < V::quads; ++q) FASTCONV_PREFETCH(at[q] + ahead);
      ahead += a.ahead_of_turn;
      FASTCONV_UNROLL
      for (int i = 0; i < kQuad; ++i) value[i] = V::load_quads(at, i * pitch);
      V::turn_quads(value);
      if (left >= kQuad) {
        FASTCONV_UNROLL
        for (int i = 0; i < kQuad; ++i) add(value[i]);
      } else if constexpr (Filters == 1) {
        FASTCONV_UNROLL
        for (int i = 0; i < kQuad; ++i)
          if (i >= skipped && i < skipped + left) add(value[i]);
      } else {
        // By way of memory: a fifth of the code.
        FASTCONV_UNROLL
        for (int i = 0; i < kQuad; ++i) value[i].store(a.spare + i * V::lanes);
        FASTCONV_NO_UNROLL
        for (const T* at_term = a.spare + skipped * V::lanes; left > 0; --left, at_term += V::lanes)
          add(V::load(at_term));
      }
    }
  }
}

// To where the outputs of quads begin.
template <class V, int Filters>
FASTCONV_INLINE void store_quads(const QuadArgs<typename V::value_type>& a, V (&acc)[kQuad],
                                 typename V::value_type* const (&out)[V::quads]) {
  if constexpr (Filters == 1) {
    acc[0].store_quads(out, 0);
  } else if (a.filters == 2) {
    V::zip_quads(acc[0], acc[1]);
    acc[0].store_quads(out, 0);
    acc[1].store_quads(out, kQuad);
  } else {
    V::turn_quads(acc);
    FASTCONV_UNROLL
    for (int i = 0; i < kQuad - 1; ++i) acc[i].store_quads(out, i * a.out_pixel);
    // What three filters write beyond their pixel are those of the next one, but for the last.
    constexpr int kLast = kQuad - 1;
    if (a.filters == 3) {
      acc[kLast].store_threes(out, kLast * a.out_pixel);
    } else {
      acc[kLast].store_quads(out, kLast * a.out_pixel);
    }
  }
}

// One filter, or up to four.
template <class V, int Filters>
void pixel_quads(const QuadArgs<typename V::value_type>& args) {
  using T = typename V::value_type;
  const QuadArgs<T> a = args;  // no store can change a copy
  FASTCONV_NO_UNROLL
  for (std::int64_t first = 0; first < a.quads; first += V::quads) {
    V acc[kQuad];
    quad_sums<V, Filters>(a, a.quad + first, acc);
    const V low = V::load_broadcast(&a.low), high = V::load_broadcast(&a.high);
    FASTCONV_UNROLL
    for (int o = 0; o < Filters; ++o) {
      acc[o] = V::add(acc[o], V::load_broadcast(a.bias + o));
      acc[o] = V::at_most(V::at_least(acc[o], low), high);
    }
    T* out[V::quads];
    FASTCONV_UNROLL
    for (int q = 0; q < V::quads; ++q) out[q] = a.place[first + q];
    store_quads<V, Filters>(a, acc, out);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
