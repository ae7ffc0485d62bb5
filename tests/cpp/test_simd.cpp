// test_simd.cpp: every operation of one vector header against plain loops.
//
// Compile once per instruction set with -DFASTCONV_ISA_NAMESPACE=scalar|avx2|avx512|neon, that
// set's flags and -Icpp; without the definition it tests the architecture's baseline.
//
// Usage: test_simd [points at which each curve is checked]
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#ifndef FASTCONV_ISA_NAMESPACE
#if defined(__aarch64__)
#define FASTCONV_ISA_NAMESPACE neon
#else
#define FASTCONV_ISA_NAMESPACE scalar
#endif
#endif
#define FASTCONV_QUOTE(x) #x
// clang-format off
#define FASTCONV_VEC_HEADER(isa) FASTCONV_QUOTE(simd/vec_##isa.hpp)
// clang-format on
#define FASTCONV_EXPAND(isa) FASTCONV_VEC_HEADER(isa)
#include FASTCONV_EXPAND(FASTCONV_ISA_NAMESPACE)
#include "check.hpp"
#include "kernels/logistic.hpp"
#include "simd/half.hpp"

namespace isa = fastconv::FASTCONV_ISA_NAMESPACE;

namespace {

int points = 200000;

// Two pages, of which the second cannot be touched.
class GuardedPage {
 public:
  GuardedPage() : size_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    void* p = mmap(nullptr, 2 * size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    base_ = static_cast<char*>(p);
    if (mprotect(base_ + size_, size_, PROT_NONE) != 0) std::abort();
  }
  ~GuardedPage() { munmap(base_, 2 * size_); }
  // The last n elements before the guard.
  template <class T>
  T* last(int n) {
    return reinterpret_cast<T*>(base_ + size_) - n;
  }

 private:
  std::size_t size_;
  char* base_ = nullptr;
};

// Not a global object, whose constructor would use the instruction set before main can look
// whether the processor has it.
std::uint64_t random_bits() {
  static std::mt19937_64 generator(1);
  return generator();
}

template <class T>
T random_value() {
  if constexpr (std::is_integral_v<T>) {
    switch (random_bits() % 8) {
      case 0:
        return std::numeric_limits<T>::min();
      case 1:
        return std::numeric_limits<T>::max();
      case 2:
        return T(-1);
      default:
        return static_cast<T>(random_bits());
    }
  } else {
    switch (random_bits() % 12) {
      case 0:
        return std::numeric_limits<T>::quiet_NaN();
      case 1:
        return std::numeric_limits<T>::infinity();
      case 2:
        return -std::numeric_limits<T>::infinity();
      default:
        return static_cast<T>(std::ldexp(static_cast<double>(random_bits()) - 0x1p63, -60));
    }
  }
}

// Equal bits, or both NaN.
template <class T>
bool same(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  }
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <class T>
T wrapped(T a, T b, T c) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b) + static_cast<U>(c));
}

template <class T>
bool is_fma(T r, T a, T b, T c) {
  if constexpr (std::is_integral_v<T>) {
    return r == wrapped(a, b, c);
  } else {
    volatile T product = a * b;
    const T twice_rounded = product + c;
    const bool fused_only = isa::F32::registers == 32 || isa::F32::lanes == 8;
    return same(r, std::fma(a, b, c)) || (!fused_only && same(r, twice_rounded));
  }
}

template <class T>
T sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) return wrapped(a, T(1), b);
  return a + b;
}
template <class T>
T product(T a, T b) {
  if constexpr (std::is_integral_v<T>) return wrapped(a, b, T(0));
  return a * b;
}

template <class T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  }
  return a > b ? a : b;
}

