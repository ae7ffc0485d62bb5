// Problems of any types, shapes and options, drawn at random.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "core/validate.hpp"
#include "engine_case.hpp"

namespace fastconv::test {

inline void choose_types(Problem& p) {
  constexpr DType kSmall[] = {DType::i8, DType::u8, DType::i16, DType::u16};
  constexpr DType k32[] = {DType::i32, DType::u32};
  constexpr DType k64[] = {DType::i64, DType::u64};
  constexpr DType kHalf[] = {DType::f16, DType::bf16};
  constexpr DType kWhole[] = {DType::i8,  DType::u8,  DType::i16, DType::u16,
                              DType::i32, DType::u32, DType::i64, DType::u64};
  p.compute = one_of({Compute::f32, Compute::f32, Compute::f64, Compute::i32, Compute::i64});
  switch (p.compute) {
    case Compute::f32:
      p.x_type = p.y_type = chance(25) ? one_of(kHalf) : DType::f32;
      if (chance(20)) p.x_type = one_of(kSmall);
      p.complex = p.x_type == DType::f32 && p.y_type == DType::f32 && chance(25);
      break;
    case Compute::f64:
      p.x_type = p.y_type = DType::f64;
      p.complex = chance(25);
      if (!p.complex && chance(30)) p.x_type = chance(50) ? DType::f32 : one_of(kWhole);
      break;
    case Compute::i32:
      p.x_type = chance(50) ? one_of(kSmall) : one_of(k32);
      p.y_type = chance(50) ? one_of(kSmall) : one_of(k32);
      break;
    default:
      p.x_type = chance(50) ? one_of(kWhole) : one_of(k64);
      p.y_type = one_of(k64);
  }
  p.saturate = is_float(p.compute) && !p.complex && chance(15);
  if (p.saturate) {
    p.x_type = p.compute == Compute::f32 ? one_of(kSmall) : one_of(kWhole);
    p.y_type = one_of(kWhole);
  }
}

inline DType random_weight_type(const Problem& p) {
  if (chance(60)) return stored_type(p.compute);
  if (!is_float(p.compute))
    return one_of({DType::i8, DType::u8, DType::i16, DType::u16, DType::i32, DType::u32, DType::i64,
                   DType::u64});
  return one_of(
      {DType::f16, DType::bf16, DType::f32, DType::f64, DType::i8, DType::u8, DType::i16});
}

// Half the time the sizes around a vector and a tile, where the tails are.
inline std::int64_t channels(std::int64_t most) {
  const std::int64_t n = chance(50) ? pick(1, 6) : pick(1, most);
  return std::min(n, most);
}

struct Shapes {
  Options options;
  Shape x, w;
};

// One channel to a group, or few: depthwise layers, pictures, volumes.
inline Shapes random_planes() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = pick(1, 5);
  const std::int64_t in = chance(70) ? 1 : pick(1, 3), out = chance(70) ? 1 : pick(1, 5);
  s.x = {pick(1, 2), o.groups * in};
  s.w = {o.groups * out, in};
  const bool square = chance(40);  // 3 x 3, which has kernels of its own
  for (int a = 3 - o.rank; a < 3; ++a) {
    const bool depth = a == 0;
    s.x.push_back(depth        ? pick(1, 3)
                  : a == 1     ? pick(1, 20)
                  : chance(15) ? pick(1, 700)
                               : pick(1, 70));
    s.w.push_back(depth ? pick(1, 3) : square ? 3 : pick(1, 9));
    o.stride[a] = chance(50) ? 1 : pick(1, chance(20) ? 18 : 4);
    o.dilation[a] = chance(70) ? 1 : pick(1, 4);
    if (depth && chance(70)) continue;
    o.lo[a] = chance(40) ? 0 : pick(0, chance(20) ? 30 : 4);
    o.hi[a] = chance(40) ? 0 : pick(0, chance(20) ? 30 : 4);
  }
  if (s.x.back() % 3 == 0 && chance(30)) {  // a picture of three colours
    o.interleave = o.dilation[2] = 3;
    o.lo[2] = o.lo[2] / 3 * 3;
    o.hi[2] = o.hi[2] / 3 * 3;
  }
  return s;
}

