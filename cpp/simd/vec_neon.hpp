// vec_neon.hpp: 16-byte vectors for aarch64, whose baseline includes them.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "simd/inline.hpp"

namespace fastconv::neon {

// Interleaves pairs of rows, then pairs of pairs: a 4 x 4 transpose.
FASTCONV_INLINE void transpose_4x4(float32x4_t& a, float32x4_t& b, float32x4_t& c, float32x4_t& d) {
  const float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
  const float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
  const float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
  const float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
  a = vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even));
  b = vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd));
  c = vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even));
  d = vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd));
}

struct F32 {
  using value_type = float;
  static constexpr int lanes = 4;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  // What fma needs beside its operands.
  static constexpr int product_registers = 0;
  float32x4_t v;

  static FASTCONV_INLINE F32 zero() { return {vdupq_n_f32(0)}; }
  static FASTCONV_INLINE F32 broadcast(float x) { return {vdupq_n_f32(x)}; }
  static FASTCONV_INLINE F32 load_broadcast(const float* p) { return {vld1q_dup_f32(p)}; }
  static FASTCONV_INLINE F32 load(const float* p) { return {vld1q_f32(p)}; }
  static FASTCONV_INLINE F32 load(const float* p, int n) {
    switch (n) {
      case 0:
        return zero();
      case 1:
        return {vld1q_lane_f32(p, zero().v, 0)};
      case 2:
        return {vcombine_f32(vld1_f32(p), vdup_n_f32(0))};
      case 3:
        return {vld1q_lane_f32(p + 2, vcombine_f32(vld1_f32(p), vdup_n_f32(0)), 2)};
      default:
        return load(p);
    }
  }
  FASTCONV_INLINE void store(float* p) const { vst1q_f32(p, v); }
  FASTCONV_INLINE void store(float* p, int n) const {
    if (n >= 4) {
      vst1q_f32(p, v);
      return;
    }
    if (n >= 2) vst1_f32(p, vget_low_f32(v));
    if (n == 1) vst1q_lane_f32(p, v, 0);
    if (n == 3) vst1q_lane_f32(p + 2, v, 2);
  }
  static FASTCONV_INLINE F32 fma(F32 a, F32 b, F32 acc) { return {vfmaq_f32(acc.v, a.v, b.v)}; }
  static FASTCONV_INLINE F32 add(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
  static FASTCONV_INLINE F32 sub(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
  static FASTCONV_INLINE F32 abs(F32 a) { return {vabsq_f32(a.v)}; }
  static FASTCONV_INLINE F32 mul(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
  // FMAX and FMIN return NaN when either operand is one.
  static FASTCONV_INLINE F32 max(F32 a, F32 b) { return {vmaxq_f32(a.v, b.v)}; }
  static FASTCONV_INLINE F32 min(F32 a, F32 b) { return {vminq_f32(a.v, b.v)}; }
  static FASTCONV_INLINE F32 div(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
  static FASTCONV_INLINE F32 negative_abs(F32 a) { return {vnegq_f32(vabsq_f32(a.v))}; }
  // The magnitude of a.
  static FASTCONV_INLINE F32 with_sign_of(F32 a, F32 sign) {
    return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, a.v)};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F32 where_negative(F32 x, F32 a, F32 b) {
    return {vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(x.v)), a.v, b.v)};
  }
  // x clipped; a NaN stays.
  static FASTCONV_INLINE F32 at_least(F32 x, F32 low) { return max(x, low); }
  static FASTCONV_INLINE F32 at_most(F32 x, F32 high) { return min(x, high); }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F32 low_bits_as_exponent(F32 x) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x.v), 23))};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(F32& a, F32& b) {
    const auto even = vuzp1q_f32(a.v, b.v);
    b.v = vuzp2q_f32(a.v, b.v);
    a.v = even;
  }
  static FASTCONV_INLINE void transpose(F32 (&r)[lanes]) {
    transpose_4x4(r[0].v, r[1].v, r[2].v, r[3].v);
  }
};

struct F64 {
  using value_type = double;
  static constexpr int lanes = 2;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 0;
  float64x2_t v;

