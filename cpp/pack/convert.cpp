#include "pack/convert.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace fastconv {
namespace {

// Halves go through a small buffer, because their conversion works on dense rows.
constexpr std::int64_t kHalfBlock = 128;

template <class From, class T>
void read_as(const char* from, std::int64_t stride, T* to, std::int64_t to_stride,
             std::int64_t n) {
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
    for (std::int64_t i = 0; i < n; ++i)
      to[i * to_stride] = convert(*reinterpret_cast<const From*>(from + i * stride));
  }
}

template <class T, class Widen>
void read_half(Widen widen, const char* from, std::int64_t stride, T* to, std::int64_t to_stride,
               std::int64_t n) {
  std::uint16_t half[kHalfBlock];
  float single[kHalfBlock];
  for (std::int64_t first = 0; first < n; first += kHalfBlock) {
    const std::int64_t m = std::min(kHalfBlock, n - first);
    read_as<std::uint16_t>(from + first * stride, stride, half, 1, m);
    widen(half, single, m);
    for (std::int64_t i = 0; i < m; ++i) to[(first + i) * to_stride] = static_cast<T>(single[i]);
  }
}

template <class To, class T>
To convert_out(T v, bool saturate, Activation activation) {
  To result;
  if constexpr (std::is_floating_point_v<T> && std::is_integral_v<To>) {
    (void)saturate;  // the only way from float to integer
    const T rounded = std::nearbyint(v);
    if (!(rounded > static_cast<T>(std::numeric_limits<To>::min()))) {
      result = v == v ? std::numeric_limits<To>::min() : To(0);
    } else if (rounded >= static_cast<T>(std::numeric_limits<To>::max())) {
      result = std::numeric_limits<To>::max();
    } else {
      result = static_cast<To>(rounded);
    }
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
void write_as(const T* from, char* to, std::int64_t stride, std::int64_t n, bool saturate,
              Activation activation) {
  if (stride == sizeof(To)) {
    To* dense = reinterpret_cast<To*>(to);
    for (std::int64_t i = 0; i < n; ++i) dense[i] = convert_out<To>(from[i], saturate, activation);
  } else {
    for (std::int64_t i = 0; i < n; ++i)
      *reinterpret_cast<To*>(to + i * stride) = convert_out<To>(from[i], saturate, activation);
  }
}

template <class T, class Narrow>
void write_half(Narrow narrow, const T* from, char* to, std::int64_t stride, std::int64_t n) {
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
  switch (type) {
    case DType::i8:
      return read_as<std::int8_t>(from, stride, to, to_stride, n);
    case DType::u8:
      return read_as<std::uint8_t>(from, stride, to, to_stride, n);
    case DType::i16:
      return read_as<std::int16_t>(from, stride, to, to_stride, n);
    case DType::u16:
      return read_as<std::uint16_t>(from, stride, to, to_stride, n);
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
void write_row(const KernelTable& kernels, DType type, const T* from, char* to,
               std::int64_t stride, std::int64_t n, bool saturate, Activation activation) {
  switch (type) {
    case DType::i8:
      return write_as<std::int8_t>(from, to, stride, n, saturate, activation);
    case DType::u8:
      return write_as<std::uint8_t>(from, to, stride, n, saturate, activation);
    case DType::i16:
      return write_as<std::int16_t>(from, to, stride, n, saturate, activation);
    case DType::u16:
      return write_as<std::uint16_t>(from, to, stride, n, saturate, activation);
    case DType::i32:
      return write_as<std::int32_t>(from, to, stride, n, saturate, activation);
    case DType::u32:
      return write_as<std::uint32_t>(from, to, stride, n, saturate, activation);
    case DType::i64:
      return write_as<std::int64_t>(from, to, stride, n, saturate, activation);
    case DType::u64:
      return write_as<std::uint64_t>(from, to, stride, n, saturate, activation);
    case DType::f32:
      return write_as<float>(from, to, stride, n, saturate, activation);
    case DType::f64:
      return write_as<double>(from, to, stride, n, saturate, activation);
    case DType::f16:
      return write_half(kernels.half.to_f16, from, to, stride, n);
    case DType::bf16:
      return write_half(kernels.half.to_bf16, from, to, stride, n);
  }
}

#define FASTCONV_INSTANTIATE(T)                                                                  \
  template void read_row<T>(const KernelTable&, DType, const char*, std::int64_t, T*,            \
                            std::int64_t, std::int64_t);                                         \
  template void write_row<T>(const KernelTable&, DType, const T*, char*, std::int64_t,           \
                             std::int64_t, bool, Activation);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
