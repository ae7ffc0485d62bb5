// The canonical problem that every layer below the bindings speaks of.
//
//   x (N, G*C, D, H, W)  *  w (G*K, C, kd, kh, kw)  ->  y (N, G*K, Do, Ho, Wo)
//
// One and two spatial axes are three with leading axes of size 1. A complex tensor is a real one
// with twice the channels, real and imaginary parts side by side, so kernels only see real numbers.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "core/activation.hpp"
#include "core/dtype.hpp"

namespace fastconv {

enum class Border : std::uint8_t { constant, reflect, symmetric, edge, wrap };
enum class Algorithm : std::uint8_t {
  automatic,
  direct,
  winograd,
  im2col,
  amx_split,
  fft,
  separable,
  reference
};
// As callers write them.
inline constexpr std::pair<const char*, Algorithm> kAlgorithms[] = {
    {"auto", Algorithm::automatic},      {"direct", Algorithm::direct},
    {"winograd", Algorithm::winograd},   {"im2col", Algorithm::im2col},
    {"amx_split", Algorithm::amx_split}, {"fft", Algorithm::fft},
    {"separable", Algorithm::separable}, {"reference", Algorithm::reference}};
constexpr const char* name_of(Algorithm algorithm) {
  for (const auto& [name, value] : kAlgorithms)
    if (value == algorithm) return name;
  return "";
}
enum class Precision : std::uint8_t { highest, high, medium };

struct Axis {
  std::int64_t in = 1;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t lo = 0;  // padding before the first element
  std::int64_t hi = 0;  // padding after the last
  std::int64_t out = 1;
  // Elements that lie side by side and are mirrored as one: the channels of an H x W x C picture
  // that is filtered as one plane of W * C columns.
  std::int64_t interleave = 1;

  // Positions that the dilated kernel covers, and that so many outputs side by side see.
  constexpr std::int64_t span() const { return (kernel - 1) * dilation + 1; }
  constexpr std::int64_t seen_by(std::int64_t outputs) const {
    return (outputs - 1) * stride + span();
  }
};

struct Problem {
  int rank = 2;                   // spatial axes that the caller sees
  std::int64_t batch = 1;         // N
  std::int64_t groups = 1;        // G
  std::int64_t in_channels = 1;   // C, of one group, in real numbers
  std::int64_t out_channels = 1;  // K, of one group, in real numbers
  std::array<Axis, 3> axis;       // depth, height, width
  Border border = Border::constant;
  Activation activation = Activation::none;
  Algorithm algorithm = Algorithm::automatic;
  Precision precision = Precision::highest;
  bool flip = false;      // true convolution: the kernel turned 180 degrees
  bool saturate = false;  // integer output rounds half to even and clips
  bool complex = false;
  bool has_bias = false;
  bool outer_product = false;  // the kernel is one, of a vector for each axis
  bool keeps_weights = false;  // packed once for many calls, so that packing costs nothing
  bool channels_last = false;  // as the caller lays out tensors; strides may say otherwise
  DType x_type = DType::f32;   // of one real number
  DType w_type = DType::f32;
  DType y_type = DType::f32;
  Compute compute = Compute::f32;
  std::array<Scalar, 2> fill = {};  // border value: real part, imaginary part

  std::int64_t taps() const { return axis[0].kernel * axis[1].kernel * axis[2].kernel; }
  std::int64_t terms() const { return in_channels * taps(); }  // products in one output element
  std::int64_t in_pixels() const { return axis[0].in * axis[1].in * axis[2].in; }
  std::int64_t out_pixels() const { return axis[0].out * axis[1].out * axis[2].out; }
  bool padded() const {
    for (const Axis& a : axis)
      if (a.lo != 0 || a.hi != 0) return true;
    return false;
  }
  bool has_no_image() const { return axis[0].in == 0 || axis[1].in == 0 || axis[2].in == 0; }
};

// Where a tensor lies: byte strides of any sign, zero included.
struct Tensor {
  char* data = nullptr;
  std::int64_t batch = 0;
  std::int64_t channel = 0;
  std::int64_t part = 0;  // imaginary part minus real part; 0 unless complex
  std::array<std::int64_t, 3> axis = {};

  // Byte offset of a real channel.
  std::int64_t channel_offset(std::int64_t c) const {
    return part == 0 ? c * channel : (c >> 1) * channel + (c & 1) * part;
  }
};

// The weights as the caller holds them: byte strides of (K, C, kd, kh, kw).
struct Weights {
  const char* data = nullptr;
  DType type = DType::f32;  // of one real number
  std::int64_t out = 0;
  std::int64_t in = 0;
  std::int64_t part = 0;  // 0 where the weights are real, whatever the problem is
  std::array<std::int64_t, 3> axis = {};
};

}  // namespace fastconv
