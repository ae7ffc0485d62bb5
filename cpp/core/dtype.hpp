// Element types as they are stored, and the few types that arithmetic is done in.
#pragma once

#include <cstdint>

namespace fastconv {

enum class DType : std::uint8_t { i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64 };

// Kernels exist for these four; every other type converts while staging and storing.
enum class Compute : std::uint8_t { f32, f64, i32, i64 };
// Instances of a template for all of them: M(T) has the instantiation, and its semicolon.
#define FASTCONV_FOR_EACH_COMPUTE_TYPE(M) M(float) M(double) M(std::int32_t) M(std::int64_t)

constexpr int size_of(DType type) {
  switch (type) {
    case DType::i8:
    case DType::u8:
      return 1;
    case DType::i16:
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::i32:
    case DType::u32:
    case DType::f32:
      return 4;
    default:
      return 8;
  }
}

constexpr int size_of(Compute type) { return type == Compute::f32 || type == Compute::i32 ? 4 : 8; }

constexpr bool is_float(DType type) { return type >= DType::f16; }

constexpr bool is_float(Compute type) { return type == Compute::f32 || type == Compute::f64; }

// Integers of one size are the same bits modulo 2^n, so uint32 is stored as its int32 twin.
constexpr bool same_storage(DType stored, Compute compute) {
  switch (compute) {
    case Compute::f32:
      return stored == DType::f32;
    case Compute::f64:
      return stored == DType::f64;
    case Compute::i32:
      return stored == DType::i32 || stored == DType::u32;
    default:
      return stored == DType::i64 || stored == DType::u64;
  }
}

// What holds its values as they are.
constexpr DType storage_of(Compute compute) {
  switch (compute) {
    case Compute::f32:
      return DType::f32;
    case Compute::f64:
      return DType::f64;
    case Compute::i32:
      return DType::i32;
    default:
      return DType::i64;
  }
}

constexpr const char* name_of(Compute type) {
  switch (type) {
    case Compute::f32:
      return "float32";
    case Compute::f64:
      return "float64";
    case Compute::i32:
      return "int32";
    default:
      return "int64";
  }
}

// Calls function(zero) with a zero of the compute type.
template <class Function>
auto as_compute(Compute type, Function function) {
  switch (type) {
    case Compute::f32:
      return function(float{});
    case Compute::f64:
      return function(double{});
    case Compute::i32:
      return function(std::int32_t{});
    default:
      return function(std::int64_t{});
  }
}

// The compute type that the elements of kernels are.
template <class T>
inline constexpr Compute kComputeOf = Compute::i64;
template <>
inline constexpr Compute kComputeOf<float> = Compute::f32;
template <>
inline constexpr Compute kComputeOf<double> = Compute::f64;
template <>
inline constexpr Compute kComputeOf<std::int32_t> = Compute::i32;

// One value of any compute type.
union Scalar {
  float f32;
  double f64;
  std::int32_t i32;
  std::int64_t i64;
};

template <class T>
T scalar_as(const Scalar& value);
template <>
inline float scalar_as<float>(const Scalar& value) {
  return value.f32;
}
template <>
inline double scalar_as<double>(const Scalar& value) {
  return value.f64;
}
template <>
inline std::int32_t scalar_as<std::int32_t>(const Scalar& value) {
  return value.i32;
}
template <>
inline std::int64_t scalar_as<std::int64_t>(const Scalar& value) {
  return value.i64;
}

}  // namespace fastconv
