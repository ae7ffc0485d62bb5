// immintrin.h: the AVX-512, AMX and AVX-VNNI intrinsics that the kernels use, as plain loops after
// Intel's pseudocode, so that these kernels can be tested where the processor has none of it.
//
// Put this folder before the compiler's own headers when compiling one file, and only that file:
//   c++ -Itests/cpp/avx512_emulation -Wno-psabi -c cpp/kernels/isa_avx512.cpp
#pragma once

#include <cstdint>
#include <initializer_list>

using __m512 = float __attribute__((vector_size(64)));
using __m512d = double __attribute__((vector_size(64)));
using __m512i = long long __attribute__((vector_size(64)));
using __mmask8 = unsigned char;
using __mmask16 = unsigned short;
using __mmask32 = unsigned int;
using __mmask64 = unsigned long long;

#define _CMP_UNORD_Q 0x03

namespace avx512_emulation {

using Words = std::uint32_t __attribute__((vector_size(64)));
using Longs = std::uint64_t __attribute__((vector_size(64)));
using SignedWords = std::int32_t __attribute__((vector_size(64)));
using SignedLongs = std::int64_t __attribute__((vector_size(64)));

template <class V, class T>
inline V all(T x) {
  V r{};
  return r + x;
}
template <class V, class T>
inline V load(const T* p) {
  V r;
  __builtin_memcpy(&r, p, sizeof r);
  return r;
}
template <class V, class T>
inline V load(unsigned mask, const T* p) {
  V r{};
  for (unsigned i = 0; i < sizeof(V) / sizeof(T); ++i) {
    if (mask >> i & 1)
      __builtin_memcpy(reinterpret_cast<char*>(&r) + i * sizeof(T), p + i, sizeof(T));
  }
  return r;
}
template <class V, class T>
inline void store(T* p, unsigned mask, V v) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(T); ++i) {
    if (mask >> i & 1)
      __builtin_memcpy(p + i, reinterpret_cast<char*>(&v) + i * sizeof(T), sizeof(T));
  }
}
template <class V>
inline unsigned unordered(V a, V b) {
  unsigned mask = 0;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i)
    mask |= (a[i] != a[i] || b[i] != b[i] ? 1u : 0u) << i;
  return mask;
}
template <class V>
inline V select(V zeros, unsigned mask, V ones) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(zeros[0]); ++i)
    if (mask >> i & 1) zeros[i] = ones[i];
  return zeros;
}
// Per 128-bit quarter, element i of the result is from(a, b, quarter's first element, i).
template <class V, class From>
inline V quarters(V a, From from) {
  constexpr int kEach = 16 / sizeof(a[0]);
  V r{};
  for (int q = 0; q < 4; ++q)
    for (int i = 0; i < kEach; ++i) r[q * kEach + i] = from(q * kEach, i);
  return r;
}
// Two quarters from a, then two from b, chosen by two bits each.
template <class V>
inline V shuffle_quarters(V a, V b, int control) {
  constexpr int kEach = 16 / sizeof(a[0]);
  V r{};
  for (int q = 0; q < 4; ++q) {
    const int source = control >> (2 * q) & 3;
    for (int i = 0; i < kEach; ++i)
      r[q * kEach + i] = q < 2 ? a[source * kEach + i] : b[source * kEach + i];
  }
  return r;
}

}  // namespace avx512_emulation

namespace emu512 = avx512_emulation;

// clang-format off
inline __m512 _mm512_setzero_ps() { return __m512{}; }
inline __m512d _mm512_setzero_pd() { return __m512d{}; }
inline __m512i _mm512_setzero_si512() { return __m512i{}; }
inline __m512 _mm512_set1_ps(float x) { __m512 r{}; for (int i = 0; i < 16; ++i) r[i] = x; return r; }
inline __m512d _mm512_set1_pd(double x) { __m512d r{}; for (int i = 0; i < 8; ++i) r[i] = x; return r; }
inline __m512i _mm512_set1_epi32(int x) { return (__m512i)emu512::all<emu512::SignedWords>(x); }
inline __m512i _mm512_set1_epi64(long long x) { return emu512::all<__m512i>(x); }

