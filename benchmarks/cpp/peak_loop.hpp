// peak_loop.hpp: multiply-adds on registers alone, for the instruction set FASTCONV_BENCH_ISA.
// Included by peak.hpp once for each, under that set's target options: no include guard.

namespace fastconv::bench::FASTCONV_BENCH_ISA {

// With a fused multiply-add the accumulator is the addend, as in the kernels. Where multiply and
// add are two instructions it is a factor, or the compiler would take the product out of the loop.
template <class V, bool Fused>
void multiply_add_loop(std::int64_t turns, void* to) {
  using T = typename V::value_type;
  constexpr int kChains = Chains<V>::count;
  V acc[kChains];
  V a = V::broadcast(T(1)), b = V::zero();
  FASTCONV_OPAQUE(a.v);
  FASTCONV_OPAQUE(b.v);
  FASTCONV_UNROLL
  for (int i = 0; i < kChains; ++i) acc[i] = V::broadcast(T(i));
  for (std::int64_t t = 0; t < turns; ++t) {
    FASTCONV_UNROLL
    for (int i = 0; i < kChains; ++i) acc[i] = Fused ? V::fma(a, b, acc[i]) : V::fma(a, acc[i], b);
    FASTCONV_OPAQUE(a.v);
  }
  FASTCONV_UNROLL
  for (int i = 0; i < kChains; ++i) b = V::add(b, acc[i]);
  b.store(static_cast<T*>(to));
}

template <class T>
Peak peak(bool fused_floats) {
  namespace isa = fastconv::FASTCONV_BENCH_ISA;
  if constexpr (std::is_same_v<T, float>)
    return make_peak<isa::F32>(fused_floats ? multiply_add_loop<isa::F32, true>
                                            : multiply_add_loop<isa::F32, false>);
  if constexpr (std::is_same_v<T, double>)
    return make_peak<isa::F64>(fused_floats ? multiply_add_loop<isa::F64, true>
                                            : multiply_add_loop<isa::F64, false>);
  if constexpr (std::is_same_v<T, std::int32_t>)
    return make_peak<isa::I32>(multiply_add_loop<isa::I32, false>);
  if constexpr (std::is_same_v<T, std::int64_t>)
    return make_peak<isa::I64>(multiply_add_loop<isa::I64, false>);
}

}  // namespace fastconv::bench::FASTCONV_BENCH_ISA
