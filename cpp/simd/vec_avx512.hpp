// vec_avx512.hpp: 64-byte vectors for x86-64 with AVX-512 F, DQ, BW and VL.
// Compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl.
#pragma once

// GCC 12's AVX-512 intrinsics warn about their own deliberately undefined operands (GCC 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#include "simd/inline.hpp"

// GCC 12 copies accumulators between registers (and spills them) around the FMA intrinsic when a
// tile has many, and would add the products of two integer terms to each other first; a read-write
// operand of an assembly statement pins each to its register.
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
#define FASTCONV_FMA_BY_ASSEMBLY 1
#endif

namespace fastconv::avx512 {

// The first n lanes (n <= 16).
FASTCONV_INLINE __mmask16 first_lanes_16(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
FASTCONV_INLINE __mmask8 first_lanes_8(int n) { return static_cast<__mmask8>((1u << n) - 1u); }

// Transposes a 4 x 4 block inside each 128-bit quarter of four rows.
FASTCONV_INLINE void transpose_blocks(__m512& a, __m512& b, __m512& c, __m512& d) {
  const __m512 ab_low = _mm512_unpacklo_ps(a, b), ab_high = _mm512_unpackhi_ps(a, b);
  const __m512 cd_low = _mm512_unpacklo_ps(c, d), cd_high = _mm512_unpackhi_ps(c, d);
  a = _mm512_shuffle_ps(ab_low, cd_low, 0x44);
  b = _mm512_shuffle_ps(ab_low, cd_low, 0xEE);
  c = _mm512_shuffle_ps(ab_high, cd_high, 0x44);
  d = _mm512_shuffle_ps(ab_high, cd_high, 0xEE);
}

// Transposes a 2 x 2 block inside each 128-bit quarter of two rows.
FASTCONV_INLINE void transpose_blocks(__m512d& a, __m512d& b) {
  const __m512d low = _mm512_unpacklo_pd(a, b);
  b = _mm512_unpackhi_pd(a, b);
  a = low;
}

// Transposes four rows of four 128-bit quarters, each quarter moved whole.
FASTCONV_INLINE void transpose_quarters(__m512& a, __m512& b, __m512& c, __m512& d) {
  const __m512 ab_low = _mm512_shuffle_f32x4(a, b, 0x44),
               ab_high = _mm512_shuffle_f32x4(a, b, 0xEE);
  const __m512 cd_low = _mm512_shuffle_f32x4(c, d, 0x44),
               cd_high = _mm512_shuffle_f32x4(c, d, 0xEE);
  a = _mm512_shuffle_f32x4(ab_low, cd_low, 0x88);
  b = _mm512_shuffle_f32x4(ab_low, cd_low, 0xDD);
  c = _mm512_shuffle_f32x4(ab_high, cd_high, 0x88);
  d = _mm512_shuffle_f32x4(ab_high, cd_high, 0xDD);
}
FASTCONV_INLINE void transpose_quarters(__m512d& a, __m512d& b, __m512d& c, __m512d& d) {
  const __m512d ab_low = _mm512_shuffle_f64x2(a, b, 0x44);
  const __m512d ab_high = _mm512_shuffle_f64x2(a, b, 0xEE);
  const __m512d cd_low = _mm512_shuffle_f64x2(c, d, 0x44);
  const __m512d cd_high = _mm512_shuffle_f64x2(c, d, 0xEE);
  a = _mm512_shuffle_f64x2(ab_low, cd_low, 0x88);
  b = _mm512_shuffle_f64x2(ab_low, cd_low, 0xDD);
  c = _mm512_shuffle_f64x2(ab_high, cd_high, 0x88);
  d = _mm512_shuffle_f64x2(ab_high, cd_high, 0xDD);
}

#if defined(__AVX512F__)  // not in the emulation
// Half a vector, for rows that fill no more: processors add twice as many of them in a cycle, or as
// many in half the time.
struct F32Narrow {
  using value_type = float;
  using Mask = __mmask8;
  static constexpr bool quick_masked_stores = true;
  static constexpr int lanes = 8;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  __m256 v;

  static FASTCONV_INLINE F32Narrow zero() { return {_mm256_setzero_ps()}; }
  static FASTCONV_INLINE F32Narrow broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static FASTCONV_INLINE F32Narrow load_broadcast(const float* p) { return broadcast(*p); }
  static FASTCONV_INLINE F32Narrow load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static FASTCONV_INLINE Mask lanes_between(int low, int high) {
    return static_cast<Mask>(first_lanes_8(high) & ~first_lanes_8(low));
  }
  static FASTCONV_INLINE F32Narrow load(const float* p, Mask mask, F32Narrow other) {
    return {_mm256_mask_loadu_ps(other.v, mask, p)};
  }
  FASTCONV_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  FASTCONV_INLINE void store(float* p, int n) const {
    _mm256_mask_storeu_ps(p, first_lanes_8(n), v);
  }
  static FASTCONV_INLINE F32Narrow fma(F32Narrow a, F32Narrow b, F32Narrow acc) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
    return acc;
#else
    return {_mm256_fmadd_ps(a.v, b.v, acc.v)};
#endif
  }
  static FASTCONV_INLINE F32Narrow add(F32Narrow a, F32Narrow b) {
    return {_mm256_add_ps(a.v, b.v)};
  }
  // As those of F32.
  static FASTCONV_INLINE F32Narrow at_least(F32Narrow x, F32Narrow low) {
    return {_mm256_max_ps(low.v, x.v)};
  }
  static FASTCONV_INLINE F32Narrow at_most(F32Narrow x, F32Narrow high) {
    return {_mm256_min_ps(high.v, x.v)};
  }
  template <int N>
  static FASTCONV_INLINE F32Narrow shifted(F32Narrow a, F32Narrow b) {
    if constexpr (N == 0) return a;
    if constexpr (N == lanes) return b;
    return {_mm256_castsi256_ps(
        _mm256_alignr_epi32(_mm256_castps_si256(b.v), _mm256_castps_si256(a.v), N % lanes))};
  }
  static FASTCONV_INLINE void unzip(F32Narrow& a, F32Narrow& b) {
    const __m256 low = _mm256_permute2f128_ps(a.v, b.v, 0x20);
    const __m256 high = _mm256_permute2f128_ps(a.v, b.v, 0x31);
    a.v = _mm256_shuffle_ps(low, high, 0x88);
    b.v = _mm256_shuffle_ps(low, high, 0xDD);
  }
};
#endif

struct F32 {
#if defined(__AVX512F__)
  using Narrow = F32Narrow;
#endif
  using value_type = float;
  static constexpr int lanes = 16;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  // What fma needs beside its operands.
  static constexpr int product_registers = 0;
  __m512 v;