inline __m512 _mm512_loadu_ps(const float* p) { return emu512::load<__m512>(p); }
inline __m512d _mm512_loadu_pd(const double* p) { return emu512::load<__m512d>(p); }
inline __m512i _mm512_loadu_si512(const void* p) { return emu512::load<__m512i>(static_cast<const char*>(p)); }
inline __m512 _mm512_maskz_loadu_ps(__mmask16 m, const float* p) { return emu512::load<__m512>(m, p); }
inline __m512d _mm512_maskz_loadu_pd(__mmask8 m, const double* p) { return emu512::load<__m512d>(m, p); }
inline __m512i _mm512_maskz_loadu_epi32(__mmask16 m, const void* p) { return emu512::load<__m512i>(m, static_cast<const std::int32_t*>(p)); }
inline __m512i _mm512_maskz_loadu_epi64(__mmask8 m, const void* p) { return emu512::load<__m512i>(m, static_cast<const std::int64_t*>(p)); }
inline __m512 _mm512_mask_loadu_ps(__m512 from, __mmask16 m, const float* p) { return emu512::select(from, m, emu512::load<__m512>(m, p)); }
inline __m512d _mm512_mask_loadu_pd(__m512d from, __mmask8 m, const double* p) { return emu512::select(from, m, emu512::load<__m512d>(m, p)); }
inline void _mm512_storeu_ps(float* p, __m512 v) { __builtin_memcpy(p, &v, sizeof v); }
inline void _mm512_storeu_pd(double* p, __m512d v) { __builtin_memcpy(p, &v, sizeof v); }
inline void _mm512_storeu_si512(void* p, __m512i v) { __builtin_memcpy(p, &v, sizeof v); }
inline void _mm512_mask_storeu_ps(float* p, __mmask16 m, __m512 v) { emu512::store(p, m, v); }
inline void _mm512_mask_storeu_pd(double* p, __mmask8 m, __m512d v) { emu512::store(p, m, v); }
inline void _mm512_mask_storeu_epi32(void* p, __mmask16 m, __m512i v) { emu512::store(static_cast<std::int32_t*>(p), m, v); }
inline void _mm512_mask_storeu_epi64(void* p, __mmask8 m, __m512i v) { emu512::store(static_cast<std::int64_t*>(p), m, v); }

inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) { for (int i = 0; i < 16; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]); return c; }
inline __m512d _mm512_fmadd_pd(__m512d a, __m512d b, __m512d c) { for (int i = 0; i < 8; ++i) c[i] = __builtin_fma(a[i], b[i], c[i]); return c; }
inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return a - b; }
inline __m512 _mm512_abs_ps(__m512 a) {
  for (int i = 0; i < 16; ++i) a[i] = __builtin_fabsf(a[i]);
  return a;
}
inline __m512d _mm512_add_pd(__m512d a, __m512d b) { return a + b; }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
inline __m512d _mm512_mul_pd(__m512d a, __m512d b) { return a * b; }
inline __m512d _mm512_sub_pd(__m512d a, __m512d b) { return a - b; }
inline __m512d _mm512_abs_pd(__m512d a) {
  for (int i = 0; i < 8; ++i) a[i] = __builtin_fabs(a[i]);
  return a;
}
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }
inline __m512d _mm512_div_pd(__m512d a, __m512d b) { return a / b; }
inline __m512 _mm512_or_ps(__m512 a, __m512 b) { return (__m512)((__m512i)a | (__m512i)b); }
inline __m512d _mm512_or_pd(__m512d a, __m512d b) { return (__m512d)((__m512i)a | (__m512i)b); }
inline __m512 _mm512_and_ps(__m512 a, __m512 b) { return (__m512)((__m512i)a & (__m512i)b); }
inline __m512d _mm512_and_pd(__m512d a, __m512d b) { return (__m512d)((__m512i)a & (__m512i)b); }
inline __m512 _mm512_andnot_ps(__m512 a, __m512 b) { return (__m512)(~(__m512i)a & (__m512i)b); }
inline __m512d _mm512_andnot_pd(__m512d a, __m512d b) { return (__m512d)(~(__m512i)a & (__m512i)b); }
inline __m512i _mm512_slli_epi32(__m512i a, unsigned n) { return (__m512i)((emu512::Words)a << n); }
inline __m512i _mm512_slli_epi64(__m512i a, unsigned n) { return (__m512i)((emu512::Longs)a << n); }
inline __mmask16 _mm512_movepi32_mask(__m512i a) { const auto s = (emu512::SignedWords)a; unsigned m = 0; for (int i = 0; i < 16; ++i) m |= (s[i] < 0 ? 1u : 0u) << i; return static_cast<__mmask16>(m); }
inline __mmask8 _mm512_movepi64_mask(__m512i a) { unsigned m = 0; for (int i = 0; i < 8; ++i) m |= (a[i] < 0 ? 1u : 0u) << i; return static_cast<__mmask8>(m); }
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) { return (__m512i)((emu512::Words)a + (emu512::Words)b); }
inline __m512i _mm512_add_epi64(__m512i a, __m512i b) { return (__m512i)((emu512::Longs)a + (emu512::Longs)b); }
inline __m512i _mm512_mullo_epi32(__m512i a, __m512i b) { return (__m512i)((emu512::Words)a * (emu512::Words)b); }
inline __m512i _mm512_mullo_epi64(__m512i a, __m512i b) { return (__m512i)((emu512::Longs)a * (emu512::Longs)b); }
// The second operand where either is NaN or both are equal.
inline __m512 _mm512_max_ps(__m512 a, __m512 b) { return a > b ? a : b; }
inline __m512d _mm512_max_pd(__m512d a, __m512d b) { return a > b ? a : b; }
inline __m512 _mm512_min_ps(__m512 a, __m512 b) { return a < b ? a : b; }
inline __m512d _mm512_min_pd(__m512d a, __m512d b) { return a < b ? a : b; }
inline __m512i _mm512_max_epi32(__m512i a, __m512i b) { const auto s = (emu512::SignedWords)a, t = (emu512::SignedWords)b; return (__m512i)(s > t ? s : t); }
inline __m512i _mm512_min_epi32(__m512i a, __m512i b) { const auto s = (emu512::SignedWords)a, t = (emu512::SignedWords)b; return (__m512i)(s < t ? s : t); }
inline __m512i _mm512_max_epi64(__m512i a, __m512i b) { return a > b ? a : b; }
inline __m512i _mm512_min_epi64(__m512i a, __m512i b) { return a < b ? a : b; }
inline __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int) { return static_cast<__mmask16>(emu512::unordered(a, b)); }
inline __mmask8 _mm512_cmp_pd_mask(__m512d a, __m512d b, int) { return static_cast<__mmask8>(emu512::unordered(a, b)); }
inline __m512 _mm512_mask_mov_ps(__m512 from, __mmask16 m, __m512 a) { return emu512::select(from, m, a); }
inline __m512d _mm512_mask_mov_pd(__m512d from, __mmask8 m, __m512d a) { return emu512::select(from, m, a); }

inline __m512 _mm512_unpacklo_ps(__m512 a, __m512 b) { return emu512::quarters(a, [=](int q, int i) { return i % 2 ? b[q + i / 2] : a[q + i / 2]; }); }
inline __m512 _mm512_unpackhi_ps(__m512 a, __m512 b) { return emu512::quarters(a, [=](int q, int i) { return i % 2 ? b[q + 2 + i / 2] : a[q + 2 + i / 2]; }); }
inline __m512d _mm512_unpacklo_pd(__m512d a, __m512d b) { return emu512::quarters(a, [=](int q, int i) { return i ? b[q] : a[q]; }); }
inline __m512d _mm512_unpackhi_pd(__m512d a, __m512d b) { return emu512::quarters(a, [=](int q, int i) { return i ? b[q + 1] : a[q + 1]; }); }
inline __m512 _mm512_shuffle_ps(__m512 a, __m512 b, int c) { return emu512::quarters(a, [=](int q, int i) { return i < 2 ? a[q + (c >> (2 * i) & 3)] : b[q + (c >> (2 * i) & 3)]; }); }
inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int c) { return emu512::shuffle_quarters(a, b, c); }
inline __m512d _mm512_shuffle_f64x2(__m512d a, __m512d b, int c) { return emu512::shuffle_quarters(a, b, c); }
inline __m512i _mm512_alignr_epi32(__m512i a, __m512i b, int n) { emu512::Words r{}; for (int i = 0; i < 16; ++i) r[i] = i + n < 16 ? ((emu512::Words)b)[i + n] : ((emu512::Words)a)[i + n - 16]; return (__m512i)r; }
inline __m512i _mm512_alignr_epi64(__m512i a, __m512i b, int n) { __m512i r{}; for (int i = 0; i < 8; ++i) r[i] = i + n < 8 ? b[i + n] : a[i + n - 8]; return r; }
inline __m512 _mm512_castsi512_ps(__m512i v) { return (__m512)v; }
inline __m512d _mm512_castsi512_pd(__m512i v) { return (__m512d)v; }
inline __m512i _mm512_castps_si512(__m512 v) { return (__m512i)v; }
inline __m512i _mm512_castpd_si512(__m512d v) { return (__m512i)v; }
inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) { return (__m512i)((emu512::Words)a - (emu512::Words)b); }
inline __m512i _mm512_srli_epi32(__m512i a, unsigned n) { return (__m512i)((emu512::Words)a >> n); }
inline __m512i _mm512_sllv_epi32(__m512i a, __m512i n) { return (__m512i)((emu512::Words)a << (emu512::Words)n); }
inline __m512i _mm512_max_epu32(__m512i a, __m512i b) { const auto s = (emu512::Words)a, t = (emu512::Words)b; return (__m512i)(s > t ? s : t); }
inline __m512i _mm512_min_epu32(__m512i a, __m512i b) { const auto s = (emu512::Words)a, t = (emu512::Words)b; return (__m512i)(s < t ? s : t); }
inline __m512i _mm512_mask_blend_epi32(__mmask16 m, __m512i a, __m512i b) { return (__m512i)emu512::select((emu512::Words)a, m, (emu512::Words)b); }
// clang-format on

