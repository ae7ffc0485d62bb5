// Every check of shapes, made before anything is allocated, in checked 64-bit arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/problem.hpp"

namespace fastconv {

using Shape = std::vector<std::int64_t>;

enum class PaddingRule : std::uint8_t { given, same, same_lower };

// The options of a call that do not depend on its arrays.
struct Options {
  int rank = 2;
  std::array<std::int64_t, 3> stride = {1, 1, 1};  // the last `rank` entries count
  std::array<std::int64_t, 3> dilation = {1, 1, 1};
  std::array<std::int64_t, 3> lo = {0, 0, 0};
  std::array<std::int64_t, 3> hi = {0, 0, 0};
  PaddingRule padding = PaddingRule::given;
  std::int64_t groups = 1;
  Border border = Border::constant;
  Activation activation = Activation::none;
  Algorithm algorithm = Algorithm::automatic;
  Precision precision = Precision::highest;
  bool flip = false;
  bool channels_last = false;
  bool saturate = false;
  std::int64_t interleave = 1;  // of the last axis
};

// Throws std::invalid_argument that names the argument, its value and what was expected.
void validate_options(const Options& options);

// Fills every field of a Problem that shapes and options decide (channels still count as the caller
// does, not yet doubled for complex). `bias` is null where there is none.
Problem make_problem(const Options& options, const Shape& x, const Shape& w, const Shape* bias);

// Shape of the result in the caller's layout; `x` tells whether there is a batch, `complex` whether
// the problem's channels are doubled by now.
Shape output_shape(const Options& options, const Problem& problem, const Shape& x,
                   bool complex = false);

// "(2, 3)", cut short where it would be long.
std::string to_string(const Shape& shape);

}  // namespace fastconv