template <class V>
void test_memory() {
  using T = typename V::value_type;
  GuardedPage in_page, out_page;
  for (int n = 0; n <= V::lanes; ++n) {
    T* in = in_page.last<T>(n);
    T* out = out_page.last<T>(n);
    for (int i = 0; i < n; ++i) in[i] = random_value<T>();
    out[-1] = T(42);
    const V v = V::load(in, n);
    v.store(out, n);
    CHECK(out[-1] == T(42));
    T all[V::lanes + 1];
    all[V::lanes] = T(7);
    v.store(all);
    CHECK(all[V::lanes] == T(7));
    for (int i = 0; i < V::lanes; ++i) {
      CHECK(same(all[i], i < n ? in[i] : T(0)));
      if (i < n) CHECK(same(out[i], in[i]));
    }
    T partly[V::lanes];
    for (T& x : partly) x = T(9);
    v.store(partly, n);
    for (int i = n; i < V::lanes; ++i) CHECK(partly[i] == T(9));
  }
  V::load(in_page.last<T>(V::lanes)).store(out_page.last<T>(V::lanes));
  for (int i = 0; i < V::lanes; ++i) {
    CHECK(same(in_page.last<T>(V::lanes)[i], out_page.last<T>(V::lanes)[i]));
  }
  *in_page.last<T>(1) = T(5);
  T all[V::lanes], threes[V::lanes], zeros[V::lanes];
  V::load_broadcast(in_page.last<T>(1)).store(all);
  V::broadcast(T(3)).store(threes);
  V::zero().store(zeros);
  for (int i = 0; i < V::lanes; ++i) {
    CHECK(all[i] == T(5));
    CHECK(threes[i] == T(3));
    CHECK(same(zeros[i], T(0)));
  }
}

template <class V>
void test_arithmetic() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  T a[n], b[n], c[n], r[n];
  for (int round = 0; round < 3000; ++round) {
    for (int i = 0; i < n; ++i) {
      a[i] = random_value<T>();
      b[i] = random_value<T>();
      c[i] = random_value<T>();
    }
    const V va = V::load(a), vb = V::load(b), vc = V::load(c);
    V::fma(va, vb, vc).store(r);
    for (int i = 0; i < n; ++i) CHECK(is_fma(r[i], a[i], b[i], c[i]));
    V::add(va, vb).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], sum(a[i], b[i])));
    V::mul(va, vb).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], product(a[i], b[i])));
    if constexpr (std::is_floating_point_v<T>) {
      V::sub(va, vb).store(r);
      for (int i = 0; i < n; ++i) CHECK(same(r[i], a[i] - b[i]));
      V::abs(va).store(r);
      for (int i = 0; i < n; ++i) CHECK(same(r[i], std::fabs(a[i])));
    }
    V::max(va, vb).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], larger(a[i], b[i])));
    V::min(va, vb).store(r);
    for (int i = 0; i < n; ++i) {
      const T larger_of_negated = larger(b[i], a[i]);
      const bool nan = larger_of_negated != larger_of_negated;
      CHECK(nan ? r[i] != r[i] : same(r[i], a[i] < b[i] ? a[i] : b[i]));
    }
  }
}

// The operations that only floats have.
template <class V>
void test_float_arithmetic() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  T a[n], b[n], c[n], r[n];
  for (int round = 0; round < 3000; ++round) {
    for (int i = 0; i < n; ++i) {
      a[i] = round % 7 == 0 ? (i % 2 == 0 ? T(0) : -T(0)) : random_value<T>();
      b[i] = random_value<T>();
      c[i] = random_value<T>();
    }
    const V va = V::load(a), vb = V::load(b), vc = V::load(c);
    V::div(va, vb).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], a[i] / b[i]));
    if constexpr (sizeof(T) == sizeof(double)) {
      float single[n];
      va.store_floats(single);
      V::load_floats(single).store(r);
      for (int i = 0; i < n; ++i) {
        CHECK(same(single[i], static_cast<float>(a[i])));
        CHECK(same(r[i], static_cast<double>(single[i])));
      }
    }
    V::negative_abs(va).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], -std::fabs(a[i])));
    V::with_sign_of(vb, va).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], std::copysign(b[i], a[i])));
    V::at_least(va, V::broadcast(T(-1))).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], a[i] < T(-1) ? T(-1) : a[i]));
    V::at_most(va, V::broadcast(T(2))).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], a[i] > T(2) ? T(2) : a[i]));
    V::where_negative(va, vb, vc).store(r);
    for (int i = 0; i < n; ++i) CHECK(same(r[i], std::signbit(a[i]) ? b[i] : c[i]));
  }
  constexpr int kBias = std::numeric_limits<T>::max_exponent - 1;
  for (int e = 1 - kBias; e <= kBias; ++e) {
    const T low = std::ldexp(T(1.5), std::numeric_limits<T>::digits - 1) + T(e + kBias);
    V::low_bits_as_exponent(V::broadcast(low)).store(r);
    CHECK(same(r[0], std::ldexp(T(1), e)) && same(r[n - 1], r[0]));
  }
}

