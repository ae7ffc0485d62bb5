// Rows of a plane into scratch, whole planes a call, sorted by phase where there is a stride
// (pack/stage.hpp has the picture):
//
//   stride 2, position 0   a0 a1 a2 a3 a4 ...   ->   phase 0: a0 a2 a4 ...   phase 1: a1 a3 ...
//
// The last vector of a row overlaps the one before it, or is a part and overwrites what follows.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "simd/deal.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// n columns of a row from column c on; no more than a vector for each phase, c even.
template <class V, int Stride>
FASTCONV_INLINE void plane_stage_part(const typename V::value_type* from,
                                      typename V::value_type* even, typename V::value_type* odd,
                                      std::int64_t c, std::int64_t n) {
  const int count = static_cast<int>(n);
  const V first = n >= V::lanes ? V::load(from + c) : V::load(from + c, count);
  if constexpr (Stride == 1) {
    first.store(even + c);
  } else {
    V low = first, high = V::zero();
    if (n == 2 * V::lanes) {
      high = V::load(from + c + V::lanes);
    } else if (n > V::lanes) {
      high = V::load(from + c + V::lanes, count - V::lanes);
    }
    V::unzip(low, high);
    low.store(even + c / 2);
    high.store(odd + c / 2);
  }
}

template <class V, int Stride>
FASTCONV_INLINE void plane_stage_rows(const PlaneStageArgs<typename V::value_type>& a) {
  constexpr int kStep = Stride * V::lanes;
  const V fill = V::broadcast(a.fill);
  const std::int64_t columns = a.columns, whole = columns / kStep * kStep;
  // The end: nothing, the last vector once more, or a part.
  const bool overlaps = Stride == 1 && columns >= V::lanes;
  const typename V::value_type* from = a.from;
  typename V::value_type* even = a.to + a.template offset<Stride>(0);
  typename V::value_type* odd = a.to + a.template offset<Stride>(1);
  const std::int64_t from_pitch = a.from_pitch, to_pitch = a.to_pitch;
  // The narrow planes of deep layers have as few instructions a row as possible.
  if (Stride == 1 && columns <= 2 * V::lanes) {
    typename V::value_type* to = even;
    if (columns >= V::lanes) {
      const std::int64_t last = columns - V::lanes;
      FASTCONV_NO_UNROLL
      for (std::int64_t r = 0; r < a.rows; ++r, from += from_pitch, to += to_pitch) {
        const V first = V::load(from), second = V::load(from + last);
        first.store(to);
        second.store(to + last);
      }
    } else {
      const int count = static_cast<int>(columns);
      FASTCONV_NO_UNROLL
      for (std::int64_t r = 0; r < a.rows; ++r, from += from_pitch, to += to_pitch) {
        V::load(from, count).store(to);
        fill.store(to + columns);
      }
    }
    return;
  }
  for (std::int64_t r = 0; r < a.rows; ++r, from += from_pitch, even += to_pitch, odd += to_pitch) {
    for (std::int64_t c = 0; c < whole; c += kStep) {
      // The next row lies too far behind this one for the processor to foresee it.
      if constexpr (Stride == 2 && kStep * sizeof(*from) <= 64)
        FASTCONV_PREFETCH(from + from_pitch + c);
      plane_stage_part<V, Stride>(from, even, odd, c, kStep);
    }
    if (overlaps) {
      plane_stage_part<V, Stride>(from, even, odd, columns - V::lanes, V::lanes);
    } else if (whole < columns) {
      plane_stage_part<V, Stride>(from, even, odd, whole, columns - whole);
      fill.store(even + (columns + Stride - 1) / Stride);
      if constexpr (Stride == 2) fill.store(odd + columns / 2);
    }
  }
}

// Vectors of residues 0, 1, ... of as many vectors of columns.
template <class V>
FASTCONV_INLINE void plane_deal_vectors(V (&x)[4]) {
  V::unzip(x[0], x[1]);
  V::unzip(x[2], x[3]);
  V::unzip(x[0], x[2]);
  V::unzip(x[1], x[3]);
}
template <class V>
FASTCONV_INLINE void plane_deal_vectors(V (&x)[3]) {
#ifdef FASTCONV_HAS_SHUFFLE
  const V y[3] = {every_third<0>(x), every_third<1>(x), every_third<2>(x)};
  FASTCONV_UNROLL
  for (int r = 0; r < 3; ++r) x[r] = y[r];
#endif
}

