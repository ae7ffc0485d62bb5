#include "pack/convert.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/no_fraction.hpp"
#include "simd/inline.hpp"

namespace fastconv {
namespace {

// Halves that lie apart go through a small buffer, because their conversion works on dense rows.
constexpr std::int64_t kHalfBlock = 128;

// With a constant step the compiler shuffles whole vectors.
template <int Step, class T>
void read_every(const T* __restrict from, T* __restrict to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * Step];
}

// Elements that lie apart, four a turn: one takes one cycle or two, as the loop's code happens to
// lie.
template <class T>
FASTCONV_NOINLINE void copy_apart(const char* from, std::int64_t from_step, char* to,
                                  std::int64_t to_step, std::int64_t n) {
  const auto at = [](const char* place) { return *reinterpret_cast<const T*>(place); };
  const auto put = [](char* place, T value) { *reinterpret_cast<T*>(place) = value; };
  for (; n >= 4; n -= 4, from += 4 * from_step, to += 4 * to_step) {
    const T first = at(from), second = at(from + from_step);
    const T third = at(from + 2 * from_step), fourth = at(from + 3 * from_step);
    put(to, first);
    put(to + to_step, second);
    put(to + 2 * to_step, third);
    put(to + 3 * to_step, fourth);
  }
  for (; n > 0; --n, from += from_step, to += to_step) put(to, at(from));
}

template <class From, class T>
void read_as(const char* from, std::int64_t stride, T* to, std::int64_t to_stride, std::int64_t n) {
  const auto convert = [](From v) {
    // Unsigned detour: conversion between integer types is then modulo 2^n by definition.
    if constexpr (std::is_integral_v<From> && std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(v));
    } else {
      return static_cast<T>(v);
    }
  };
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<T>) {
    // Refused above (a float array is never computed in integers).
    (void)from, (void)stride, (void)to, (void)to_stride, (void)n, (void)convert;
  } else if (stride == sizeof(From) && to_stride == 1) {
    const From* dense = reinterpret_cast<const From*>(from);
    if constexpr (std::is_same_v<From, T>) {
      std::memcpy(to, dense, static_cast<std::size_t>(n) * sizeof(T));
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = convert(dense[i]);
    }
  } else {
    if constexpr (std::is_same_v<From, T>) {
      const T* const element = reinterpret_cast<const T*>(from);
      if (to_stride == 1 && stride == 2 * std::int64_t{sizeof(T)})
        return read_every<2>(element, to, n);
      if (to_stride == 1 && stride == -std::int64_t{sizeof(T)})
        return read_every<-1>(element, to, n);
      return copy_apart<T>(from, stride, reinterpret_cast<char*>(to),
                           to_stride * std::int64_t{sizeof(T)}, n);
    }
    for (std::int64_t i = 0; i < n; ++i)
      to[i * to_stride] = convert(*reinterpret_cast<const From*>(from + i * stride));
  }
}

// `widen` for dense rows, or null.
template <class From, class T>
void read_narrow(void (*widen)(const void*, T*, std::int64_t), const char* from,
                 std::int64_t stride, T* to, std::int64_t to_stride, std::int64_t n) {
  if (widen != nullptr && stride == sizeof(From) && to_stride == 1) return widen(from, to, n);
  read_as<From>(from, stride, to, to_stride, n);
}

template <class T, class Widen>
void read_half(Widen widen, const char* from, std::int64_t stride, T* to, std::int64_t to_stride,
               std::int64_t n) {
  if constexpr (std::is_same_v<T, float>)
    if (stride == sizeof(std::uint16_t) && to_stride == 1)
      return widen(reinterpret_cast<const std::uint16_t*>(from), to, n);
  std::uint16_t half[kHalfBlock];
  float single[kHalfBlock];
  for (std::int64_t first = 0; first < n; first += kHalfBlock) {
    const std::int64_t m = std::min(kHalfBlock, n - first);
    read_as<std::uint16_t>(from + first * stride, stride, half, 1, m);
    widen(half, single, m);
    for (std::int64_t i = 0; i < m; ++i) to[(first + i) * to_stride] = static_cast<T>(single[i]);
  }
}

// The instructions of those names, which return b where a is NaN.
template <class T>
T larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
T smaller(T a, T b) {
  return a < b ? a : b;
}

