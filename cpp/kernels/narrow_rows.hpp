// Dense rows of 8- and 16-bit integers to and from float32 and int32, where there are instructions
// that take a row's last elements through a mask: rows are often shorter than the vectors that
// compilers would make of a plain loop.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/table.hpp"
#include "simd/inline.hpp"

#ifndef FASTCONV_ISA_NAMESPACE
#error "define FASTCONV_ISA_NAMESPACE before including kernels/narrow_rows.hpp"
#endif

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include "simd/masked_rows.hpp"
#endif

namespace fastconv::FASTCONV_ISA_NAMESPACE {

#if defined(__AVX512BW__) && defined(__AVX512VL__)

template <class From>
FASTCONV_INLINE __m512i extended(__mmask16 mask, const From* from) {
  if constexpr (std::is_same_v<From, std::int8_t>)
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, from));
  else if constexpr (std::is_same_v<From, std::uint8_t>)
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, from));
  else if constexpr (std::is_same_v<From, std::int16_t>)
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, from));
  else
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
}

template <class From, class T>
void widen_row(const void* from, T* to, std::int64_t n) {
  const From* const row = static_cast<const From*>(from);
  for_each_sixteen(n, [&](__mmask16 mask, std::int64_t i) {
    const __m512i whole = extended(mask, row + i);
    if constexpr (std::is_same_v<T, float>)
      _mm512_mask_storeu_ps(to + i, mask, _mm512_cvtepi32_ps(whole));
    else
      _mm512_mask_storeu_epi32(to + i, mask, whole);
  });
}

// Sixteen floats as integers that saturating packing takes: what is too small, and NaN, becomes the
// smallest of all.
template <class To>
FASTCONV_INLINE __m512i rounded(const float* from) {
  const __m512 high = _mm512_set1_ps(std::numeric_limits<To>::max());
  return _mm512_cvtps_epi32(_mm512_min_ps(high, _mm512_loadu_ps(from)));
}

// Whole vectors of narrow integers, a quarter of the instructions. Returns how many elements.
template <class To>
FASTCONV_INLINE std::int64_t narrow_vectors(const float* from, To* to, std::int64_t n) {
  constexpr int kEach = 64 / sizeof(To);
  constexpr bool kSigned = std::numeric_limits<To>::is_signed;
  std::int64_t i = 0;
  for (; i + kEach <= n; i += kEach) {
    const __m512i a = rounded<To>(from + i), b = rounded<To>(from + i + 16);
    __m512i packed;
    // Packing works in lanes of 128 bits.
    if constexpr (sizeof(To) == 2) {
      packed = kSigned ? _mm512_packs_epi32(a, b) : _mm512_packus_epi32(a, b);
      packed = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
    } else {
      const __m512i c = rounded<To>(from + i + 32), d = rounded<To>(from + i + 48);
      const __m512i low = _mm512_packs_epi32(a, b), high = _mm512_packs_epi32(c, d);
      packed = kSigned ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
      packed = _mm512_permutexvar_epi32(
          _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
    }
    _mm512_storeu_si512(to + i, packed);
  }
  return i;
}

// Floats are clipped and rounded half to even; NaN goes to the lower end, as in OpenCV. Integers
// wrap.
template <class To, class T>
void narrow_row(const T* from, void* to, std::int64_t n) {
  To* row = static_cast<To*>(to);
  constexpr To kLow = std::numeric_limits<To>::min(), kHigh = std::numeric_limits<To>::max();
  if constexpr (std::is_same_v<T, float>) {
    const std::int64_t done = narrow_vectors(from, row, n);
    from += done;
    row += done;
    n -= done;
  }
  for_each_sixteen(n, [&](__mmask16 mask, std::int64_t i) {
    __m512i whole;
    if constexpr (std::is_same_v<T, float>) {
      // The second operand where the first is NaN.
      const __m512 v = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, from + i), _mm512_set1_ps(kLow));
      whole = _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(kHigh)));
    } else {
      whole = _mm512_maskz_loadu_epi32(mask, from + i);
    }
    if constexpr (sizeof(To) == 1)
      _mm_mask_storeu_epi8(row + i, mask, _mm512_cvtepi32_epi8(whole));
    else
      _mm256_mask_storeu_epi16(row + i, mask, _mm512_cvtepi32_epi16(whole));
  });
}

template <class T>
constexpr void set_narrow_rows(KernelSet<T>& set) {
  if constexpr (sizeof(T) == 4) {
    set.widen[0] = &widen_row<std::int8_t, T>;
    set.widen[1] = &widen_row<std::uint8_t, T>;
    set.widen[2] = &widen_row<std::int16_t, T>;
    set.widen[3] = &widen_row<std::uint16_t, T>;
    set.narrow[0] = &narrow_row<std::int8_t, T>;
    set.narrow[1] = &narrow_row<std::uint8_t, T>;
    set.narrow[2] = &narrow_row<std::int16_t, T>;
    set.narrow[3] = &narrow_row<std::uint16_t, T>;
  }
}

#else

template <class T>
constexpr void set_narrow_rows(KernelSet<T>&) {}

#endif

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
