// half.hpp: arrays of float16 and bfloat16 to and from float32, one copy per instruction set.
//
//   float16    1 sign,  5 exponent (bias  15), 10 mantissa bits
//   bfloat16   1 sign,  8 exponent (bias 127),  7 mantissa bits: the upper half of a float32
//   float32    1 sign,  8 exponent (bias 127), 23 mantissa bits
//
// Narrowing rounds to nearest, ties to even; a NaN stays a NaN (made quiet, its upper payload
// bits kept, as the hardware does); subnormal numbers are exact in both directions.
#pragma once

#include <cstdint>

#include "simd/inline.hpp"

#ifndef FASTCONV_ISA_NAMESPACE
#error "define FASTCONV_ISA_NAMESPACE before including simd/half.hpp"
#endif

#if defined(__F16C__) || defined(__AVX512F__) || (defined(_MSC_VER) && defined(__AVX2__))
#define FASTCONV_HALF_X86 1
#include <immintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FASTCONV_HALF_NEON 1
#include <arm_neon.h>
#endif
#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include "simd/masked_rows.hpp"
#endif

namespace fastconv::FASTCONV_ISA_NAMESPACE {

FASTCONV_INLINE std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
FASTCONV_INLINE float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

FASTCONV_INLINE float float16_to_float32(std::uint16_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16;
  const std::uint32_t magnitude = h & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + ((127u - 15u) << 23);
  // The unit of a subnormal number is 2^-24.
  const std::uint32_t subnormal =
      bits_of(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f);
  const std::uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0u;
  const std::uint32_t special = 0x7f800000u | quiet | (magnitude << 13);
  return float_of(sign | (magnitude < 0x400u ? subnormal : magnitude < 0x7c00u ? normal : special));
}

FASTCONV_INLINE std::uint16_t float32_to_float16(float x) {
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // The addition leaves the number in units of 2^-24 in the low bits of 0.5's mantissa, rounded
  // by the processor; the carry into the exponent makes the smallest normal number. Numbers above
  // that range are replaced first, lest the addition raise flags for them.
  const std::uint32_t small = magnitude < 0x38800000u ? magnitude : 0u;
  const std::uint32_t subnormal = bits_of(float_of(small) + 0.5f) - 0x3f000000u;
  const std::uint32_t rebased = magnitude - ((127u - 15u) << 23);
  const std::uint32_t normal = (rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13;
  const std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  const std::uint32_t special = magnitude > 0x7f800000u ? nan : 0x7c00u;
  return static_cast<std::uint16_t>(sign | (magnitude < 0x38800000u   ? subnormal
                                            : magnitude < 0x47800000u ? normal
                                                                      : special));
}

FASTCONV_INLINE float bfloat16_to_float32(std::uint16_t b) {
  return float_of(static_cast<std::uint32_t>(b) << 16);
}

FASTCONV_INLINE std::uint16_t float32_to_bfloat16(float x) {
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
template <class Convert>
FASTCONV_INLINE void widen_halves(Convert convert, const std::uint16_t* from, float* to,
                                  std::int64_t n) {
  for_each_sixteen(n, [&](__mmask16 mask, std::int64_t i) {
    _mm512_mask_storeu_ps(to + i, mask, convert(_mm256_maskz_loadu_epi16(mask, from + i)));
  });
}

template <class Convert>
FASTCONV_INLINE void narrow_floats(Convert convert, const float* from, std::uint16_t* to,
                                   std::int64_t n) {
  for_each_sixteen(n, [&](__mmask16 mask, std::int64_t i) {
    _mm256_mask_storeu_epi16(to + i, mask, convert(_mm512_maskz_loadu_ps(mask, from + i)));
  });
}

inline void float16_to_float32(const std::uint16_t* from, float* to, std::int64_t n) {
  widen_halves([](__m256i h) { return _mm512_cvtph_ps(h); }, from, to, n);
}

inline void float32_to_float16(const float* from, std::uint16_t* to, std::int64_t n) {
  narrow_floats([](__m512 x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT); }, from, to,
                n);
}

inline void bfloat16_to_float32(const std::uint16_t* from, float* to, std::int64_t n) {
  widen_halves(
      [](__m256i b) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
      },
      from, to, n);
}

inline void float32_to_bfloat16(const float* from, std::uint16_t* to, std::int64_t n) {
  narrow_floats(
      [](__m512 x) {
        const __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
        const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
        const __mmask16 nan = _mm512_cmpgt_epu32_mask(
            _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)), _mm512_set1_epi32(0x7f800000));
        return _mm512_cvtepi32_epi16(
            _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40)));
      },
      from, to, n);
}
#else
inline void float16_to_float32(const std::uint16_t* from, float* to, std::int64_t n) {
  std::int64_t i = 0;
#if defined(FASTCONV_HALF_X86)
  for (const std::int64_t whole = n - n % 8; i < whole; i += 8) {
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(h));
  }
#elif defined(FASTCONV_HALF_NEON)
  for (const std::int64_t whole = n - n % 4; i < whole; i += 4) {
    vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
  }
#endif
  for (; i < n; ++i) to[i] = float16_to_float32(from[i]);
}

inline void float32_to_float16(const float* from, std::uint16_t* to, std::int64_t n) {
  std::int64_t i = 0;
#if defined(FASTCONV_HALF_X86)
  for (const std::int64_t whole = n - n % 8; i < whole; i += 8) {
    const __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), h);
  }
#elif defined(FASTCONV_HALF_NEON)
  for (const std::int64_t whole = n - n % 4; i < whole; i += 4) {
    vst1_u16(to + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from + i))));
  }
#endif
  for (; i < n; ++i) to[i] = float32_to_float16(from[i]);
}

inline void bfloat16_to_float32(const std::uint16_t* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = bfloat16_to_float32(from[i]);
}

inline void float32_to_bfloat16(const float* from, std::uint16_t* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = float32_to_bfloat16(from[i]);
}
#endif

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE

#undef FASTCONV_HALF_X86
#undef FASTCONV_HALF_NEON
