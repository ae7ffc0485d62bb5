// interleave.hpp: words of two int16 or four bytes of sixteen lanes, and blocks of words turned. In
// plain loops GCC takes the elements one by one: gathering 3 channels of 7 x 7 on AVX2 took three
// times as long as multiplying them by 16 filters.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

FASTCONV_INLINE void interleave(const std::uint16_t* const (&from)[2], std::uint32_t* to) {
#if defined(__AVX2__)
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[0]));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[1]));
  const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
  auto* const at = reinterpret_cast<__m256i*>(to);
  _mm256_storeu_si256(at, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256(at + 1, _mm256_permute2x128_si256(low, high, 0x31));
#else
  for (int l = 0; l < 16; ++l) to[l] = from[0][l] | static_cast<std::uint32_t>(from[1][l]) << 16;
#endif
}

FASTCONV_INLINE void interleave(const std::uint8_t* const (&from)[4], std::uint32_t* to) {
#if defined(__AVX2__)
  const auto load = [&](int i) FASTCONV_INLINE_LAMBDA {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[i]));
  };
  const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
  const __m128i ab_high = _mm_unpackhi_epi8(a, b), cd_high = _mm_unpackhi_epi8(c, d);
  auto* const at = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(at, _mm_unpacklo_epi16(ab, cd));
  _mm_storeu_si128(at + 1, _mm_unpackhi_epi16(ab, cd));
  _mm_storeu_si128(at + 2, _mm_unpacklo_epi16(ab_high, cd_high));
  _mm_storeu_si128(at + 3, _mm_unpackhi_epi16(ab_high, cd_high));
#else
  for (int l = 0; l < 16; ++l)
    to[l] = from[0][l] | static_cast<std::uint32_t>(from[1][l]) << 8 |
            static_cast<std::uint32_t>(from[2][l]) << 16 |
            static_cast<std::uint32_t>(from[3][l]) << 24;
#endif
}

// Elements 0, 2, .. 30 of 31.
FASTCONV_INLINE void pick_every_second(const std::uint8_t* from, std::uint8_t* to) {
#if defined(__AVX2__)
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 15));
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(to),
      _mm_packus_epi16(_mm_and_si128(low, _mm_set1_epi16(0xff)), _mm_srli_epi16(high, 8)));
#else
  for (int l = 0; l < 16; ++l) to[l] = from[2 * l];
#endif
}
FASTCONV_INLINE void pick_every_second(const std::uint16_t* from, std::uint16_t* to) {
#if defined(__AVX2__)
  const auto half = [&](int at) FASTCONV_INLINE_LAMBDA {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * at));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * at + 7));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(to + at),
        _mm_packus_epi32(_mm_and_si128(low, _mm_set1_epi32(0xffff)), _mm_srli_epi32(high, 16)));
  };
  half(0);
  half(8);
#else
  for (int l = 0; l < 16; ++l) to[l] = from[2 * l];
#endif
}

// Four rows of four words to four lanes of them, which lie `pitch` bytes apart.
FASTCONV_INLINE void turn_words(const std::uint32_t (*rows)[16], int lane, char* to,
                                std::int64_t pitch) {
#if defined(__AVX2__)
  const auto load = [&](int i) FASTCONV_INLINE_LAMBDA {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(rows[i] + lane));
  };
  const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
  const __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
  const auto store = [&](int i, __m128i words) FASTCONV_INLINE_LAMBDA {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * pitch), words);
  };
  store(0, _mm_unpacklo_epi64(ab, cd));
  store(1, _mm_unpackhi_epi64(ab, cd));
  store(2, _mm_unpacklo_epi64(ab_high, cd_high));
  store(3, _mm_unpackhi_epi64(ab_high, cd_high));
#else
  for (int l = 0; l < 4; ++l)
    for (int i = 0; i < 4; ++i) __builtin_memcpy(to + l * pitch + i * 4, rows[i] + lane + l, 4);
#endif
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
