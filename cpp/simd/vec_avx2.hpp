// vec_avx2.hpp: 32-byte vectors for x86-64 with AVX2 and FMA. Compile with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/inline.hpp"

// GCC would add the products of two integer terms to each other first, and copies accumulators
// until some spill; a read-write operand of an assembly statement pins each to its register.
#if defined(__GNUC__) && !defined(__clang__)
#define FASTCONV_ADD_BY_ASSEMBLY 1
#define FASTCONV_VECTOR_AT(x) *reinterpret_cast<const value_type(*)[lanes]>(x)
// For tiles that fill the registers: what `load` brings from x, one element for all lanes or a
// vector, by two or three operands. Apart, GCC would load some long before their turn, and copy
// sums to make room.
#define FASTCONV_PRODUCTS(name, V, load, from, fma)                                           \
  static FASTCONV_INLINE void name(const value_type* x, V w0, V w1, V& sum0, V& sum1) {       \
    __asm__(load " %2, %%ymm15\n\t" fma " %3, %%ymm15, %0\n\t" fma " %4, %%ymm15, %1"         \
            : "+x"(sum0.v), "+x"(sum1.v)                                                      \
            : "m"(from), "x"(w0.v), "x"(w1.v)                                                 \
            : "xmm15");                                                                       \
  }                                                                                           \
  static FASTCONV_INLINE void name(const value_type* x, V w0, V w1, V w2, V& sum0, V& sum1,   \
                                   V& sum2) {                                                 \
    __asm__(load " %3, %%ymm15\n\t" fma " %4, %%ymm15, %0\n\t" fma " %5, %%ymm15, %1\n\t" fma \
                 " %6, %%ymm15, %2"                                                           \
            : "+x"(sum0.v), "+x"(sum1.v), "+x"(sum2.v)                                        \
            : "m"(from), "x"(w0.v), "x"(w1.v), "x"(w2.v)                                      \
            : "xmm15");                                                                       \
  }
#endif