// Where a row has no vector for each residue, and stores of parts take long, single elements.
template <class V, int Stride>
inline constexpr bool kDealsVectors = sizeof(V) >= 32;
#ifndef FASTCONV_HAS_SHUFFLE
template <class V>
inline constexpr bool kDealsVectors<V, 3> = false;
#endif

// Columns c, c + Stride, ... of a row go to to[residue of c], without those of residues that no tap
// sees, which are null.
template <class V, int Stride>
FASTCONV_NOINLINE void plane_stage_groups(const PlaneStageArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  constexpr bool kParts = requires { requires V::quick_masked_stores; };
  T* to[Stride];
  FASTCONV_UNROLL
  for (int r = 0; r < Stride; ++r) {
    const bool seen = (a.phases >> (a.position + r) % Stride & 1) != 0;
    to[r] = seen ? a.to + a.template offset<Stride>(r) : nullptr;
  }
  const std::int64_t columns = a.columns, groups = columns / Stride;
  [[maybe_unused]] const bool by_vectors = groups >= V::lanes;
  const T* from = a.from;
  for (std::int64_t row = 0; row < a.rows; ++row, from += a.from_pitch) {
    const std::int64_t down = row * a.to_pitch;
    std::int64_t c = 0;
    if constexpr (kDealsVectors<V, Stride>) {
      // The last vectors overlap those before them.
      for (std::int64_t i = 0; by_vectors && i < groups; i += V::lanes) {
        const std::int64_t at = i + V::lanes <= groups ? i : groups - V::lanes;
        V x[Stride];
        FASTCONV_UNROLL
        for (int r = 0; r < Stride; ++r) x[r] = V::load(from + at * Stride + r * V::lanes);
        plane_deal_vectors(x);
        FASTCONV_UNROLL
        for (int r = 0; r < Stride; ++r)
          if (to[r] != nullptr) x[r].store(to[r] + down + at);
        c = groups * Stride;
      }
      if (kParts && !by_vectors) {
        V x[Stride];
        FASTCONV_UNROLL
        for (int r = 0; r < Stride; ++r) {
          const std::int64_t left = columns - r * V::lanes;
          x[r] = left >= V::lanes ? V::load(from + r * V::lanes)
                 : left > 0       ? V::load(from + r * V::lanes, static_cast<int>(left))
                                  : V::zero();
        }
        plane_deal_vectors(x);
        FASTCONV_UNROLL
        for (int r = 0; r < Stride; ++r) {
          const int n = static_cast<int>(groups + (r < columns - groups * Stride ? 1 : 0));
          if (to[r] != nullptr) x[r].store(to[r] + down, n);
        }
        c = columns;
      }
    }
    FASTCONV_NO_UNROLL
    for (std::int64_t i = c / Stride; c < columns; ++i) {
      FASTCONV_UNROLL
      for (int r = 0; r < Stride; ++r, ++c)
        if (to[r] != nullptr && c < columns) to[r][down + i] = from[c];
    }
  }
}

template <class T>
void plane_stage_any(const PlaneStageArgs<T>& a) {
  std::int64_t phase = a.position % a.stride, first = a.position / a.stride;
  for (std::int64_t c = 0; c < a.stride && c < a.columns; ++c, ++phase) {
    if (phase == a.stride) {
      phase = 0;
      ++first;
    }
    if ((a.phases >> phase & 1) == 0) continue;
    const T* from = a.from + c;
    T* to = a.to + phase * a.phase_pitch + first;
    for (std::int64_t r = 0; r < a.rows; ++r, from += a.from_pitch, to += a.to_pitch) {
      T* at = to;
      FASTCONV_NO_UNROLL
      for (std::int64_t i = 0; i < a.columns - c; i += a.stride) *at++ = from[i];
    }
  }
}

template <class V>
void plane_stage(const PlaneStageArgs<typename V::value_type>& a) {
  switch (a.stride) {
    case 1:
      return plane_stage_rows<V, 1>(a);
    case 2:
      return plane_stage_rows<V, 2>(a);
    case 3:
      return plane_stage_groups<V, 3>(a);
    case 4:
      return plane_stage_groups<V, 4>(a);
    default:
      return plane_stage_any(a);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
