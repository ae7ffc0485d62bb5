// vec_scalar.hpp: 16-byte vectors without intrinsics, the fallback of every architecture.
//
// GCC and clang get their generic vector type, which becomes SSE2 or NEON registers where the
// baseline has them and plain scalars elsewhere; other compilers get an array.
#pragma once

#include <cstdint>
#if !defined(__GNUC__) && !defined(__clang__)
#include <cstring>
#endif

#include "simd/inline.hpp"

namespace fastconv::scalar {

#if defined(__GNUC__) || defined(__clang__)
template <class T>
using Lanes __attribute__((vector_size(16))) = T;

FASTCONV_INLINE void copy_vector(void* to, const void* from) { __builtin_memcpy(to, from, 16); }

// wanted[i] ? a[i] : b[i], where a comparison of vectors made wanted.
template <class Mask, class T>
FASTCONV_INLINE T choose(Mask wanted, T a, T b) {
  return wanted ? a : b;
}
#else
template <class T>
struct Lanes {
  static constexpr int count = 16 / static_cast<int>(sizeof(T));
  T e[count];
  T& operator[](int i) { return e[i]; }
  const T& operator[](int i) const { return e[i]; }
  template <class F>
  static Lanes apply(F f) {
    Lanes r;
    for (int i = 0; i < count; ++i) r.e[i] = f(i);
    return r;
  }
  template <class U>
  explicit operator Lanes<U>() const {
    return Lanes<U>::apply([&](int i) { return static_cast<U>(e[i]); });
  }
  // Comparisons give 1 and 0, which | and choose understand.
  Lanes operator+(Lanes b) const {
    return apply([&](int i) { return e[i] + b.e[i]; });
  }
  Lanes operator-(Lanes b) const {
    return apply([&](int i) { return e[i] - b.e[i]; });
  }
  Lanes operator/(Lanes b) const {
    return apply([&](int i) { return e[i] / b.e[i]; });
  }
  Lanes operator*(Lanes b) const {
    return apply([&](int i) { return e[i] * b.e[i]; });
  }
  Lanes operator>(Lanes b) const {
    return apply([&](int i) { return T(e[i] > b.e[i]); });
  }
  Lanes operator<(Lanes b) const {
    return apply([&](int i) { return T(e[i] < b.e[i]); });
  }
  Lanes operator!=(Lanes b) const {
    return apply([&](int i) { return T(e[i] != b.e[i]); });
  }
  Lanes operator|(Lanes b) const {
    if constexpr (T(0.5) != 0) {
      return apply([&](int i) { return T(e[i] != T(0) || b.e[i] != T(0)); });
    } else {
      return apply([&](int i) { return T(e[i] | b.e[i]); });
    }
  }
  Lanes operator&(Lanes b) const {
    return apply([&](int i) { return T(e[i] & b.e[i]); });
  }
  Lanes operator~() const {
    return apply([&](int i) { return T(~e[i]); });
  }
  Lanes operator<<(int n) const {
    return apply([&](int i) { return T(e[i] << n); });
  }
};

FASTCONV_INLINE void copy_vector(void* to, const void* from) { memcpy(to, from, 16); }

template <class Mask, class T>
FASTCONV_INLINE T choose(Mask wanted, T a, T b) {
  return T::apply([&](int i) { return wanted[i] != 0 ? a[i] : b[i]; });
}
#endif

template <int Bytes>
struct Unsigned {
  using type = std::uint32_t;
};
template <>
struct Unsigned<8> {
  using type = std::uint64_t;
};

// T: what the caller sees; Element: what the lanes hold. They differ for integers, whose lanes are
// unsigned because signed overflow is undefined and the results must wrap.
template <class T, class Element>
struct Vec {
  using value_type = T;
  using Signed = Lanes<T>;
  static constexpr int lanes = 16 / static_cast<int>(sizeof(T));
  static constexpr int registers = 16;
  static constexpr bool fused = false;
  // What fma needs beside its operands.
  static constexpr int product_registers = 0;
  Lanes<Element> v;

