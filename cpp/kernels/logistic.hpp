// Sigmoid, tanh and silu of a vector of floats, all from one exponential of -|x|, which cannot
// overflow:
//
//   exp(-t) = 2^n exp(r)     n = round(-t / ln 2),  r = -t - n ln 2,  |r| <= ln(2) / 2
//   exp(r)  = 1 + r + r^2 q(r)
//
// ln 2 is split in two so that n times its upper part is exact even without FMA (W. J. Cody and
// W. Waite, Software Manual for the Elementary Functions, 1980, chapter 6). q is the polynomial of
// least largest |r (q(r) - (exp(r) - 1 - r) / r^2)| on that interval, found by Remez' exchange.
// What is carried on is exp(r) - 1, so that tanh of small numbers cancels nothing.
//
// Lanes do not see each other: a result depends on its own argument alone. NaN stays NaN. Errors in
// units in the last place, subnormal results included: sigmoid 2.3, tanh 2.5, silu 3.0.
#pragma once

#include "core/no_fraction.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class T>
struct ExponentialConstants;

template <>
struct ExponentialConstants<float> {
  static constexpr float kLog2Upper = 0x1.63p-1f, kLog2Lower = -0x1.bd0106p-13f;
  static constexpr float kBias = 127;
  // Powers of two are made 2^60 times as large as they are, lest the smallest be subnormal.
  static constexpr float kRaised = 60, kLower = 0x1p-60f;
  // Below, exp(x) and x exp(x) round to zero; and exp(x) beside one does.
  static constexpr float kVanishes = -112, kNegligible = -20;
  static constexpr float kPolynomial[] = {0.5f, 0x1.5554b0p-3f, 0x1.555486p-5f, 0x1.1227fep-7f,
                                          0x1.6d990cp-10f};
};

template <>
struct ExponentialConstants<double> {
  static constexpr double kLog2Upper = 0x1.62e42ffp-1, kLog2Lower = -0x1.718432a1b0e26p-35;
  static constexpr double kBias = 1023;
  static constexpr double kRaised = 100, kLower = 0x1p-100;
  static constexpr double kVanishes = -760, kNegligible = -40;
  static constexpr double kPolynomial[] = {
      0x1.0000000000005p-1,  0x1.555555555555cp-3,  0x1.55555555520f4p-5,  0x1.111111110e6c6p-7,
      0x1.6c16c17f37743p-10, 0x1.a01a01b5da462p-13, 0x1.a019a685bf1c0p-16, 0x1.71ddea0518f0bp-19,
      0x1.28a2ab9dbba7fp-22, 0x1.af76a7752dbb2p-26};
};

// exp(x) 2^raised = (1 + rest) power
template <class V>
struct Exponential {
  V rest, power;
};

template <class V>
FASTCONV_INLINE Exponential<V> exponential(V x, typename V::value_type raised) {
  using T = typename V::value_type;
  using C = ExponentialConstants<T>;
  constexpr int kDegree = sizeof C::kPolynomial / sizeof C::kPolynomial[0] - 1;
  const V shift = V::broadcast(kNoFraction<T> + C::kBias + raised);
  const V shifted = V::fma(x, V::broadcast(T(1.4426950408889634)), shift);
  const V n = V::sub(shifted, shift);
  V r = V::fma(n, V::broadcast(-C::kLog2Upper), x);
  r = V::fma(n, V::broadcast(-C::kLog2Lower), r);
  V q = V::broadcast(C::kPolynomial[kDegree]);
  FASTCONV_UNROLL
  for (int i = kDegree - 1; i >= 0; --i) q = V::fma(q, r, V::broadcast(C::kPolynomial[i]));
  return {V::fma(V::mul(r, r), q, r), V::low_bits_as_exponent(shifted)};
}

// sigmoid(x) = exp(min(x, 0)) / (1 + exp(-|x|)), silu(x) = x sigmoid(x). Where the result is below
// the normal range the divisor is one and the only rounding that of the last multiplication.
template <class V, bool Silu>
FASTCONV_INLINE V sigmoid_or_silu(V x) {
  using C = ExponentialConstants<typename V::value_type>;
  const V one = V::broadcast(1), lower = V::broadcast(C::kLower);
  const V least = V::broadcast(C::kVanishes);
  if constexpr (Silu) x = V::at_least(x, least);  // -inf * 0 would be NaN
  const Exponential<V> e = exponential(V::at_least(V::negative_abs(x), least), C::kRaised);
  const V mantissa = V::add(one, e.rest);
  const V small = V::mul(V::mul(mantissa, e.power), lower);
  V top;
  if constexpr (Silu) {
    top = V::where_negative(x, V::mul(V::mul(V::mul(mantissa, x), e.power), lower), x);
  } else {
    top = V::where_negative(x, small, one);
  }
  return V::div(top, V::add(one, small));
}

// tanh(|x|) = -m / (2 + m), where m = exp(-2|x|) - 1 = rest 2^n + (2^n - 1).
template <class V>
FASTCONV_INLINE V hyperbolic_tangent(V x) {
  using C = ExponentialConstants<typename V::value_type>;
  const V half = V::at_least(V::negative_abs(x), V::broadcast(C::kNegligible));
  const Exponential<V> e = exponential(V::add(half, half), 0);
  const V m = V::fma(e.rest, e.power, V::sub(e.power, V::broadcast(1)));
  return V::with_sign_of(V::div(m, V::add(V::broadcast(2), m)), x);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