namespace fastconv::avx2 {

// The first n lanes all ones: what the masked loads and stores expect.
FASTCONV_INLINE __m256i first_lanes_32(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FASTCONV_INLINE __m256i first_lanes_64(int n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

// The first n lanes, up to all. With a mask that would be one instruction, of twenty cycles on Zen.
FASTCONV_INLINE void store_first(float* p, int n, __m256 v) {
  if (n >= 8) return _mm256_storeu_ps(p, v);
  __m128 part = _mm256_castps256_ps128(v);
  if ((n & 4) != 0) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if ((n & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if ((n & 1) != 0) _mm_store_ss(p, part);
}
FASTCONV_INLINE void store_first(double* p, int n, __m256d v) {
  if (n >= 4) return _mm256_storeu_pd(p, v);
  __m128d part = _mm256_castpd256_pd128(v);
  if ((n & 2) != 0) {
    _mm_storeu_pd(p, part);
    part = _mm256_extractf128_pd(v, 1);
    p += 2;
  }
  if ((n & 1) != 0) _mm_store_sd(p, part);
}

// Exchanges the upper half of a with the lower half of b.
FASTCONV_INLINE void swap_halves(__m256& a, __m256& b) {
  const __m256 low = _mm256_permute2f128_ps(a, b, 0x20);
  b = _mm256_permute2f128_ps(a, b, 0x31);
  a = low;
}
FASTCONV_INLINE void swap_halves(__m256d& a, __m256d& b) {
  const __m256d low = _mm256_permute2f128_pd(a, b, 0x20);
  b = _mm256_permute2f128_pd(a, b, 0x31);
  a = low;
}

// Transposes a 4 x 4 block inside each 128-bit half of four rows.
FASTCONV_INLINE void transpose_blocks(__m256& a, __m256& b, __m256& c, __m256& d) {
  const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
  const __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
  a = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
  b = _mm256_shuffle_ps(ab_low, cd_low, 0xEE);
  c = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
  d = _mm256_shuffle_ps(ab_high, cd_high, 0xEE);
}

// Transposes a 2 x 2 block inside each 128-bit half of two rows.
FASTCONV_INLINE void transpose_blocks(__m256d& a, __m256d& b) {
  const __m256d low = _mm256_unpacklo_pd(a, b);
  b = _mm256_unpackhi_pd(a, b);
  a = low;
}

struct F32 {
  using value_type = float;
  static constexpr int lanes = 8;
  static constexpr int registers = 16;
  static constexpr bool fused = true;
  // What fma needs beside its operands.
  static constexpr int product_registers = 0;
  __m256 v;

  static FASTCONV_INLINE F32 zero() { return {_mm256_setzero_ps()}; }
  static FASTCONV_INLINE F32 broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static FASTCONV_INLINE F32 load_broadcast(const float* p) { return {_mm256_broadcast_ss(p)}; }
  static FASTCONV_INLINE F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static FASTCONV_INLINE F32 load(const float* p, int n) {
    return {_mm256_maskload_ps(p, first_lanes_32(n))};
  }
  FASTCONV_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  FASTCONV_INLINE void store(float* p, int n) const { store_first(p, n, v); }
  static FASTCONV_INLINE F32 fma(F32 a, F32 b, F32 acc) {
    return {_mm256_fmadd_ps(a.v, b.v, acc.v)};
  }
#ifdef FASTCONV_ADD_BY_ASSEMBLY
  FASTCONV_PRODUCTS(add_products, F32, "vbroadcastss", *x, "vfmadd231ps")
  FASTCONV_PRODUCTS(add_vector_products, F32, "vmovups", FASTCONV_VECTOR_AT(x), "vfmadd231ps")
#endif
  static FASTCONV_INLINE F32 add(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 sub(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  static FASTCONV_INLINE F32 mul(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  // The instruction returns b when either operand is NaN, so only a NaN in a needs the blend.
  static FASTCONV_INLINE F32 max(F32 a, F32 b) {
    return {_mm256_blendv_ps(_mm256_max_ps(a.v, b.v), a.v, _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q))};
  }
  static FASTCONV_INLINE F32 min(F32 a, F32 b) {
    return {_mm256_blendv_ps(_mm256_min_ps(a.v, b.v), a.v, _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q))};
  }
  static FASTCONV_INLINE F32 div(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
  static FASTCONV_INLINE F32 negative_abs(F32 a) {
    return {_mm256_or_ps(a.v, _mm256_set1_ps(-0.0f))};
  }
  // The magnitude of a.
  static FASTCONV_INLINE F32 with_sign_of(F32 a, F32 sign) {
    const auto bit = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(_mm256_andnot_ps(bit, a.v), _mm256_and_ps(bit, sign.v))};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F32 where_negative(F32 x, F32 a, F32 b) {
    return {_mm256_blendv_ps(b.v, a.v, x.v)};
  }
  // x clipped; a NaN stays, since the instruction returns its second operand then.
  static FASTCONV_INLINE F32 at_least(F32 x, F32 low) { return {_mm256_max_ps(low.v, x.v)}; }
  static FASTCONV_INLINE F32 at_most(F32 x, F32 high) { return {_mm256_min_ps(high.v, x.v)}; }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F32 low_bits_as_exponent(F32 x) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.v), 23))};
  }
  using Mask = __m256i;
  static constexpr bool quick_masked_stores = false;  // `store_first`
  static FASTCONV_INLINE Mask lanes_between(int low, int high) {
    return _mm256_andnot_si256(first_lanes_32(low), first_lanes_32(high));
  }
  // Memory behind lanes that the mask leaves out is not touched.
  static FASTCONV_INLINE F32 load(const float* p, Mask mask, F32 other) {
    return {_mm256_blendv_ps(other.v, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask))};
  }
  // Elements N, N + 1, ... of a followed by b.
  template <int N>
  static FASTCONV_INLINE F32 shifted(F32 a, F32 b) {
    if constexpr (N == 0) return a;
    if constexpr (N == lanes) return b;
    const __m256i middle = _mm256_castps_si256(_mm256_permute2f128_ps(a.v, b.v, 0x21));
    if constexpr (N == 4) return {_mm256_castsi256_ps(middle)};
    if constexpr (N < 4)
      return {
          _mm256_castsi256_ps(_mm256_alignr_epi8(middle, _mm256_castps_si256(a.v), 4 * (N % 4)))};
    return {_mm256_castsi256_ps(_mm256_alignr_epi8(_mm256_castps_si256(b.v), middle, 4 * (N % 4)))};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(F32& a, F32& b) {
    swap_halves(a.v, b.v);
    unzip_halves(a, b);
  }
  // The same with the second and third quarter of each exchanged.
  static FASTCONV_INLINE void unzip_halves(F32& a, F32& b) {
    const __m256 even = _mm256_shuffle_ps(a.v, b.v, 0x88);
    b.v = _mm256_shuffle_ps(a.v, b.v, 0xDD);
    a.v = even;
  }
  // Lane i is lane lane[i] of a; 0 where there is none of that number.
  static FASTCONV_INLINE F32 routed(F32 a, const std::int32_t* lane) {
    const __m256i from = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane));
    const __m256 none = _mm256_castsi256_ps(_mm256_slli_epi32(from, 28));  // by the sign bit
    return {_mm256_blendv_ps(_mm256_permutevar8x32_ps(a.v, from), _mm256_setzero_ps(), none)};
  }
  // Of a followed by b.
  static FASTCONV_INLINE F32 routed(F32 a, F32 b, const std::int32_t* lane) {
    const __m256i from = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane));
    const __m256 of_b = _mm256_castsi256_ps(_mm256_slli_epi32(from, 28));  // by the sign bit
    return {_mm256_blendv_ps(_mm256_permutevar8x32_ps(a.v, from),
                             _mm256_permutevar8x32_ps(b.v, from), of_b)};
  }
  // Four elements each from two places, `offset` from where they say.
  static constexpr int quads = 2;
  static FASTCONV_INLINE F32 load_quads(const float* const (&from)[quads], std::int64_t offset) {
    const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(from[0] + offset));
    return {_mm256_insertf128_ps(low, _mm_loadu_ps(from[1] + offset), 1)};
  }
  FASTCONV_INLINE void store_quads(float* const (&to)[quads], std::int64_t offset) const {
    _mm_storeu_ps(to[0] + offset, _mm256_castps256_ps128(v));
    _mm_storeu_ps(to[1] + offset, _mm256_extractf128_ps(v, 1));
  }
  // Three of each four.
  FASTCONV_INLINE void store_threes(float* const (&to)[quads], std::int64_t offset) const {
    const auto store = [&](float* at, __m128 three) FASTCONV_INLINE_LAMBDA {
      _mm_storel_pi(reinterpret_cast<__m64*>(at), three);
      _mm_store_ss(at + 2, _mm_movehl_ps(three, three));
    };
    store(to[0] + offset, _mm256_castps256_ps128(v));
    store(to[1] + offset, _mm256_extractf128_ps(v, 1));
  }
  static FASTCONV_INLINE void turn_quads(F32 (&r)[4]) {
    transpose_blocks(r[0].v, r[1].v, r[2].v, r[3].v);
  }
  // Of each four elements of a and b: a0 b0 a1 b1, and a2 b2 a3 b3.
  static FASTCONV_INLINE void zip_quads(F32& a, F32& b) {
    const __m256 low = _mm256_unpacklo_ps(a.v, b.v);
    b.v = _mm256_unpackhi_ps(a.v, b.v);
    a.v = low;
  }
  static FASTCONV_INLINE void transpose(F32 (&r)[lanes]) {
    transpose_blocks(r[0].v, r[1].v, r[2].v, r[3].v);
    transpose_blocks(r[4].v, r[5].v, r[6].v, r[7].v);
    swap_halves(r[0].v, r[4].v);
    swap_halves(r[1].v, r[5].v);
    swap_halves(r[2].v, r[6].v);
    swap_halves(r[3].v, r[7].v);
  }
};