  static FASTCONV_INLINE F64 zero() { return {vdupq_n_f64(0)}; }
  static FASTCONV_INLINE F64 broadcast(double x) { return {vdupq_n_f64(x)}; }
  static FASTCONV_INLINE F64 load_broadcast(const double* p) { return {vld1q_dup_f64(p)}; }
  static FASTCONV_INLINE F64 load(const double* p) { return {vld1q_f64(p)}; }
  static FASTCONV_INLINE F64 load(const double* p, int n) {
    if (n >= 2) return load(p);
    return n == 1 ? F64{vld1q_lane_f64(p, zero().v, 0)} : zero();
  }
  FASTCONV_INLINE void store(double* p) const { vst1q_f64(p, v); }
  FASTCONV_INLINE void store(double* p, int n) const {
    if (n >= 2) {
      vst1q_f64(p, v);
    } else if (n == 1) {
      vst1q_lane_f64(p, v, 0);
    }
  }
  static FASTCONV_INLINE F64 fma(F64 a, F64 b, F64 acc) { return {vfmaq_f64(acc.v, a.v, b.v)}; }
  static FASTCONV_INLINE F64 add(F64 a, F64 b) { return {vaddq_f64(a.v, b.v)}; }
  static FASTCONV_INLINE F64 sub(F64 a, F64 b) { return {vsubq_f64(a.v, b.v)}; }
  static FASTCONV_INLINE F64 abs(F64 a) { return {vabsq_f64(a.v)}; }
  static FASTCONV_INLINE F64 mul(F64 a, F64 b) { return {vmulq_f64(a.v, b.v)}; }
  // FMAX and FMIN return NaN when either operand is one.
  static FASTCONV_INLINE F64 max(F64 a, F64 b) { return {vmaxq_f64(a.v, b.v)}; }
  static FASTCONV_INLINE F64 min(F64 a, F64 b) { return {vminq_f64(a.v, b.v)}; }
  static FASTCONV_INLINE F64 div(F64 a, F64 b) { return {vdivq_f64(a.v, b.v)}; }
  static FASTCONV_INLINE F64 negative_abs(F64 a) { return {vnegq_f64(vabsq_f64(a.v))}; }
  // The magnitude of a.
  static FASTCONV_INLINE F64 with_sign_of(F64 a, F64 sign) {
    return {vbslq_f64(vdupq_n_u64(0x8000000000000000u), sign.v, a.v)};
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE F64 where_negative(F64 x, F64 a, F64 b) {
    return {vbslq_f64(vcltzq_s64(vreinterpretq_s64_f64(x.v)), a.v, b.v)};
  }
  // x clipped; a NaN stays.
  static FASTCONV_INLINE F64 at_least(F64 x, F64 low) { return max(x, low); }
  static FASTCONV_INLINE F64 at_most(F64 x, F64 high) { return min(x, high); }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE F64 low_bits_as_exponent(F64 x) {
    return {vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(x.v), 52))};
  }
  // From and to as many floats.
  static FASTCONV_INLINE F64 load_floats(const float* p) { return {vcvt_f64_f32(vld1_f32(p))}; }
  FASTCONV_INLINE void store_floats(float* p) const { vst1_f32(p, vcvt_f32_f64(v)); }
  static FASTCONV_INLINE void unzip(F64& a, F64& b) {
    const auto even = vuzp1q_f64(a.v, b.v);
    b.v = vuzp2q_f64(a.v, b.v);
    a.v = even;
  }
  static FASTCONV_INLINE void transpose(F64 (&r)[lanes]) {
    const auto even = vtrn1q_f64(r[0].v, r[1].v);
    r[1].v = vtrn2q_f64(r[0].v, r[1].v);
    r[0].v = even;
  }
};

struct I32 {
  using value_type = std::int32_t;
  static constexpr int lanes = 4;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 0;
  int32x4_t v;