// Long rows of kernels, as transforms take them.
inline Shapes random_rows() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 3);
  s.x = {pick(1, 3), o.groups * pick(1, 3)};
  s.w = {o.groups * pick(1, 6), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    const bool row = a == 2;
    s.x.push_back(!row ? pick(1, o.rank == 3 ? 6 : 20) : chance(50) ? pick(1, 90) : pick(1, 1500));
    s.w.push_back(!row ? pick(1, o.rank == 3 ? 3 : 9) : chance(50) ? pick(1, 40) : pick(1, 500));
    o.stride[a] = chance(70) ? 1 : pick(1, 4);
    o.dilation[a] = chance(70) ? 1 : pick(1, 4);
    o.lo[a] = chance(40) ? 0 : pick(0, row ? 60 : 3);
    o.hi[a] = chance(40) ? 0 : pick(0, row ? 60 : 3);
  }
  if (s.x.back() % 3 == 0 && chance(20)) {  // a picture of three colours
    o.interleave = o.dilation[2] = 3;
    o.lo[2] = o.lo[2] / 3 * 3;
    o.hi[2] = o.hi[2] / 3 * 3;
  }
  return s;
}

inline Shapes random_shapes() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 4);
  if (chance(30)) o.padding = chance(50) ? PaddingRule::same : PaddingRule::same_lower;
  const std::int64_t size = o.rank == 1 ? 70 : o.rank == 2 ? 19 : 9;
  s.x = {pick(1, 2), o.groups * channels(o.groups > 1 ? 6 : 34)};
  s.w = {o.groups * channels(o.groups > 1 ? 9 : 70), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    s.x.push_back(pick(1, size));
    s.w.push_back(pick(1, o.rank == 3 ? 3 : 5));
    o.stride[a] = chance(50) ? 1 : pick(1, 4);
    o.dilation[a] = chance(60) ? 1 : pick(1, 4);
    o.lo[a] = chance(50) ? 0 : pick(0, 2 + (chance(20) ? size : 0));
    o.hi[a] = chance(50) ? 0 : pick(0, 2 + (chance(20) ? size : 0));
  }
  return s;
}

// Pictures smaller than their kernels, so that most taps lie in the border.
inline Shapes random_specks() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 20);
  s.x = {pick(1, 3), o.groups * channels(o.groups > 1 ? 6 : 50)};
  s.w = {o.groups * channels(o.groups > 1 ? 6 : 50), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    s.x.push_back(pick(1, 7));
    s.w.push_back(pick(1, o.rank == 3 ? 4 : 7));
    o.stride[a] = chance(70) ? 1 : pick(1, 3);
    o.dilation[a] = chance(40) ? 1 : pick(1, 8);
    const std::int64_t reach = (s.w.back() - 1) * o.dilation[a];
    o.lo[a] = chance(50) ? reach / 2 : pick(0, reach);
    o.hi[a] = chance(50) ? reach - reach / 2 : pick(0, reach);
  }
  return s;
}

// Options and shapes as a caller gives them; throws where they do not fit together.
inline Problem random_problem(std::int64_t most_products, Shapes (*make_shapes)()) {
  Shapes s = make_shapes();
  s.options.border = chance(40) ? Border::constant : static_cast<Border>(pick(0, 4));
  s.options.flip = chance(30);
  validate_options(s.options);
  const Shape bias = {s.w[0]};
  Problem p = make_problem(s.options, s.x, s.w, chance(50) ? &bias : nullptr);
  if (p.batch * p.groups * p.out_channels * p.out_pixels() * p.terms() > most_products)
    throw std::invalid_argument("too much work");
  choose_types(p);
  if (p.complex) {
    p.in_channels *= 2;
    p.out_channels *= 2;
  }
  constexpr Activation kExact[] = {Activation::relu, Activation::relu6};
  if (!p.complex && chance(30))
    p.activation =
        is_float(p.compute) && !p.saturate ? static_cast<Activation>(pick(1, 6)) : one_of(kExact);
  const DType type = stored_type(p.compute);
  const bool zeros = chance(70);  // which many kernels leave out
  for (Scalar& fill : p.fill)
    put(type, reinterpret_cast<char*>(&fill), static_cast<double>(zeros ? 0 : pick(-3, 3)));
  p.keeps_weights = chance(50);
  return p;
}

inline Case random_case(std::int64_t most_products, bool fractions = false,
                        Shapes (*make_shapes)() = random_shapes) {
  Case c;
  for (;;) {
    try {
      c.problem = random_problem(most_products, make_shapes);
      break;
    } catch (const std::invalid_argument&) {
    }
  }
  c.problem.w_type = c.w_type = random_weight_type(c.problem);
  c.w_complex = c.problem.complex && is_float(c.w_type) && chance(70);
  if (!is_float(c.problem.compute) && chance(30)) c.values = Values::wrapping;
  if (fractions && is_float(c.problem.x_type) && !c.problem.saturate) c.values = Values::fractions;
  c.make_arrays();
  return c;
}

}  // namespace fastconv::test
