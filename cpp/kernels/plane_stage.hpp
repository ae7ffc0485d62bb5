// Rows of a plane into scratch, whole planes a call, sorted by phase where there is a stride
// (pack/stage.hpp has the picture):
//
//   stride 2, position 0   a0 a1 a2 a3 a4 ...   ->   phase 0: a0 a2 a4 ...   phase 1: a1 a3 ...
//
// The last vector of a row overlaps the one before it, or is a part and overwrites what follows.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
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
    for (std::int64_t c = 0; c < whole; c += kStep)
      plane_stage_part<V, Stride>(from, even, odd, c, kStep);
    if (overlaps) {
      plane_stage_part<V, Stride>(from, even, odd, columns - V::lanes, V::lanes);
    } else if (whole < columns) {
      plane_stage_part<V, Stride>(from, even, odd, whole, columns - whole);
      fill.store(even + (columns + Stride - 1) / Stride);
      if constexpr (Stride == 2) fill.store(odd + columns / 2);
    }
  }
}

// Groups of Stride elements, dealt out to as many rows. Compilers make shuffles of it.
template <int Stride, class T>
FASTCONV_NOINLINE void plane_deal(const T* __restrict from, std::int64_t groups, T* __restrict to,
                                  std::int64_t pitch) {
  for (std::int64_t i = 0; i < groups; ++i) {
    FASTCONV_UNROLL
    for (int p = 0; p < Stride; ++p) to[p * pitch + i] = from[i * Stride + p];
  }
}

template <int Stride, class T>
void plane_stage_groups(const PlaneStageArgs<T>& a) {
  const std::int64_t lead = (Stride - a.position % Stride) % Stride;
  const std::int64_t first = lead < a.columns ? lead : a.columns;
  const std::int64_t groups = (a.columns - first) / Stride;
  const std::int64_t first_group = (a.position + first) / Stride;
  // What lies before the first group and behind the last: divisions but once.
  std::int64_t column[2 * Stride], offset[2 * Stride];
  int ends = 0;
  const auto note = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c, ++ends) {
      column[ends] = c;
      offset[ends] = a.template offset<Stride>(c);
    }
  };
  note(0, first);
  note(first + groups * Stride, a.columns);
  const T* from = a.from;
  T* to = a.to;
  for (std::int64_t r = 0; r < a.rows; ++r, from += a.from_pitch, to += a.to_pitch) {
    plane_deal<Stride>(from + first, groups, to + first_group, a.phase_pitch);
    for (int i = 0; i < ends; ++i) to[offset[i]] = from[column[i]];
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
      return plane_stage_groups<3>(a);
    case 4:
      return plane_stage_groups<4>(a);
    default:
      return plane_stage_any(a);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