// Narrowing, and dot products of a lane.
using __m128i = long long __attribute__((vector_size(16)));
using __m256i = long long __attribute__((vector_size(32)));

namespace avx512_emulation {

using HalfWords = std::uint32_t __attribute__((vector_size(32)));

template <class To, class Narrow>
inline To narrowed(__m512i v) {
  const auto words = (Words)v;
  Narrow narrow[16];
  for (int i = 0; i < 16; ++i) narrow[i] = static_cast<Narrow>(words[i]);
  To r;
  __builtin_memcpy(&r, narrow, sizeof r);
  return r;
}

// Elements of a vector, and back.
template <class E, class V>
struct Elements {
  E e[sizeof(V) / sizeof(E)] = {};
  Elements() = default;
  explicit Elements(V v) { __builtin_memcpy(e, &v, sizeof v); }
  E& operator[](int i) { return e[i]; }
  V vector() const {
    V v;
    __builtin_memcpy(&v, e, sizeof v);
    return v;
  }
};

template <class V, class E>
inline V maskz_load(unsigned long long mask, const void* from) {
  Elements<E, V> r;
  for (unsigned i = 0; i < sizeof(V) / sizeof(E); ++i)
    if (mask >> i & 1)
      __builtin_memcpy(&r.e[i], static_cast<const char*>(from) + i * sizeof(E), sizeof(E));
  return r.vector();
}

// acc[i] += a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1], of int16.
template <class V>
inline V add_pairs(V acc, V a, V b) {
  Elements<std::uint32_t, V> sum(acc);
  Elements<std::int16_t, V> x(a), y(b);
  for (unsigned i = 0; i < sizeof(V) / 2; ++i)
    sum.e[i / 2] += static_cast<std::uint32_t>(x.e[i] * y.e[i]);
  return sum.vector();
}

inline std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
// What is denormal counts, and comes out, as zero.
inline float flushed(float x) {
  return (bits(x) & 0x7f800000u) == 0 ? __builtin_bit_cast(float, bits(x) & 0x80000000u) : x;
}
inline float from_bf16(std::uint16_t half) {
  return flushed(__builtin_bit_cast(float, static_cast<std::uint32_t>(half) << 16));
}

}  // namespace avx512_emulation