// Floats to narrow integers: clipped, then rounded half to even by an addition after which the low
// bits of the sum are the integer. No branch and no call, so that compilers make vectors of it. NaN
// goes to the lower end, as in OpenCV.
template <class To, class T>
void round_dense(const T* from, To* to, std::int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  // Read through volatile: where GCC 12 knows the ends it turns the clipping into two branches,
  // eight times slower on a picture's edges.
  volatile T ends[2] = {std::numeric_limits<To>::min(), std::numeric_limits<To>::max()};
  const T low = ends[0], high = ends[1];
  Bits whole[kHalfBlock];
  for (std::int64_t first = 0; first < n; first += kHalfBlock) {
    const std::int64_t m = std::min(kHalfBlock, n - first);
    for (std::int64_t i = 0; i < m; ++i) {
      const T v = smaller(larger(from[first + i], low), high);
      whole[i] = std::bit_cast<Bits>(v + kNoFraction<T>);
    }
    for (std::int64_t i = 0; i < m; ++i) to[first + i] = static_cast<To>(whole[i]);
  }
}

// The same for wide integers, whose ends floats do not hold exactly.
template <class To, class T>
To round_wide(T v) {
  constexpr To kLow = std::numeric_limits<To>::min(), kHigh = std::numeric_limits<To>::max();
  const T rounded = std::nearbyint(v);
  if (!(rounded > static_cast<T>(kLow))) return kLow;
  return rounded >= static_cast<T>(kHigh) ? kHigh : static_cast<To>(rounded);
}

template <class To, class T>
To convert_out(T v, Activation activation) {
  To result;
  if constexpr (std::is_floating_point_v<T> && std::is_integral_v<To>) {
    result = round_wide<To>(v);
  } else if constexpr (std::is_integral_v<T> && std::is_integral_v<To>) {
    result = static_cast<To>(static_cast<std::make_unsigned_t<To>>(v));
  } else {
    result = static_cast<To>(v);
  }
  if constexpr (std::is_integral_v<To>) {
    if (activation != Activation::none) {
      if constexpr (std::is_signed_v<To>) result = std::max(result, To(0));
      if (activation == Activation::relu6) result = std::min(result, To(6));
    }
  }
  return result;
}

template <class To, class T>
void write_as(const T* from, char* to, std::int64_t stride, std::int64_t n, Activation activation) {
  if constexpr (std::is_floating_point_v<T> && std::is_integral_v<To> && sizeof(To) <= 2) {
    if (stride == sizeof(To)) return round_dense<To>(from, reinterpret_cast<To*>(to), n);
    To dense[kHalfBlock];
    for (std::int64_t first = 0; first < n; first += kHalfBlock) {
      const std::int64_t m = std::min(kHalfBlock, n - first);
      round_dense<To>(from + first, dense, m);
      for (std::int64_t i = 0; i < m; ++i)
        *reinterpret_cast<To*>(to + (first + i) * stride) = dense[i];
    }
  } else if (stride == sizeof(To)) {
    To* dense = reinterpret_cast<To*>(to);
    for (std::int64_t i = 0; i < n; ++i) dense[i] = convert_out<To>(from[i], activation);
  } else {
    if constexpr (std::is_same_v<To, T>)
      if (std::is_floating_point_v<T> || activation == Activation::none)
        return copy_apart<T>(reinterpret_cast<const char*>(from), sizeof(T), to, stride, n);
    for (std::int64_t i = 0; i < n; ++i)
      *reinterpret_cast<To*>(to + i * stride) = convert_out<To>(from[i], activation);
  }
}

// `narrow` for dense rows, or null.
template <class To, class T>
void write_narrow(void (*narrow)(const T*, void*, std::int64_t), const T* from, char* to,
                  std::int64_t stride, std::int64_t n, Activation activation) {
  if (narrow != nullptr && stride == sizeof(To) && activation == Activation::none)
    return narrow(from, to, n);
  write_as<To>(from, to, stride, n, activation);
}

template <class T, class Narrow>
void write_half(Narrow narrow, const T* from, char* to, std::int64_t stride, std::int64_t n) {
  if constexpr (std::is_same_v<T, float>)
    if (stride == sizeof(std::uint16_t))
      return narrow(from, reinterpret_cast<std::uint16_t*>(to), n);
  std::uint16_t half[kHalfBlock];
  float single[kHalfBlock];
  for (std::int64_t first = 0; first < n; first += kHalfBlock) {
    const std::int64_t m = std::min(kHalfBlock, n - first);
    for (std::int64_t i = 0; i < m; ++i) single[i] = static_cast<float>(from[first + i]);
    narrow(single, half, m);
    for (std::int64_t i = 0; i < m; ++i)
      *reinterpret_cast<std::uint16_t*>(to + (first + i) * stride) = half[i];
  }
}

}  // namespace