  static FASTCONV_INLINE F32 zero() { return {_mm512_setzero_ps()}; }
  static FASTCONV_INLINE F32 broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static FASTCONV_INLINE F32 load_broadcast(const float* p) { return broadcast(*p); }
  static FASTCONV_INLINE F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static FASTCONV_INLINE F32 load(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(first_lanes_16(n), p)};
  }
  FASTCONV_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  FASTCONV_INLINE void store(float* p, int n) const {
    _mm512_mask_storeu_ps(p, first_lanes_16(n), v);
  }
  static FASTCONV_INLINE F32 fma(F32 a, F32 b, F32 acc) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
    return acc;
#else
    return {_mm512_fmadd_ps(a.v, b.v, acc.v)};
#endif
  }
  static FASTCONV_INLINE F32 add(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 sub(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
  static FASTCONV_INLINE F32 mul(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  // The instruction returns b when either operand is NaN, so only a NaN in a needs the blend.
  static FASTCONV_INLINE F32 max(F32 a, F32 b) {
    const auto nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    return {_mm512_mask_mov_ps(_mm512_max_ps(a.v, b.v), nan, a.v)};
  }
  static FASTCONV_INLINE F32 min(F32 a, F32 b) {
    const auto nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    return {_mm512_mask_mov_ps(_mm512_min_ps(a.v, b.v), nan, a.v)};
  }
  static FASTCONV_INLINE F32 div(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 negative_abs(F32 a) {
    return {_mm512_or_ps(a.v, _mm512_set1_ps(-0.0f))};
  }
  // The magnitude of a.
  static FASTCONV_INLINE F32 with_sign_of(F32 a, F32 sign) {
    const auto bit = _mm512_set1_ps(-0.0f);
    return {_mm512_or_ps(_mm512_andnot_ps(bit, a.v), _mm512_and_ps(bit, sign.v))};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F32 where_negative(F32 x, F32 a, F32 b) {
    return {_mm512_mask_mov_ps(b.v, _mm512_movepi32_mask(_mm512_castps_si512(x.v)), a.v)};
  }
  // x clipped; a NaN stays, since the instruction returns its second operand then.
  static FASTCONV_INLINE F32 at_least(F32 x, F32 low) { return {_mm512_max_ps(low.v, x.v)}; }
  static FASTCONV_INLINE F32 at_most(F32 x, F32 high) { return {_mm512_min_ps(high.v, x.v)}; }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F32 low_bits_as_exponent(F32 x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 23))};
  }
  using Mask = __mmask16;
  static constexpr bool quick_masked_stores = true;
  static FASTCONV_INLINE Mask lanes_between(int low, int high) {
    return static_cast<Mask>(first_lanes_16(high) & ~first_lanes_16(low));
  }
  // Memory behind lanes that the mask leaves out is not touched.
  static FASTCONV_INLINE F32 load(const float* p, Mask mask, F32 other) {
    return {_mm512_mask_loadu_ps(other.v, mask, p)};
  }
  // Elements N, N + 1, ... of a followed by b.
  template <int N>
  static FASTCONV_INLINE F32 shifted(F32 a, F32 b) {
    if constexpr (N == 0) return a;
    if constexpr (N == lanes) return b;
    return {_mm512_castsi512_ps(
        _mm512_alignr_epi32(_mm512_castps_si512(b.v), _mm512_castps_si512(a.v), N % lanes))};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(F32& a, F32& b) {
    const __m512 first = _mm512_shuffle_f32x4(a.v, b.v, 0x88);
    const __m512 second = _mm512_shuffle_f32x4(a.v, b.v, 0xDD);
    a.v = _mm512_shuffle_ps(first, second, 0x88);
    b.v = _mm512_shuffle_ps(first, second, 0xDD);
  }
  // Lane i is lane lane[i] of a; 0 where there is none of that number.
  static FASTCONV_INLINE F32 routed(F32 a, const std::int32_t* lane) {
    return routed(a, zero(), lane);
  }
  // Of a followed by b.
  static FASTCONV_INLINE F32 routed(F32 a, F32 b, const std::int32_t* lane) {
    return {_mm512_permutex2var_ps(a.v, _mm512_loadu_si512(lane), b.v)};
  }
  // Four elements each from several places, `offset` from where they say.
  static constexpr int quads = 4;
  static FASTCONV_INLINE F32 load_quads(const float* const (&from)[quads], std::int64_t offset) {
    const auto half = [&](int i) FASTCONV_INLINE_LAMBDA {
      const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(from[i] + offset));
      return _mm256_insertf128_ps(low, _mm_loadu_ps(from[i + 1] + offset), 1);
    };
    return {_mm512_insertf32x8(_mm512_castps256_ps512(half(0)), half(2), 1)};
  }
  FASTCONV_INLINE void store_quads(float* const (&to)[quads], std::int64_t offset) const {
    _mm_storeu_ps(to[0] + offset, _mm512_castps512_ps128(v));
    _mm_storeu_ps(to[1] + offset, _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(to[2] + offset, _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(to[3] + offset, _mm512_extractf32x4_ps(v, 3));
  }
  static FASTCONV_INLINE void turn_quads(F32 (&r)[4]) {
    transpose_blocks(r[0].v, r[1].v, r[2].v, r[3].v);
  }
  static FASTCONV_INLINE void transpose(F32 (&r)[lanes]) {
    transpose_blocks(r[0].v, r[1].v, r[2].v, r[3].v);
    transpose_blocks(r[4].v, r[5].v, r[6].v, r[7].v);
    transpose_blocks(r[8].v, r[9].v, r[10].v, r[11].v);
    transpose_blocks(r[12].v, r[13].v, r[14].v, r[15].v);
    transpose_quarters(r[0].v, r[4].v, r[8].v, r[12].v);
    transpose_quarters(r[1].v, r[5].v, r[9].v, r[13].v);
    transpose_quarters(r[2].v, r[6].v, r[10].v, r[14].v);
    transpose_quarters(r[3].v, r[7].v, r[11].v, r[15].v);
  }
};

struct F64 {
  using value_type = double;
  static constexpr int lanes = 8;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 0;
  __m512d v;

  static FASTCONV_INLINE F64 zero() { return {_mm512_setzero_pd()}; }
  static FASTCONV_INLINE F64 broadcast(double x) { return {_mm512_set1_pd(x)}; }
  static FASTCONV_INLINE F64 load_broadcast(const double* p) { return broadcast(*p); }
  static FASTCONV_INLINE F64 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static FASTCONV_INLINE F64 load(const double* p, int n) {
    return {_mm512_maskz_loadu_pd(first_lanes_8(n), p)};
  }
  FASTCONV_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  FASTCONV_INLINE void store(double* p, int n) const {
    _mm512_mask_storeu_pd(p, first_lanes_8(n), v);
  }
  static FASTCONV_INLINE F64 fma(F64 a, F64 b, F64 acc) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
    __asm__("vfmadd231pd %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
    return acc;
#else
    return {_mm512_fmadd_pd(a.v, b.v, acc.v)};
#endif
  }
  static FASTCONV_INLINE F64 add(F64 a, F64 b) { return {_mm512_add_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 sub(F64 a, F64 b) { return {_mm512_sub_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 abs(F64 a) { return {_mm512_abs_pd(a.v)}; }
  static FASTCONV_INLINE F64 mul(F64 a, F64 b) { return {_mm512_mul_pd(a.v, b.v)}; }
  // The instruction returns b when either operand is NaN, so only a NaN in a needs the blend.
  static FASTCONV_INLINE F64 max(F64 a, F64 b) {
    const auto nan = _mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q);
    return {_mm512_mask_mov_pd(_mm512_max_pd(a.v, b.v), nan, a.v)};
  }
  static FASTCONV_INLINE F64 min(F64 a, F64 b) {
    const auto nan = _mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q);
    return {_mm512_mask_mov_pd(_mm512_min_pd(a.v, b.v), nan, a.v)};
  }
  static FASTCONV_INLINE F64 div(F64 a, F64 b) { return {_mm512_div_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 negative_abs(F64 a) {
    return {_mm512_or_pd(a.v, _mm512_set1_pd(-0.0))};
  }
  // The magnitude of a.
  static FASTCONV_INLINE F64 with_sign_of(F64 a, F64 sign) {
    const auto bit = _mm512_set1_pd(-0.0);
    return {_mm512_or_pd(_mm512_andnot_pd(bit, a.v), _mm512_and_pd(bit, sign.v))};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F64 where_negative(F64 x, F64 a, F64 b) {
    return {_mm512_mask_mov_pd(b.v, _mm512_movepi64_mask(_mm512_castpd_si512(x.v)), a.v)};
  }
  // x clipped; a NaN stays, since the instruction returns its second operand then.
  static FASTCONV_INLINE F64 at_least(F64 x, F64 low) { return {_mm512_max_pd(low.v, x.v)}; }
  static FASTCONV_INLINE F64 at_most(F64 x, F64 high) { return {_mm512_min_pd(high.v, x.v)}; }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F64 low_bits_as_exponent(F64 x) {
    return {_mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(x.v), 52))};
  }
  // From and to as many floats.
  static FASTCONV_INLINE F64 load_floats(const float* p) {
    return {_mm512_cvtps_pd(_mm256_loadu_ps(p))};
  }
  FASTCONV_INLINE void store_floats(float* p) const { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
  using Mask = __mmask8;
  static constexpr bool quick_masked_stores = true;
  static FASTCONV_INLINE Mask lanes_between(int low, int high) {
    return static_cast<Mask>(first_lanes_8(high) & ~first_lanes_8(low));
  }
  static FASTCONV_INLINE F64 load(const double* p, Mask mask, F64 other) {
    return {_mm512_mask_loadu_pd(other.v, mask, p)};
  }
  // Elements N, N + 1, ... of a followed by b.
  template <int N>
  static FASTCONV_INLINE F64 shifted(F64 a, F64 b) {
    if constexpr (N == 0) return a;
    if constexpr (N == lanes) return b;
    return {_mm512_castsi512_pd(
        _mm512_alignr_epi64(_mm512_castpd_si512(b.v), _mm512_castpd_si512(a.v), N % lanes))};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(F64& a, F64& b) {
    const __m512d first = _mm512_shuffle_f64x2(a.v, b.v, 0x88);
    b.v = _mm512_shuffle_f64x2(a.v, b.v, 0xDD);
    a.v = first;
    transpose_blocks(a.v, b.v);
  }
  static FASTCONV_INLINE void transpose(F64 (&r)[lanes]) {
    transpose_blocks(r[0].v, r[1].v);
    transpose_blocks(r[2].v, r[3].v);
    transpose_blocks(r[4].v, r[5].v);
    transpose_blocks(r[6].v, r[7].v);
    transpose_quarters(r[0].v, r[2].v, r[4].v, r[6].v);
    transpose_quarters(r[1].v, r[3].v, r[5].v, r[7].v);
  }
};

struct I32 {
  using value_type = std::int32_t;
  static constexpr int lanes = 16;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 1;
  __m512i v;

  static FASTCONV_INLINE I32 zero() { return {_mm512_setzero_si512()}; }
  static FASTCONV_INLINE I32 broadcast(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
  static FASTCONV_INLINE I32 load_broadcast(const std::int32_t* p) { return broadcast(*p); }
  static FASTCONV_INLINE I32 load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static FASTCONV_INLINE I32 load(const std::int32_t* p, int n) {
    return {_mm512_maskz_loadu_epi32(first_lanes_16(n), p)};
  }
  FASTCONV_INLINE void store(std::int32_t* p) const { _mm512_storeu_si512(p, v); }
  FASTCONV_INLINE void store(std::int32_t* p, int n) const {
    _mm512_mask_storeu_epi32(p, first_lanes_16(n), v);
  }
  static FASTCONV_INLINE I32 fma(I32 a, I32 b, I32 acc) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
    const I32 product = mul(a, b);
    __asm__("vpaddd %1, %0, %0" : "+v"(acc.v) : "v"(product.v));
    return acc;
#else
    return add(mul(a, b), acc);
#endif
  }
  static FASTCONV_INLINE I32 add(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 mul(I32 a, I32 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 max(I32 a, I32 b) { return {_mm512_max_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 min(I32 a, I32 b) { return {_mm512_min_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE void unzip(I32& a, I32& b) {
    F32 even{_mm512_castsi512_ps(a.v)}, odd{_mm512_castsi512_ps(b.v)};
    F32::unzip(even, odd);
    a.v = _mm512_castps_si512(even.v);
    b.v = _mm512_castps_si512(odd.v);
  }
  static FASTCONV_INLINE void transpose(I32 (&r)[lanes]) {
    F32 f[lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) f[i].v = _mm512_castsi512_ps(r[i].v);
    F32::transpose(f);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) r[i].v = _mm512_castps_si512(f[i].v);
  }
};

struct I64 {
  using value_type = std::int64_t;
  static constexpr int lanes = 8;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 1;
  __m512i v;

  static FASTCONV_INLINE I64 zero() { return {_mm512_setzero_si512()}; }
  static FASTCONV_INLINE I64 broadcast(std::int64_t x) { return {_mm512_set1_epi64(x)}; }
  static FASTCONV_INLINE I64 load_broadcast(const std::int64_t* p) { return broadcast(*p); }
  static FASTCONV_INLINE I64 load(const std::int64_t* p) { return {_mm512_loadu_si512(p)}; }
  static FASTCONV_INLINE I64 load(const std::int64_t* p, int n) {
    return {_mm512_maskz_loadu_epi64(first_lanes_8(n), p)};
  }
  FASTCONV_INLINE void store(std::int64_t* p) const { _mm512_storeu_si512(p, v); }
  FASTCONV_INLINE void store(std::int64_t* p, int n) const {
    _mm512_mask_storeu_epi64(p, first_lanes_8(n), v);
  }
  static FASTCONV_INLINE I64 fma(I64 a, I64 b, I64 acc) {
#ifdef FASTCONV_FMA_BY_ASSEMBLY
    const I64 product = mul(a, b);
    __asm__("vpaddq %1, %0, %0" : "+v"(acc.v) : "v"(product.v));
    return acc;
#else
    return add(mul(a, b), acc);
#endif
  }
  static FASTCONV_INLINE I64 add(I64 a, I64 b) { return {_mm512_add_epi64(a.v, b.v)}; }
  static FASTCONV_INLINE I64 mul(I64 a, I64 b) { return {_mm512_mullo_epi64(a.v, b.v)}; }
  static FASTCONV_INLINE I64 max(I64 a, I64 b) { return {_mm512_max_epi64(a.v, b.v)}; }
  static FASTCONV_INLINE I64 min(I64 a, I64 b) { return {_mm512_min_epi64(a.v, b.v)}; }
  static FASTCONV_INLINE void unzip(I64& a, I64& b) {
    F64 even{_mm512_castsi512_pd(a.v)}, odd{_mm512_castsi512_pd(b.v)};
    F64::unzip(even, odd);
    a.v = _mm512_castpd_si512(even.v);
    b.v = _mm512_castpd_si512(odd.v);
  }
  static FASTCONV_INLINE void transpose(I64 (&r)[lanes]) {
    F64 f[lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) f[i].v = _mm512_castsi512_pd(r[i].v);
    F64::transpose(f);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) r[i].v = _mm512_castpd_si512(f[i].v);
  }
};

}  // namespace fastconv::avx512

#undef FASTCONV_FMA_BY_ASSEMBLY