struct F64 {
  using value_type = double;
  static constexpr int lanes = 4;
  static constexpr int registers = 16;
  static constexpr bool fused = true;
  static constexpr int product_registers = 0;
  __m256d v;

  static FASTCONV_INLINE F64 zero() { return {_mm256_setzero_pd()}; }
  static FASTCONV_INLINE F64 broadcast(double x) { return {_mm256_set1_pd(x)}; }
  static FASTCONV_INLINE F64 load_broadcast(const double* p) { return {_mm256_broadcast_sd(p)}; }
  static FASTCONV_INLINE F64 load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static FASTCONV_INLINE F64 load(const double* p, int n) {
    return {_mm256_maskload_pd(p, first_lanes_64(n))};
  }
  FASTCONV_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  FASTCONV_INLINE void store(double* p, int n) const { store_first(p, n, v); }
  static FASTCONV_INLINE F64 fma(F64 a, F64 b, F64 acc) {
    return {_mm256_fmadd_pd(a.v, b.v, acc.v)};
  }
#ifdef FASTCONV_ADD_BY_ASSEMBLY
  FASTCONV_PRODUCTS(add_products, F64, "vbroadcastsd", *x, "vfmadd231pd")
  FASTCONV_PRODUCTS(add_vector_products, F64, "vmovupd", FASTCONV_VECTOR_AT(x), "vfmadd231pd")
#endif
  static FASTCONV_INLINE F64 add(F64 a, F64 b) { return {_mm256_add_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 sub(F64 a, F64 b) { return {_mm256_sub_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 abs(F64 a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
  static FASTCONV_INLINE F64 mul(F64 a, F64 b) { return {_mm256_mul_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 max(F64 a, F64 b) {
    return {_mm256_blendv_pd(_mm256_max_pd(a.v, b.v), a.v, _mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q))};
  }
  static FASTCONV_INLINE F64 min(F64 a, F64 b) {
    return {_mm256_blendv_pd(_mm256_min_pd(a.v, b.v), a.v, _mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q))};
  }
  static FASTCONV_INLINE F64 div(F64 a, F64 b) { return {_mm256_div_pd(a.v, b.v)}; }
  static FASTCONV_INLINE F64 negative_abs(F64 a) {
    return {_mm256_or_pd(a.v, _mm256_set1_pd(-0.0))};
  }
  // The magnitude of a.
  static FASTCONV_INLINE F64 with_sign_of(F64 a, F64 sign) {
    const auto bit = _mm256_set1_pd(-0.0);
    return {_mm256_or_pd(_mm256_andnot_pd(bit, a.v), _mm256_and_pd(bit, sign.v))};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F64 where_negative(F64 x, F64 a, F64 b) {
    return {_mm256_blendv_pd(b.v, a.v, x.v)};
  }
  // x clipped; a NaN stays, since the instruction returns its second operand then.
  static FASTCONV_INLINE F64 at_least(F64 x, F64 low) { return {_mm256_max_pd(low.v, x.v)}; }
  static FASTCONV_INLINE F64 at_most(F64 x, F64 high) { return {_mm256_min_pd(high.v, x.v)}; }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F64 low_bits_as_exponent(F64 x) {
    return {_mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(x.v), 52))};
  }
  // From and to as many floats.
  static FASTCONV_INLINE F64 load_floats(const float* p) {
    return {_mm256_cvtps_pd(_mm_loadu_ps(p))};
  }
  FASTCONV_INLINE void store_floats(float* p) const { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
  using Mask = __m256i;
  static constexpr bool quick_masked_stores = false;  // `store_first`
  static FASTCONV_INLINE Mask lanes_between(int low, int high) {
    return _mm256_andnot_si256(first_lanes_64(low), first_lanes_64(high));
  }
  static FASTCONV_INLINE F64 load(const double* p, Mask mask, F64 other) {
    return {_mm256_blendv_pd(other.v, _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask))};
  }
  // Elements N, N + 1, ... of a followed by b.
  template <int N>
  static FASTCONV_INLINE F64 shifted(F64 a, F64 b) {
    if constexpr (N == 0) return a;
    if constexpr (N == lanes) return b;
    const __m256d middle = _mm256_permute2f128_pd(a.v, b.v, 0x21);
    if constexpr (N == 1) return {_mm256_shuffle_pd(a.v, middle, 0x5)};
    if constexpr (N == 2) return {middle};
    return {_mm256_shuffle_pd(middle, b.v, 0x5)};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(F64& a, F64& b) {
    swap_halves(a.v, b.v);
    unzip_halves(a, b);
  }
  // The same with the second and third quarter of each exchanged.
  static FASTCONV_INLINE void unzip_halves(F64& a, F64& b) { transpose_blocks(a.v, b.v); }
  static FASTCONV_INLINE void transpose(F64 (&r)[lanes]) {
    transpose_blocks(r[0].v, r[1].v);
    transpose_blocks(r[2].v, r[3].v);
    swap_halves(r[0].v, r[2].v);
    swap_halves(r[1].v, r[3].v);
  }
};

struct I32 {
  using value_type = std::int32_t;
  static constexpr int lanes = 8;
  static constexpr int registers = 16;
  static constexpr bool fused = true;
  static constexpr int product_registers = 1;
  __m256i v;

  static FASTCONV_INLINE I32 zero() { return {_mm256_setzero_si256()}; }
  static FASTCONV_INLINE I32 broadcast(std::int32_t x) { return {_mm256_set1_epi32(x)}; }
  static FASTCONV_INLINE I32 load_broadcast(const std::int32_t* p) { return broadcast(*p); }
  static FASTCONV_INLINE I32 load(const std::int32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static FASTCONV_INLINE I32 load(const std::int32_t* p, int n) {
    return {_mm256_maskload_epi32(reinterpret_cast<const int*>(p), first_lanes_32(n))};
  }
  FASTCONV_INLINE void store(std::int32_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  FASTCONV_INLINE void store(std::int32_t* p, int n) const {
    store_first(reinterpret_cast<float*>(p), n, _mm256_castsi256_ps(v));
  }
  static FASTCONV_INLINE I32 fma(I32 a, I32 b, I32 acc) {
#ifdef FASTCONV_ADD_BY_ASSEMBLY
    const I32 product = mul(a, b);
    __asm__("vpaddd %1, %0, %0" : "+x"(acc.v) : "x"(product.v));
    return acc;
#else
    return add(mul(a, b), acc);
#endif
  }
  static FASTCONV_INLINE I32 add(I32 a, I32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 mul(I32 a, I32 b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 max(I32 a, I32 b) { return {_mm256_max_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 min(I32 a, I32 b) { return {_mm256_min_epi32(a.v, b.v)}; }
  static FASTCONV_INLINE void unzip(I32& a, I32& b) {
    F32 even{_mm256_castsi256_ps(a.v)}, odd{_mm256_castsi256_ps(b.v)};
    F32::unzip(even, odd);
    a.v = _mm256_castps_si256(even.v);
    b.v = _mm256_castps_si256(odd.v);
  }
  static FASTCONV_INLINE void transpose(I32 (&r)[lanes]) {
    F32 f[lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) f[i].v = _mm256_castsi256_ps(r[i].v);
    F32::transpose(f);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) r[i].v = _mm256_castps_si256(f[i].v);
  }
};

struct I64 {
  using value_type = std::int64_t;
  static constexpr int lanes = 4;
  static constexpr int registers = 16;
  static constexpr bool fused = true;
  static constexpr int product_registers = 1;
  __m256i v;

  static FASTCONV_INLINE I64 zero() { return {_mm256_setzero_si256()}; }
  static FASTCONV_INLINE I64 broadcast(std::int64_t x) { return {_mm256_set1_epi64x(x)}; }
  static FASTCONV_INLINE I64 load_broadcast(const std::int64_t* p) { return broadcast(*p); }
  static FASTCONV_INLINE I64 load(const std::int64_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static FASTCONV_INLINE I64 load(const std::int64_t* p, int n) {
    return {_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), first_lanes_64(n))};
  }
  FASTCONV_INLINE void store(std::int64_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  FASTCONV_INLINE void store(std::int64_t* p, int n) const {
    store_first(reinterpret_cast<double*>(p), n, _mm256_castsi256_pd(v));
  }
  static FASTCONV_INLINE I64 fma(I64 a, I64 b, I64 acc) {
#ifdef FASTCONV_ADD_BY_ASSEMBLY
    const I64 product = mul(a, b);
    __asm__("vpaddq %1, %0, %0" : "+x"(acc.v) : "x"(product.v));
    return acc;
#else
    return add(mul(a, b), acc);
#endif
  }
  static FASTCONV_INLINE I64 add(I64 a, I64 b) { return {_mm256_add_epi64(a.v, b.v)}; }
  // AVX2 multiplies only 32 x 32 bits: low*low plus the two cross products shifted up; the
  // product of the high halves lies above bit 63.
  static FASTCONV_INLINE I64 mul(I64 a, I64 b) {
    const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), b.v),
                                           _mm256_mul_epu32(a.v, _mm256_srli_epi64(b.v, 32)));
    return {_mm256_add_epi64(_mm256_mul_epu32(a.v, b.v), _mm256_slli_epi64(cross, 32))};
  }
  static FASTCONV_INLINE I64 max(I64 a, I64 b) {
    return {_mm256_blendv_epi8(b.v, a.v, _mm256_cmpgt_epi64(a.v, b.v))};
  }
  static FASTCONV_INLINE I64 min(I64 a, I64 b) {
    return {_mm256_blendv_epi8(a.v, b.v, _mm256_cmpgt_epi64(a.v, b.v))};
  }
  static FASTCONV_INLINE void unzip(I64& a, I64& b) {
    F64 even{_mm256_castsi256_pd(a.v)}, odd{_mm256_castsi256_pd(b.v)};
    F64::unzip(even, odd);
    a.v = _mm256_castpd_si256(even.v);
    b.v = _mm256_castpd_si256(odd.v);
  }
  static FASTCONV_INLINE void transpose(I64 (&r)[lanes]) {
    F64 f[lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) f[i].v = _mm256_castsi256_pd(r[i].v);
    F64::transpose(f);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) r[i].v = _mm256_castpd_si256(f[i].v);
  }
};

}  // namespace fastconv::avx2

#undef FASTCONV_ADD_BY_ASSEMBLY
#undef FASTCONV_PRODUCTS
#undef FASTCONV_VECTOR_AT