// The distance in units in the last place of the truth, which is known to many more digits.
template <class T>
double ulps(T got, long double truth) {
  if (std::isnan(got) || std::isinf(got)) return same(got, T(truth)) ? 0 : 1e300;
  int exponent;
  std::frexp(truth, &exponent);
  const int lowest = std::numeric_limits<T>::min_exponent;
  const int digits = std::numeric_limits<T>::digits;
  return static_cast<double>(
      std::fabs(got - truth) /
      std::ldexp(1.0L, (truth == 0 || exponent < lowest ? lowest : exponent) - digits));
}

template <class V, class Function>
void largest_errors(Function function, double (&worst)[3]) {
  using T = typename V::value_type;
  T x[V::lanes], r[V::lanes];
  const auto look = [&](int which, V result, long double (*truth)(long double)) {
    result.store(r);
    for (int i = 0; i < V::lanes; ++i) {
      const double error = ulps(r[i], truth(static_cast<long double>(x[i])));
      if (error > worst[which]) worst[which] = error;
    }
  };
  for (int step = 0; step < points / V::lanes; ++step) {
    for (int i = 0; i < V::lanes; ++i) x[i] = function(step * V::lanes + i);
    look(0, isa::sigmoid_or_silu<V, false>(V::load(x)),
         [](long double v) { return v < 0 ? expl(v) / (1 + expl(v)) : 1 / (1 + expl(-v)); });
    look(1, isa::sigmoid_or_silu<V, true>(V::load(x)),
         [](long double v) { return v < 0 ? v * expl(v) / (1 + expl(v)) : v / (1 + expl(-v)); });
    look(2, isa::hyperbolic_tangent(V::load(x)), [](long double v) { return tanhl(v); });
  }
}

template <class V>
void test_logistic() {
  using T = typename V::value_type;
  using Limits = std::numeric_limits<T>;
  const double range = sizeof(T) == 4 ? 115 : 770;  // beyond the last subnormal result
  double worst[3] = {};
  largest_errors<V>([=](int i) { return T((2.0 * i / points - 1) * range); }, worst);
  largest_errors<V>([=](int i) { return T((2.0 * i / points - 1) * 10); }, worst);
  // Every magnitude down to the subnormal numbers.
  largest_errors<V>(
      [=](int i) {
        const T magnitude =
            std::ldexp(T(1 + i % 101 / 101.0), Limits::min_exponent - Limits::digits +
                                                   i % (8 + Limits::digits - Limits::min_exponent));
        return i % 2 == 0 ? magnitude : -magnitude;
      },
      worst);
  std::printf("%s: errors of sigmoid %.2f, silu %.2f, tanh %.2f ulp\n",
              sizeof(T) == 4 ? "float" : "double", worst[0], worst[1], worst[2]);
  // Where long double is no wider than double, the truth is uncertain by as much again.
  const double slack = std::numeric_limits<long double>::digits > Limits::digits ? 0 : 1;
  CHECK(worst[0] <= 3 + slack);
  CHECK(worst[1] <= 4 + slack);
  CHECK(worst[2] <= 3 + slack);
  // sigmoid is the exponential itself to the last digit.
  double far_below[3] = {};
  largest_errors<V>([=](int i) { return T(-40 - (range - 40) * i / 200000); }, far_below);
  CHECK(far_below[0] <= 1.5 + slack);

  const T inf = Limits::infinity(), nan = Limits::quiet_NaN(), tiny = Limits::denorm_min();
  const struct {
    T x, sigmoid, silu, tanh;
  } exact[] = {{T(0), T(0.5), T(0), T(0)}, {-T(0), T(0.5), -T(0), -T(0)},
               {inf, T(1), inf, T(1)},     {-inf, T(0), -T(0), T(-1)},
               {nan, nan, nan, nan},       {Limits::max(), T(1), Limits::max(), T(1)},
               {tiny, T(0.5), 0, tiny},    {-Limits::max(), T(0), -T(0), T(-1)}};
  for (const auto& row : exact) {
    T r[V::lanes], x[V::lanes];
    for (int lane = 0; lane < V::lanes; ++lane) {  // the others do not matter, nor the position
      for (T& other : x) other = random_value<T>();
      x[lane] = row.x;
      isa::sigmoid_or_silu<V, false>(V::load(x)).store(r);
      CHECK(same(r[lane], row.sigmoid));
      isa::sigmoid_or_silu<V, true>(V::load(x)).store(r);
      CHECK(same(r[lane], row.silu));
      isa::hyperbolic_tangent(V::load(x)).store(r);
      CHECK(same(r[lane], row.tanh));
    }
  }
}

