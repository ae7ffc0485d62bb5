// Multiply-adds of one element, as tiles have them.
#pragma once

#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Vectors of which tiles fill the registers.
template <class V>
inline constexpr bool kFillsRegisters =
    requires(const typename V::value_type* x, V v) { V::add_products(x, v, v, v, v); };

// sum[i] += *x * w[i].
template <class V, int Vecs>
FASTCONV_INLINE void add_products(const typename V::value_type* x, const V (&w)[Vecs],
                                  V (&sum)[Vecs]) {
  if constexpr (kFillsRegisters<V> && Vecs == 2) {
    V sum0 = sum[0], sum1 = sum[1];
    V::add_products(x, w[0], w[1], sum0, sum1);
    sum[0] = sum0;
    sum[1] = sum1;
  } else if constexpr (kFillsRegisters<V> && Vecs == 3) {
    V sum0 = sum[0], sum1 = sum[1], sum2 = sum[2];
    V::add_products(x, w[0], w[1], w[2], sum0, sum1, sum2);
    sum[0] = sum0;
    sum[1] = sum1;
    sum[2] = sum2;
  } else {
    const V all = V::load_broadcast(x);
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i] = V::fma(all, w[i], sum[i]);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
