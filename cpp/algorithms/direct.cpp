// Direct convolution with output channels in the lanes: each pixel of the staged patch is broadcast
// to a vector of weights (kernels/outer_product.hpp).

#include <algorithm>

#include "algorithms/candidates.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/tap_layout.hpp"

namespace fastconv {
namespace {

const char* accepts(const Problem&) { return nullptr; }

double cost(const Problem& problem, const Machine& machine) {
  const OuterVectors vectors = outer_vectors(problem, machine);
  const double store = problem.channels_last ? kOuterStore : kOuterTranspose;
  // A group costs as much as a few products, whatever it is.
  const bool narrow = problem.groups > 1 && problem.channels_last && machine.group_sums > 0 &&
                      problem.in_channels <= kMostGroupChannels &&
                      problem.out_channels <= kMostGroupChannels;
  // Taps of a stride share little of what is copied for them.
  const bool copies = problem.channels_last && problem.groups == 1 && problem.in_channels > 1 &&
                      problem.taps() > 1 && has_strides(problem) &&
                      problem.out_pixels() > kFewPixels;
  const double copied =
      copies ? 64.0 / (machine.lanes * machine.element) * staged_share(problem) : 0.0;
  double group = narrow ? 10.0 / static_cast<double>(problem.terms()) : 0.0;
  // Single elements, as channels of their own. Of more filters the others cost as much again.
  if (narrow && problem.in_channels == 1 && problem.out_channels <= 2 && problem.taps() > 1) {
    group += 30.0 * static_cast<double>(problem.in_pixels()) /
             static_cast<double>(problem.out_pixels() * problem.terms());
  }
  return group + cost_of_group(problem, machine) + 1.05 * vectors.whole + vectors.tail +
         store * vectors.stored / static_cast<double>(problem.terms()) +
         cost_of_whole_rows(problem, machine) + cost_of_picking(problem, 1.5, 32, machine) +
         std::max(copied, cost_of_short_rows(problem, false, machine)) +
         packing_cost(problem, machine);
}

// Copying pays where each element is used by several taps; a pointwise layer is read as it lies.
Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  // One channel is first and last; pixels that are read in place need no copy.
  const bool channels_last =
      has_unit_channels(problem, x) &&
      (problem.in_channels > 1 || (problem.channels_last && problem.taps() == 1));
  Staging staging = Staging::patch;
  if (problem.taps() == 1)
    staging = channels_last && can_read_in_place(problem, x) ? Staging::in_place : Staging::columns;
  return make_tiling(problem, x, staging, Family::outer, channels_last, machine);
}

}  // namespace

const Candidate direct = {Algorithm::direct, "outer_product", accepts, cost, tile};

}  // namespace fastconv