template <class T>
void read_row(const KernelTable& kernels, DType type, const char* from, std::int64_t stride, T* to,
              std::int64_t to_stride, std::int64_t n) {
  const KernelSet<T>& set = kernels.set<T>();
  switch (type) {
    case DType::i8:
      return read_narrow<std::int8_t>(set.widen[0], from, stride, to, to_stride, n);
    case DType::u8:
      return read_narrow<std::uint8_t>(set.widen[1], from, stride, to, to_stride, n);
    case DType::i16:
      return read_narrow<std::int16_t>(set.widen[2], from, stride, to, to_stride, n);
    case DType::u16:
      return read_narrow<std::uint16_t>(set.widen[3], from, stride, to, to_stride, n);
    case DType::i32:
      return read_as<std::int32_t>(from, stride, to, to_stride, n);
    case DType::u32:
      return read_as<std::uint32_t>(from, stride, to, to_stride, n);
    case DType::i64:
      return read_as<std::int64_t>(from, stride, to, to_stride, n);
    case DType::u64:
      return read_as<std::uint64_t>(from, stride, to, to_stride, n);
    case DType::f32:
      return read_as<float>(from, stride, to, to_stride, n);
    case DType::f64:
      return read_as<double>(from, stride, to, to_stride, n);
    case DType::f16:
      return read_half(kernels.half.from_f16, from, stride, to, to_stride, n);
    case DType::bf16:
      return read_half(kernels.half.from_bf16, from, stride, to, to_stride, n);
  }
}

template <class T>
void read_rows(const KernelTable& kernels, DType type, const char* from, std::int64_t row_step,
               std::int64_t rows, std::int64_t stride, T* to, std::int64_t n) {
  constexpr std::int64_t kElement = sizeof(T);
  if (rows > 1 && row_step == kElement && stride != kElement && stride % kElement == 0 &&
      same_storage(type, kComputeOf<T>)) {
    kernels.set<T>().pack({reinterpret_cast<const T*>(from), stride / kElement, n, rows, to, n});
    return;
  }
  for (std::int64_t r = 0; r < rows; ++r)
    read_row<T>(kernels, type, from + r * row_step, stride, to + r * n, 1, n);
}

template <class T>
void write_row(const KernelTable& kernels, DType type, const T* from, char* to, std::int64_t stride,
               std::int64_t n, Activation activation) {
  const KernelSet<T>& set = kernels.set<T>();
  switch (type) {
    case DType::i8:
      return write_narrow<std::int8_t>(set.narrow[0], from, to, stride, n, activation);
    case DType::u8:
      return write_narrow<std::uint8_t>(set.narrow[1], from, to, stride, n, activation);
    case DType::i16:
      return write_narrow<std::int16_t>(set.narrow[2], from, to, stride, n, activation);
    case DType::u16:
      return write_narrow<std::uint16_t>(set.narrow[3], from, to, stride, n, activation);
    case DType::i32:
      return write_as<std::int32_t>(from, to, stride, n, activation);
    case DType::u32:
      return write_as<std::uint32_t>(from, to, stride, n, activation);
    case DType::i64:
      return write_as<std::int64_t>(from, to, stride, n, activation);
    case DType::u64:
      return write_as<std::uint64_t>(from, to, stride, n, activation);
    case DType::f32:
      return write_as<float>(from, to, stride, n, activation);
    case DType::f64:
      return write_as<double>(from, to, stride, n, activation);
    case DType::f16:
      return write_half(kernels.half.to_f16, from, to, stride, n);
    case DType::bf16:
      return write_half(kernels.half.to_bf16, from, to, stride, n);
  }
}

#define FASTCONV_INSTANTIATE(T)                                                                  \
  template void read_row<T>(const KernelTable&, DType, const char*, std::int64_t, T*,            \
                            std::int64_t, std::int64_t);                                         \
  template void read_rows<T>(const KernelTable&, DType, const char*, std::int64_t, std::int64_t, \
                             std::int64_t, T*, std::int64_t);                                    \
  template void write_row<T>(const KernelTable&, DType, const T*, char*, std::int64_t,           \
                             std::int64_t, Activation);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
