#include "algorithms/plane_costs.hpp"

#include <algorithm>

#include "algorithms/costs.hpp"
#include "algorithms/plane_layout.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "kernels/args.hpp"

namespace fastconv {
namespace {

constexpr double kDealtByVectors = 0.3;

}  // namespace

PlaneCycles::PlaneCycles(const Problem& problem, const Machine& machine)
    : lanes_(machine.lanes),
      in_(static_cast<double>(problem.in_channels)),
      filters_(static_cast<double>(problem.out_channels)),
      slices_(static_cast<double>(problem.axis[0].out)),
      inputs_(in_ * static_cast<double>(problem.in_pixels())),
      outputs_(filters_ * static_cast<double>(problem.out_pixels())),
      weights_(filters_ * in_ * static_cast<double>(problem.taps())),
      kernel_rows_(static_cast<double>(problem.axis[0].kernel * problem.axis[1].kernel)) {
  const auto& [depth, height, width] = problem.axis;
  rows_ = slices_ * static_cast<double>(height.out) * filters_ * in_;
  // Products of vectors of pixels.
  vectors_ =
      slices_ * static_cast<double>(height.out * divide_up(width.out, machine.lanes)) * weights_;
  if (leaves_out_border(problem)) {
    seen_ = seen_share(problem);
    Problem one_column = problem;
    one_column.axis[2] = Axis{};
    seen_rows_ = seen_share(one_column);
  }
  // Slices that several outputs see stay staged.
  const std::int64_t staged = depth.out > 1 ? std::min(depth.kernel, depth.stride) : depth.kernel;
  const std::int64_t rows = height.kernel == 1 ? height.out : height.in;
  staged_rows_ = slices_ * in_ * static_cast<double>(rows * staged);
  // Rows of one vector load a weight for each product; in long ones most is the products.
  const double in_row = static_cast<double>(divide_up(width.out, machine.lanes));
  product_ = in_row == 1 ? 2.7 : 1.2 + 0.8 / in_row;
  // By vectors where the stride is 3 or 4.
  const double dealt = width.stride > 4 ? 1.0 : width.stride > 2 ? kDealtByVectors : 0.0;
  dealt_ = dealt * static_cast<double>(width.kernel == 1 ? width.out : width.in);
  strided_ = depth.stride > 1 || height.stride > 1 || width.stride > 1;
  const std::int64_t apart = std::min(SharedRows(height).apart, height.out) - 2;
  if (height.kernel > 1 && apart > 0 && machine.lanes == 16)
    phases_ = 45.0 * slices_ * static_cast<double>(height.kernel * apart);
  if (problem.taps() == 1 && width.stride > 1) picked_ = width.stride == 2 ? 1.05 : 2.6;
  // By vectors, or half a vector.
  const double taps = static_cast<double>(problem.taps());
  const double rate = in_row == 1 ? 1.28 : in_row == 2 ? 2.3 : 1.2 * in_row;
  staged_vectors_ =
      static_cast<double>(depth.in * height.in * divide_up(width.in, machine.lanes) * width.stride);
  const std::int64_t tile = staged_tile(height.out, height.kernel);
  const std::int64_t computed = divide_up(height.out, tile) * tile;
  computed_vectors_ = slices_ * filters_ * in_row * static_cast<double>(computed * depth.kernel) *
                      (0.95 * static_cast<double>(height.kernel * width.kernel) + 2.3);
  const bool narrow = 2 * width.out <= machine.lanes;
  rolled_ = 30 + static_cast<double>(height.out) * (5 + (narrow ? 0.85 : rate) * taps);
}

double cycles_of_planes(const Problem& problem, const Machine& machine) {
  constexpr double kCall = 500;
  const double elements = static_cast<double>(problem.in_pixels() + problem.out_pixels());
  return static_cast<double>(problem.groups) *
             (1.35 * PlaneCycles(problem, machine).by_planes() + 1.33 * elements) +
         kCall;
}

}  // namespace fastconv