  static FASTCONV_INLINE Vec zero() { return broadcast(T(0)); }
  static FASTCONV_INLINE Vec broadcast(T x) {
    const Element e = static_cast<Element>(x);
    if constexpr (lanes == 4) {
      return {Lanes<Element>{e, e, e, e}};
    } else {
      return {Lanes<Element>{e, e}};
    }
  }
  static FASTCONV_INLINE Vec load_broadcast(const T* p) { return broadcast(*p); }
  static FASTCONV_INLINE Vec load(const T* p) {
    Vec r;
    copy_vector(&r, p);
    return r;
  }
  static FASTCONV_INLINE Vec load(const T* p, int n) {
    if (n >= lanes) return load(p);
    Vec r = zero();
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) {
      if (i < n) r.v[i] = static_cast<Element>(p[i]);
    }
    return r;
  }
  FASTCONV_INLINE void store(T* p) const { copy_vector(p, this); }
  FASTCONV_INLINE void store(T* p, int n) const {
    if (n >= lanes) return store(p);
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) {
      if (i < n) p[i] = static_cast<T>(v[i]);
    }
  }
  static FASTCONV_INLINE Vec fma(Vec a, Vec b, Vec acc) { return {a.v * b.v + acc.v}; }
  static FASTCONV_INLINE Vec add(Vec a, Vec b) { return {a.v + b.v}; }
  static FASTCONV_INLINE Vec sub(Vec a, Vec b) { return {a.v - b.v}; }
  static FASTCONV_INLINE Vec abs(Vec a) { return max(a, sub(zero(), a)); }
  static FASTCONV_INLINE Vec mul(Vec a, Vec b) { return {a.v * b.v}; }
  // Only a NaN differs from itself; with a NaN in b the comparison is false and b is taken.
  static FASTCONV_INLINE Vec max(Vec a, Vec b) {
    const Signed s = (Signed)a.v, t = (Signed)b.v;
    return {choose((s > t) | (s != s), a.v, b.v)};
  }
  static FASTCONV_INLINE Vec min(Vec a, Vec b) {
    const Signed s = (Signed)a.v, t = (Signed)b.v;
    return {choose((s < t) | (s != s), a.v, b.v)};
  }
  // Elements 0, 2, 4, ... of a followed by b, and elements 1, 3, 5, ...
  static FASTCONV_INLINE void unzip(Vec& a, Vec& b) {
    Vec even = a, odd = b;
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) {
      const int at = 2 * i < lanes ? 2 * i : 2 * i - lanes;
      even.v[i] = 2 * i < lanes ? a.v[at] : b.v[at];
      odd.v[i] = 2 * i < lanes ? a.v[at + 1] : b.v[at + 1];
    }
    a = even;
    b = odd;
  }
  static FASTCONV_INLINE void transpose(Vec (&r)[lanes]) {
    FASTCONV_UNROLL
    for (int i = 0; i < lanes; ++i) {
      FASTCONV_UNROLL
      for (int j = 0; j < i; ++j) {
        const Element t = r[i].v[j];
        r[i].v[j] = r[j].v[i];
        r[j].v[i] = t;
      }
    }
  }

  // The operations from here on are those of floats alone.
  static FASTCONV_INLINE Vec div(Vec a, Vec b) { return {a.v / b.v}; }
  static FASTCONV_INLINE Vec negative_abs(Vec a) { return from_bits(bits(a) | sign_bits()); }
  // The magnitude of a.
  static FASTCONV_INLINE Vec with_sign_of(Vec a, Vec sign) {
    return from_bits((bits(a) & ~sign_bits()) | (bits(sign) & sign_bits()));
  }
  // By the sign bit: a where x is negative (or -0), else b.
  static FASTCONV_INLINE Vec where_negative(Vec x, Vec a, Vec b) {
    const Lanes<Bits> negative = (bits(x) & sign_bits()) != Lanes<Bits>{};
    return {choose(negative, a.v, b.v)};
  }
  // x clipped; a NaN stays, since no comparison with it holds.
  static FASTCONV_INLINE Vec at_least(Vec x, Vec low) { return {choose(x.v < low.v, low.v, x.v)}; }
  static FASTCONV_INLINE Vec at_most(Vec x, Vec high) {
    return {choose(x.v > high.v, high.v, x.v)};
  }
  // The lowest bits moved up to where the exponent is.
  static FASTCONV_INLINE Vec low_bits_as_exponent(Vec x) {
    return from_bits(bits(x) << (sizeof(T) == 4 ? 23 : 52));
  }
  // Of doubles alone: from and to as many floats.
  static FASTCONV_INLINE Vec load_floats(const float* p) {
    return {Lanes<Element>{static_cast<Element>(p[0]), static_cast<Element>(p[1])}};
  }
  FASTCONV_INLINE void store_floats(float* p) const {
    p[0] = static_cast<float>(v[0]);
    p[1] = static_cast<float>(v[1]);
  }

 private:
  using Bits = typename Unsigned<sizeof(T)>::type;
  static FASTCONV_INLINE Lanes<Bits> bits(Vec a) { return __builtin_bit_cast(Lanes<Bits>, a.v); }
  static FASTCONV_INLINE Lanes<Bits> sign_bits() { return bits(broadcast(T(-0.0))); }
  static FASTCONV_INLINE Vec from_bits(Lanes<Bits> b) {
    return {__builtin_bit_cast(Lanes<Element>, b)};
  }
};

using F32 = Vec<float, float>;
using F64 = Vec<double, double>;
using I32 = Vec<std::int32_t, std::uint32_t>;
using I64 = Vec<std::int64_t, std::uint64_t>;

}  // namespace fastconv::scalar
