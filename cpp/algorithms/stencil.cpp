// Direct convolution with output pixels in the lanes, for few output channels: image filters,
// depthwise and grouped layers, thin first layers (kernels/pixel_lanes.hpp).
#include "algorithms/candidates.hpp"

namespace fastconv {
namespace {

const char* accepts(const Problem&) { return nullptr; }

// One row of output channels loads a vector for each FMA; four share three loads.
double cost(const Problem& problem, const Machine& machine) {
  constexpr double kRowCost[] = {0.0, 1.6, 1.25 * 2, 1.15 * 3, 1.1 * 4};
  const std::int64_t full = problem.out_channels / machine.rows;
  const std::int64_t tail = problem.out_channels % machine.rows;
  const double multiply = static_cast<double>(full) * kRowCost[machine.rows] + kRowCost[tail];

  // What the lanes compute in vain: rows are rounded up to whole vectors, or run through with the
  // kernel's width between them.
  const Axis& width = problem.axis[2];
  const double out = static_cast<double>(width.out);
  const double between = out + static_cast<double>((width.kernel - 1) * width.dilation) /
                                   static_cast<double>(width.stride);
  const double rounded =
      static_cast<double>((width.out + machine.lanes - 1) / machine.lanes * machine.lanes);
  const double waste = (between < rounded ? between : rounded) / out;
  return multiply * waste / machine.lanes;
}

Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  return make_tiling(problem, x, Staging::patch, Family::lanes, false, machine);
}

}  // namespace

const Candidate stencil = {"direct", "pixel_lanes", accepts, cost, tile};

}  // namespace fastconv