template <class V>
void test_transpose() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  V rows[n];
  for (int i = 0; i < n; ++i) {
    T row[n];
    for (int j = 0; j < n; ++j) row[j] = static_cast<T>(100 * i + j);
    rows[i] = V::load(row);
  }
  V::transpose(rows);
  for (int i = 0; i < n; ++i) {
    T row[n];
    rows[i].store(row);
    for (int j = 0; j < n; ++j) CHECK(row[j] == static_cast<T>(100 * j + i));
  }
}

template <class V>
void test_unzip() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  T both[2 * n], even[n], odd[n];
  for (int i = 0; i < 2 * n; ++i) both[i] = static_cast<T>(i);
  V a = V::load(both), b = V::load(both + n);
  V::unzip(a, b);
  a.store(even);
  b.store(odd);
  for (int i = 0; i < n; ++i) {
    CHECK(even[i] == static_cast<T>(2 * i));
    CHECK(odd[i] == static_cast<T>(2 * i + 1));
  }
}

// N and more elements of two vectors in a row.
template <class V, int N>
void test_shifted() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  if constexpr (N <= n) {
    T both[2 * n], got[n];
    for (int i = 0; i < 2 * n; ++i) both[i] = static_cast<T>(i);
    V::template shifted<N>(V::load(both), V::load(both + n)).store(got);
    for (int i = 0; i < n; ++i) CHECK(got[i] == static_cast<T>(i + N));
    test_shifted<V, N + 1>();
  }
}

// Every lane to every place, and from none.
template <class V>
void test_routed() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  T from[n], got[n];
  std::int32_t lane[n];
  for (int i = 0; i < n; ++i) from[i] = static_cast<T>(i + 1);
  for (int shift = 0; shift <= n; ++shift) {
    for (int i = 0; i < n; ++i) lane[i] = (i * 3 + shift) % (n + 1);
    V::routed(V::load(from), lane).store(got);
    for (int i = 0; i < n; ++i) CHECK(got[i] == (lane[i] < n ? from[lane[i]] : T(0)));
  }
}

template <class V>
void test_masks() {
  using T = typename V::value_type;
  constexpr int n = V::lanes;
  T from[n], got[n];
  for (int i = 0; i < n; ++i) from[i] = static_cast<T>(i + 1);
  for (int low = 0; low <= n; ++low) {
    for (int high = 0; high <= n; ++high) {
      V::load(from, V::lanes_between(low, high), V::broadcast(T(-1))).store(got);
      for (int i = 0; i < n; ++i) CHECK(got[i] == (i >= low && i < high ? from[i] : T(-1)));
    }
  }
}

template <class V>
void test_vector() {
  test_memory<V>();
  test_arithmetic<V>();
  test_transpose<V>();
  test_unzip<V>();
  if constexpr (std::is_floating_point_v<typename V::value_type>) {
    test_float_arithmetic<V>();
    if constexpr (requires { V::routed(V::zero(), nullptr); }) test_routed<V>();
    if constexpr (requires { typename V::Mask; }) {
      test_masks<V>();
      test_shifted<V, 0>();
      if constexpr (requires { typename V::Narrow; }) {
        test_masks<typename V::Narrow>();
        test_shifted<typename V::Narrow, 0>();
        test_unzip<typename V::Narrow>();
      }
    }
    test_logistic<V>();
  }
}

// The value of a 16-bit pattern from the definition of the format.
float decoded(std::uint16_t bits, int mantissa_bits) {
  const int exponent_bits = 15 - mantissa_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  double value = 0;
  if (exponent == (1 << exponent_bits) - 1) {
    value = mantissa ? std::numeric_limits<double>::quiet_NaN()
                     : std::numeric_limits<double>::infinity();
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  }
  return static_cast<float>(bits & 0x8000 ? -value : value);
}