inline __m256i _mm512_cvtepi32_epi16(__m512i v) {
  return emu512::narrowed<__m256i, std::uint16_t>(v);
}
using __m128 = float __attribute__((vector_size(16)));
inline __m128 _mm512_extractf32x4_ps(__m512 v, int q) { return __m128{v[4 * q], v[4 * q + 1], v[4 * q + 2], v[4 * q + 3]}; }
using __m256 = float __attribute__((vector_size(32)));
inline __m256 _mm256_loadu_ps(const float* p) {
  __m256 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void _mm256_storeu_ps(float* p, __m256 v) { __builtin_memcpy(p, &v, sizeof v); }
inline __m512d _mm512_cvtps_pd(__m256 v) { return __builtin_convertvector(v, __m512d); }
inline __m256 _mm512_cvtpd_ps(__m512d v) { return __builtin_convertvector(v, __m256); }
inline __m128 _mm_loadu_ps(const float* p) {
  __m128 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline __m128 _mm512_castps512_ps128(__m512 v) { return _mm512_extractf32x4_ps(v, 0); }
inline __m256 _mm256_castps128_ps256(__m128 v) { return __m256{v[0], v[1], v[2], v[3]}; }
inline __m256 _mm256_insertf128_ps(__m256 v, __m128 part, int q) { for (int i = 0; i < 4; ++i) v[4 * q + i] = part[i]; return v; }
inline __m512 _mm512_castps256_ps512(__m256 v) { return __m512{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]}; }
inline __m512 _mm512_insertf32x8(__m512 v, __m256 part, int q) { for (int i = 0; i < 8; ++i) v[8 * q + i] = part[i]; return v; }
inline void _mm_storeu_ps(float* p, __m128 v) { __builtin_memcpy(p, &v, sizeof v); }
inline void _mm_storeu_si128(__m128i* p, __m128i v) { __builtin_memcpy(p, &v, sizeof v); }
inline void _mm256_storeu_si256(__m256i* p, __m256i v) { __builtin_memcpy(p, &v, sizeof v); }

inline __m512i _mm512_dpbusd_epi32(__m512i acc, __m512i a, __m512i b) {
  auto sum = (emu512::Words)acc;
  for (int i = 0; i < 64; ++i)
    sum[i / 4] += static_cast<std::uint32_t>(reinterpret_cast<std::uint8_t*>(&a)[i] *
                                             reinterpret_cast<std::int8_t*>(&b)[i]);
  return (__m512i)sum;
}
inline __m256i _mm256_setzero_si256() { return __m256i{}; }
inline __m256i _mm256_set1_epi32(int x) {
  return (__m256i)(emu512::HalfWords{} + static_cast<std::uint32_t>(x));
}
inline __m256i _mm256_loadu_si256(const __m256i* p) {
  __m256i v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline __m256i _mm256_dpbusd_avx_epi32(__m256i acc, __m256i a, __m256i b) {
  auto sum = (emu512::HalfWords)acc;
  for (int i = 0; i < 32; ++i)
    sum[i / 4] += static_cast<std::uint32_t>(reinterpret_cast<std::uint8_t*>(&a)[i] *
                                             reinterpret_cast<std::int8_t*>(&b)[i]);
  return (__m256i)sum;
}
inline __m256i _mm256_dpwssd_avx_epi32(__m256i acc, __m256i a, __m256i b) { return emu512::add_pairs(acc, a, b); }
inline __m512i _mm512_dpwssd_epi32(__m512i acc, __m512i a, __m512i b) { return emu512::add_pairs(acc, a, b); }
inline __m512i _mm512_madd_epi16(__m512i a, __m512i b) { return emu512::add_pairs(__m512i{}, a, b); }

inline __m512i _mm512_xor_si512(__m512i a, __m512i b) { return a ^ b; }
inline __m128i _mm_maskz_loadu_epi8(__mmask16 m, const void* p) { return emu512::maskz_load<__m128i, std::uint8_t>(m, p); }
inline __m256i _mm256_maskz_loadu_epi16(__mmask16 m, const void* p) { return emu512::maskz_load<__m256i, std::uint16_t>(m, p); }
inline __m512i _mm512_maskz_loadu_epi8(__mmask64 m, const void* p) { return emu512::maskz_load<__m512i, std::uint8_t>(m, p); }
inline __m256i _mm256_maskz_loadu_epi8(__mmask32 m, const void* p) { return emu512::maskz_load<__m256i, std::uint8_t>(m, p); }
inline __m512i _mm512_maskz_loadu_epi16(__mmask32 m, const void* p) { return emu512::maskz_load<__m512i, std::uint16_t>(m, p); }
inline __m128i _mm_setzero_si128() { return __m128i{}; }
inline __m128i _mm256_cvtepi16_epi8(__m256i a) {
  __m128i r;
  for (int i = 0; i < 16; ++i)
    reinterpret_cast<std::uint8_t*>(&r)[i] = reinterpret_cast<std::uint8_t*>(&a)[2 * i];
  return r;
}
inline __m512i _mm512_castsi128_si512(__m128i v) { return __m512i{v[0], v[1]}; }
inline __m512i _mm512_inserti32x4(__m512i a, __m128i b, int at) {
  a[2 * at] = b[0];
  a[2 * at + 1] = b[1];
  return a;
}
inline __m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m, int n, int o, int p) {
  return (__m512i)emu512::SignedWords{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
}
inline __m512i _mm512_set4_epi32(int d, int c, int b, int a) { return _mm512_setr_epi32(a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d); }
inline __m512i _mm512_permutexvar_epi32(__m512i index, __m512i a) {
  emu512::Elements<std::uint32_t, __m512i> r, from(a), at(index);
  for (int i = 0; i < 16; ++i) r[i] = from[static_cast<int>(at[i] & 15)];
  return r.vector();
}
inline __m512 _mm512_permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  emu512::Elements<std::uint32_t, __m512i> at(index);
  __m512 r;
  for (int i = 0; i < 16; ++i) r[i] = (at[i] & 16) != 0 ? b[at[i] & 15] : a[at[i] & 15];
  return r;
}
inline __m512i _mm512_shuffle_epi8(__m512i a, __m512i control) {
  emu512::Elements<std::uint8_t, __m512i> r, from(a), at(control);
  for (int i = 0; i < 64; ++i) r[i] = at[i] & 128 ? 0 : from[i / 16 * 16 + (at[i] & 15)];
  return r.vector();
}
namespace avx512_emulation {

inline float from_f16(std::uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const std::uint32_t sign = static_cast<std::uint32_t>(half >> 15) << 31;
  float x = __builtin_ldexpf(static_cast<float>(exponent == 0 ? mantissa : mantissa + 1024),
                             (exponent == 0 ? 1 : exponent) - 25);
  if (exponent == 31) {
    const std::uint32_t bits = 0x7f800000u | static_cast<std::uint32_t>(mantissa) << 13 |
                               (mantissa != 0 ? 0x400000u : 0u);
    __builtin_memcpy(&x, &bits, sizeof x);
  }
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits |= sign;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
// To nearest, ties to even.
inline std::uint16_t to_f16(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  if (x != x) return static_cast<std::uint16_t>(sign | 0x7e00u | (bits >> 13 & 0x1ffu));
  const double magnitude = __builtin_fabs(static_cast<double>(x));
  if (magnitude >= 65520) return static_cast<std::uint16_t>(sign | 0x7c00u);
  const int exponent = magnitude < 0x1p-14 ? -14 : __builtin_ilogb(magnitude);
  const double units = __builtin_nearbyint(__builtin_ldexp(magnitude, 10 - exponent));
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>((exponent + 14) * 1024 +
                                                                      static_cast<int>(units)));
}

}  // namespace avx512_emulation

#define _MM_FROUND_TO_NEAREST_INT 0x00

inline __m256i _mm512_cvtps_ph(__m512 v, int /*nearest*/) {
  emu512::Elements<std::uint16_t, __m256i> to;
  for (int i = 0; i < 16; ++i) to[i] = emu512::to_f16(v[i]);
  return to.vector();
}
inline __m512i _mm512_cvtepu16_epi32(__m256i v) {
  emu512::Elements<std::uint16_t, __m256i> from(v);
  emu512::Elements<std::uint32_t, __m512i> r;
  for (int i = 0; i < 16; ++i) r[i] = from[i];
  return r.vector();
}
inline __m512i _mm512_permutex2var_epi16(__m512i a, __m512i index, __m512i b) {
  emu512::Elements<std::uint16_t, __m512i> r, x(a), y(b), at(index);
  for (int i = 0; i < 32; ++i) r[i] = at[i] & 32 ? y[at[i] & 31] : x[at[i] & 31];
  return r.vector();
}
using __m512bh = __m512i;
inline __m512 _mm512_dpbf16_ps(__m512 acc, __m512bh a, __m512bh b) {
  const auto* const x = reinterpret_cast<std::uint16_t*>(&a);
  const auto* const y = reinterpret_cast<std::uint16_t*>(&b);
  for (int i = 0; i < 16; ++i)
    for (const int j : {2 * i + 1, 2 * i})
      acc[i] = emu512::flushed(__builtin_fmaf(emu512::from_bf16(x[j]), emu512::from_bf16(y[j]),
                                              emu512::flushed(acc[i])));
  return acc;
}

// AMX: eight tiles of a thread and their configuration. What the hardware would refuse aborts.
namespace avx512_emulation {

struct Tiles {
  struct {
    std::uint8_t palette, start_row, reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t rows[16];
  } config;
  char tile[8][16][64];

  void check(int t) const {
    if (config.palette != 1 || config.rows[t] == 0 || config.row_bytes[t] == 0) __builtin_abort();
  }
};
inline thread_local Tiles tiles = {};
static_assert(sizeof tiles.config == 64);

template <class T>
inline T element(int t, int row, int i) {
  T x;
  __builtin_memcpy(&x, tiles.tile[t][row] + i * sizeof(T), sizeof x);
  return x;
}

}  // namespace avx512_emulation

inline void _tile_storeconfig(void* to) { __builtin_memcpy(to, &emu512::tiles.config, 64); }
inline void _tile_loadconfig(const void* from) {
  emu512::tiles = {};
  __builtin_memcpy(&emu512::tiles.config, from, 64);
}
inline void _tile_release() { emu512::tiles = {}; }
inline void _tile_zero(int t) {
  emu512::tiles.check(t);
  __builtin_memset(emu512::tiles.tile[t], 0, sizeof emu512::tiles.tile[t]);
}
inline void _tile_loadd(int t, const void* from, std::int64_t stride) {
  _tile_zero(t);
  for (int r = 0; r < emu512::tiles.config.rows[t]; ++r)
    __builtin_memcpy(emu512::tiles.tile[t][r], static_cast<const char*>(from) + r * stride,
                     emu512::tiles.config.row_bytes[t]);
}
inline void _tile_stored(int t, void* to, std::int64_t stride) {
  emu512::tiles.check(t);
  for (int r = 0; r < emu512::tiles.config.rows[t]; ++r)
    __builtin_memcpy(static_cast<char*>(to) + r * stride, emu512::tiles.tile[t][r],
                     emu512::tiles.config.row_bytes[t]);
}
namespace avx512_emulation {

// Pairs of 16 bits, which `widen` makes floats of.
inline void tile_pairs(int c, int a, int b, float (*widen)(std::uint16_t)) {
  for (const int t : {a, b, c}) tiles.check(t);
  float y[32][16];
  for (int k = 0; k < 32; ++k)
    for (int n = 0; n < 16; ++n) y[k][n] = widen(element<std::uint16_t>(b, k / 2, 2 * n + k % 2));
  for (int m = 0; m < 16; ++m) {
    float sum[2][16] = {};
    for (int k = 0; k < 32; ++k) {
      const float x = widen(element<std::uint16_t>(a, m, k));
      for (int n = 0; n < 16; ++n)
        sum[k % 2][n] = flushed(__builtin_fmaf(x, y[k][n], sum[k % 2][n]));
    }
    for (int n = 0; n < 16; ++n) {
      const float acc = flushed(element<float>(c, m, n)) + flushed(sum[0][n] + sum[1][n]);
      const float rounded = flushed(acc);
      __builtin_memcpy(tiles.tile[c][m] + 4 * n, &rounded, 4);
    }
  }
}

template <class A, class B>
inline void tile_dot_product(int c, int a, int b) {
  for (const int t : {a, b, c}) tiles.check(t);
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      auto sum = element<std::uint32_t>(c, m, n);
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 4; ++i)
          sum +=
              static_cast<std::uint32_t>(element<A>(a, m, 4 * k + i) * element<B>(b, k, 4 * n + i));
      __builtin_memcpy(tiles.tile[c][m] + 4 * n, &sum, 4);
    }
  }
}

}  // namespace avx512_emulation

inline void _tile_dpbf16ps(int c, int a, int b) {
  emu512::tile_pairs(c, a, b, emu512::from_bf16);
}
inline void _tile_dpfp16ps(int c, int a, int b) { emu512::tile_pairs(c, a, b, emu512::from_f16); }
inline void _tile_dpbusd(int c, int a, int b) {
  emu512::tile_dot_product<std::uint8_t, std::int8_t>(c, a, b);
}
inline void _tile_dpbsud(int c, int a, int b) {
  emu512::tile_dot_product<std::int8_t, std::uint8_t>(c, a, b);
}