  static FASTCONV_INLINE I32 zero() { return {vdupq_n_s32(0)}; }
  static FASTCONV_INLINE I32 broadcast(std::int32_t x) { return {vdupq_n_s32(x)}; }
  static FASTCONV_INLINE I32 load_broadcast(const std::int32_t* p) { return {vld1q_dup_s32(p)}; }
  static FASTCONV_INLINE I32 load(const std::int32_t* p) { return {vld1q_s32(p)}; }
  static FASTCONV_INLINE I32 load(const std::int32_t* p, int n) {
    switch (n) {
      case 0:
        return zero();
      case 1:
        return {vld1q_lane_s32(p, zero().v, 0)};
      case 2:
        return {vcombine_s32(vld1_s32(p), vdup_n_s32(0))};
      case 3:
        return {vld1q_lane_s32(p + 2, vcombine_s32(vld1_s32(p), vdup_n_s32(0)), 2)};
      default:
        return load(p);
    }
  }
  FASTCONV_INLINE void store(std::int32_t* p) const { vst1q_s32(p, v); }
  FASTCONV_INLINE void store(std::int32_t* p, int n) const {
    if (n >= 4) {
      vst1q_s32(p, v);
      return;
    }
    if (n >= 2) vst1_s32(p, vget_low_s32(v));
    if (n == 1) vst1q_lane_s32(p, v, 0);
    if (n == 3) vst1q_lane_s32(p + 2, v, 2);
  }
  static FASTCONV_INLINE I32 fma(I32 a, I32 b, I32 acc) { return {vmlaq_s32(acc.v, a.v, b.v)}; }
  static FASTCONV_INLINE I32 add(I32 a, I32 b) { return {vaddq_s32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 mul(I32 a, I32 b) { return {vmulq_s32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 max(I32 a, I32 b) { return {vmaxq_s32(a.v, b.v)}; }
  static FASTCONV_INLINE I32 min(I32 a, I32 b) { return {vminq_s32(a.v, b.v)}; }
  static FASTCONV_INLINE void unzip(I32& a, I32& b) {
    const auto even = vuzp1q_s32(a.v, b.v);
    b.v = vuzp2q_s32(a.v, b.v);
    a.v = even;
  }
  static FASTCONV_INLINE void transpose(I32 (&r)[lanes]) {
    F32 f[lanes];
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) f[i].v = vreinterpretq_f32_s32(r[i].v);
    F32::transpose(f);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) r[i].v = vreinterpretq_s32_f32(f[i].v);
  }
};

struct I64 {
  using value_type = std::int64_t;
  static constexpr int lanes = 2;
  static constexpr int registers = 32;
  static constexpr bool fused = true;
  static constexpr int product_registers = 1;
  int64x2_t v;

  static FASTCONV_INLINE I64 zero() { return {vdupq_n_s64(0)}; }
  static FASTCONV_INLINE I64 broadcast(std::int64_t x) { return {vdupq_n_s64(x)}; }
  static FASTCONV_INLINE I64 load_broadcast(const std::int64_t* p) { return {vld1q_dup_s64(p)}; }
  static FASTCONV_INLINE I64 load(const std::int64_t* p) { return {vld1q_s64(p)}; }
  static FASTCONV_INLINE I64 load(const std::int64_t* p, int n) {
    if (n >= 2) return load(p);
    return n == 1 ? I64{vld1q_lane_s64(p, zero().v, 0)} : zero();
  }
  FASTCONV_INLINE void store(std::int64_t* p) const { vst1q_s64(p, v); }
  FASTCONV_INLINE void store(std::int64_t* p, int n) const {
    if (n >= 2) {
      vst1q_s64(p, v);
    } else if (n == 1) {
      vst1q_lane_s64(p, v, 0);
    }
  }
  static FASTCONV_INLINE I64 fma(I64 a, I64 b, I64 acc) { return {add(mul(a, b), acc).v}; }
  static FASTCONV_INLINE I64 add(I64 a, I64 b) { return {vaddq_s64(a.v, b.v)}; }
  // There is no 64-bit vector multiply: low*low plus the cross products (a 32-bit multiply of a
  // by b with its halves exchanged, summed in pairs) shifted up.
  static FASTCONV_INLINE I64 mul(I64 a, I64 b) {
    const uint32x4_t crossed =
        vmulq_u32(vreinterpretq_u32_s64(a.v), vrev64q_u32(vreinterpretq_u32_s64(b.v)));
    const uint64x2_t high = vshlq_n_u64(vpaddlq_u32(crossed), 32);
    const uint64x2_t product = vmlal_u32(high, vmovn_u64(vreinterpretq_u64_s64(a.v)),
                                         vmovn_u64(vreinterpretq_u64_s64(b.v)));
    return {vreinterpretq_s64_u64(product)};
  }
  static FASTCONV_INLINE I64 max(I64 a, I64 b) {
    return {vbslq_s64(vcgtq_s64(a.v, b.v), a.v, b.v)};
  }
  static FASTCONV_INLINE I64 min(I64 a, I64 b) {
    return {vbslq_s64(vcgtq_s64(a.v, b.v), b.v, a.v)};
  }
  static FASTCONV_INLINE void unzip(I64& a, I64& b) {
    const auto even = vuzp1q_s64(a.v, b.v);
    b.v = vuzp2q_s64(a.v, b.v);
    a.v = even;
  }
  static FASTCONV_INLINE void transpose(I64 (&r)[lanes]) {
    const auto even = vtrn1q_s64(r[0].v, r[1].v);
    r[1].v = vtrn2q_s64(r[0].v, r[1].v);
    r[0].v = even;
  }
};

}  // namespace fastconv::neon