// The pattern nearest to x: the magnitudes of a format, up to infinity, are ordered as their bit
// patterns are.
std::uint16_t encoded(float x, const std::vector<float>& magnitudes) {
  const int infinity = static_cast<int>(magnitudes.size()) - 1;
  const double magnitude = std::fabs(static_cast<double>(x));
  const auto after = std::upper_bound(magnitudes.begin(), magnitudes.end() - 1, magnitude);
  const int high = static_cast<int>(after - magnitudes.begin()), low = high - 1;
  const double below = magnitudes[low];
  // An overflow is decided as if the exponent had one more value.
  const double above = high == infinity ? 2 * std::ldexp(1.0, std::ilogb(below)) : magnitudes[high];
  int nearest = low;
  if (magnitude - below > above - magnitude) nearest = high;
  if (magnitude - below == above - magnitude) nearest = low % 2 == 0 ? low : high;
  return static_cast<std::uint16_t>(nearest | (std::signbit(x) ? 0x8000 : 0));
}

using Widen = void (*)(const std::uint16_t*, float*, std::int64_t);
using Narrow = void (*)(const float*, std::uint16_t*, std::int64_t);

void test_half_format(Widen widen, Narrow narrow, int mantissa_bits) {
  std::vector<float> magnitudes;
  for (int i = 0; i <= ((1 << (15 - mantissa_bits)) - 1) << mantissa_bits; ++i)
    magnitudes.push_back(decoded(static_cast<std::uint16_t>(i), mantissa_bits));
  std::vector<std::uint16_t> halves(65536);
  for (int i = 0; i < 65536; ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> wide(65536);
  widen(halves.data(), wide.data(), 65536);
  std::vector<float> values;
  for (int i = 0; i < 65536; ++i) {
    const float expected = decoded(static_cast<std::uint16_t>(i), mantissa_bits);
    CHECK(std::isnan(expected) ? std::isnan(wide[i]) : same(wide[i], expected));
    if (std::isnan(expected)) continue;
    // Every number, the midpoint to the next one, and the neighbours of both.
    std::uint32_t bits;
    std::memcpy(&bits, &expected, 4);
    const std::uint32_t gap = 1u << (23 - mantissa_bits);
    for (std::uint32_t base : {bits, bits + gap / 2}) {
      for (std::uint32_t near : {base - 1, base, base + 1}) {
        float x;
        std::memcpy(&x, &near, 4);
        values.push_back(x);
      }
    }
  }
  for (int i = 0; i < 200000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random_bits());
    float x;
    std::memcpy(&x, &bits, 4);
    values.push_back(x);
    // Subnormals of float16 lie between 2^-25 and 2^-14.
    values.push_back(std::ldexp(static_cast<float>(static_cast<std::int32_t>(bits)), -50));
  }
  values.push_back(std::numeric_limits<float>::signaling_NaN());
  std::vector<std::uint16_t> narrowed(values.size());
  narrow(values.data(), narrowed.data(), static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      CHECK(std::isnan(decoded(narrowed[i], mantissa_bits)));
    } else {
      CHECK(narrowed[i] == encoded(values[i], magnitudes));
    }
  }
}

// Tails must touch nothing beyond n elements and equal the wide path.
void test_half_tails(Widen widen, Narrow narrow) {
  GuardedPage short_page, float_page;
  for (int n = 0; n <= 40; ++n) {
    auto* halves = short_page.last<std::uint16_t>(n);
    auto* floats = float_page.last<float>(n);
    for (int i = 0; i < n; ++i) halves[i] = static_cast<std::uint16_t>(random_bits() & 0xbbff);
    widen(halves, floats, n);
    std::vector<std::uint16_t> original(halves, halves + n);
    for (int i = 0; i < n; ++i) halves[i] = 0;
    narrow(floats, halves, n);
    for (int i = 0; i < n; ++i) CHECK(halves[i] == original[i]);
  }
}

void test_float16() {
  test_half_format(isa::float16_to_float32, isa::float32_to_float16, 10);
  test_half_tails(isa::float16_to_float32, isa::float32_to_float16);
}

void test_bfloat16() {
  test_half_format(isa::bfloat16_to_float32, isa::float32_to_bfloat16, 7);
  test_half_tails(isa::bfloat16_to_float32, isa::float32_to_bfloat16);
}

bool processor_has_it() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) points = std::atoi(argv[1]);
  if (!processor_has_it()) {
    std::printf("skipped: the processor lacks this instruction set\n");
    return 77;
  }
  check::section("F32", test_vector<isa::F32>);
  check::section("F64", test_vector<isa::F64>);
  check::section("I32", test_vector<isa::I32>);
  check::section("I64", test_vector<isa::I64>);
  check::section("float16", test_float16);
  check::section("bfloat16", test_bfloat16);
  return check::summary();
}
