#include "algorithms/costs.hpp"

#include <algorithm>

#include "core/rounding.hpp"
#include "pack/stage.hpp"

namespace fastconv {
namespace {

// Of an axis in a patch of all outputs.
std::int64_t staged_positions(const Axis& axis) {
  const PatchAxis staged = PatchAxis::make(axis, 0, axis.kernel, PatchOrder::seen);
  return staged.phases * staged.length(axis.out);
}

// Elements of a strided input for each term and output pixel, and how wide they lie.
struct StridedInput {
  double elements = 0;
  double width = 1;

  explicit StridedInput(const Problem& problem) {
    const auto& [depth, height, w] = problem.axis;
    const bool last = problem.channels_last && problem.in_channels > 1;
    if (w.stride == 1 || problem.taps() == 1 || last) return;
    const auto seen = [](const Axis& axis) {
      return static_cast<double>(std::min(axis.in, staged_positions(axis)));
    };
    elements = seen(depth) * seen(height) * static_cast<double>(w.in) /
               static_cast<double>(problem.taps()) / static_cast<double>(problem.out_pixels());
    width = static_cast<double>(w.in);
  }
};

}  // namespace

double width_waste(const Problem& problem, const Machine& machine) {
  const std::int64_t out = problem.axis[2].out;
  return static_cast<double>((out + machine.lanes - 1) / machine.lanes * machine.lanes) /
         static_cast<double>(out);
}

// Channels last are taken apart: 3 -> 3, 3 x 3 on 256 x 256 takes 248 us, channels first 136, and a
// third of the difference is the store.
double cost_of_turning(const Problem& problem, const Machine& machine) {
  if (!problem.channels_last || problem.in_channels == 1) return 0;
  const double volume = problem.axis[2].out < machine.lanes || problem.axis[0].kernel == 1 ? 1.0
                        : has_strides(problem)                                             ? 1.5
                                                                                           : 1.2;
  const bool by_vectors = problem.in_channels % machine.lanes == 0 && !has_strides(problem);
  return (by_vectors ? 0.5 : 1.5) * volume * staged_share(problem) * 16 / machine.lanes;
}

double staged_share(const Problem& problem) {
  double positions = 1;
  // Beside the border of a stride of 1 each position is seen by many.
  for (const Axis& axis : problem.axis)
    positions *= static_cast<double>(axis.stride == 1 ? axis.in : staged_positions(axis));
  return positions / static_cast<double>(problem.taps() * problem.out_pixels());
}

double cost_of_picking(const Problem& problem, double element, double row, const Machine& machine) {
  const Axis& width = problem.axis[2];
  if (problem.channels_last || problem.taps() != 1 || width.stride == 1) return 0;
  return (element + row / static_cast<double>(width.out)) * 64 / (machine.lanes * machine.element);
}

double cost_of_slices(const Problem& problem, const Machine& machine) {
  constexpr double kRow = 7;  // cycles, a quarter of them for each of four rows of output
  const auto& [depth, height, width] = problem.axis;
  if (depth.kernel == 1) return 0;
  return kRow / static_cast<double>(width.out * width.kernel) * 16 / machine.lanes;
}

double cost_of_dealing(const Problem& problem, const Machine& machine) {
  // Whatever filters single planes deals them out.
  if (problem.in_channels == 1 && problem.out_channels == 1) return 0;
  const StridedInput input(problem);
  // Element by element with strides above 4.
  const double slow = problem.axis[2].stride > 4 ? 1.5 : 1.0;
  return slow * (0.4 + 25.0 / input.width) * input.elements * 16 / machine.lanes;
}

double cost_of_short_rows(const Problem& problem, bool turns, const Machine& machine) {
  const auto& [depth, height, width] = problem.axis;
  if (problem.taps() == 1 || width.out >= machine.lanes ||
      (problem.groups != 1 && problem.in_channels == 1))
    return 0;
  const bool last = problem.channels_last;
  const double row = !last ? 3 : turns ? 8 : 2, element = last && !turns ? 0.2 : 0.6;
  const double rows = static_cast<double>(depth.seen_by(depth.out) * height.seen_by(height.out));
  // Elements of a stride are counted already, channels first.
  const double each = width.stride > 1 && !last
                          ? row * static_cast<double>(std::min(width.stride, width.kernel))
                          : row + element * static_cast<double>(width.seen_by(width.out));
  return rows * each / static_cast<double>(problem.taps()) /
         static_cast<double>(problem.out_pixels());
}

double cost_of_whole_rows(const Problem& problem, const Machine& machine) {
  const StridedInput input(problem);
  const double bytes = input.elements * static_cast<double>(problem.terms()) *
                       static_cast<double>(problem.out_pixels()) * machine.element;
  const double each = bytes > static_cast<double>(machine.l2) ? 0.37 : 0.12;
  return (each + 10.0 / input.width) * input.elements * 16 / machine.lanes;
}

double cost_of_channels(const Problem& problem, const Machine& machine) {
  const bool depthwise = problem.in_channels == 1 && problem.out_channels == 1;
  if (machine.group_sums == 0 || !problem.channels_last || problem.groups == 1 ||
      (depthwise && problem.groups >= machine.lanes))
    return 0;
  // Of more channels, more lines.
  const double side_by_side = 0.3 * static_cast<double>(problem.groups * problem.in_channels);
  const double inputs =
      static_cast<double>(problem.in_pixels()) / static_cast<double>(problem.out_pixels());
  // Outputs are dealt out among those of other channels; of one pixel a call of another kernel for
  // each group costs more.
  const double outputs = problem.out_pixels() == 1 ? 0 : static_cast<double>(problem.out_channels);
  return (std::min(1.2 + side_by_side, 6.0) * inputs +
          std::min(0.6 + side_by_side, 3.0) * outputs) /
         static_cast<double>(problem.taps());
}

double cost_of_group(const Problem& problem, const Machine& machine) {
  const std::int64_t most = std::max(problem.in_channels, problem.out_channels);
  if (machine.group_sums == 0 || !problem.channels_last || problem.groups == 1 || most == 1 ||
      most > kMostGroupChannels)
    return 0;
  constexpr double kGroup = 80, kRow = 30;
  double staging = kGroup;
  if (problem.taps() > 1) {
    const auto& [depth, height, width] = problem.axis;
    // cost_of_channels has what pixels of one channel cost, that of a stride more than they do.
    const bool counted = problem.in_channels == 1 && width.stride > 1;
    const double row = counted ? kRow : kRow + static_cast<double>(width.in);
    staging += static_cast<double>(depth.in * height.in) * row;
  }
  return staging / static_cast<double>(problem.terms() * problem.out_pixels());
}

bool rows_share_loads(const Problem& problem) {
  const Axis& height = problem.axis[1];
  return height.out > 1 && height.kernel > height.stride;
}

bool has_few_registers(const Problem& problem, const Machine& machine) {
  return is_float(problem.compute) && machine.out_vecs < 4;
}

double slices_again(const Problem& problem, std::int64_t slices) {
  const Axis& depth = problem.axis[0];
  Axis box = depth;
  box.out = slices;
  return static_cast<double>(divide_up(depth.out, slices) * staged_positions(box)) /
         static_cast<double>(staged_positions(depth));
}

std::int64_t slices_of_box(const Problem& problem, const Machine& machine) {
  Axis box = problem.axis[0];
  const std::int64_t slice = problem.in_channels * staged_positions(problem.axis[1]) *
                             staged_positions(problem.axis[2]) * machine.element;
  // cost_of_short_rows has what short ones cost.
  if (problem.axis[2].out < machine.lanes) return std::max<std::int64_t>(box.out, 1);
  while (box.out > 1 && staged_positions(box) * slice > machine.l2 / 2)
    box.out = divide_up(box.out, 2);
  return std::max<std::int64_t>(box.out, 1);
}

// A tile of one vector of channels waits for its loads (one broadcast for one FMA), and one of two
// a little. The 1.3 is a guess for machines that were not measured (cpp/README.md, Costs).
OuterVectors outer_vectors(const Problem& problem, const Machine& machine) {
  const bool half = make_outer_panels(problem.out_channels, machine).half;
  const std::int64_t vectors =
      divide_up(problem.out_channels, machine.lanes) - (half ? std::int64_t{1} : 0);
  const std::int64_t tail = vectors % machine.out_vecs;
  const double tails[] = {0.0, machine.halved ? 1.1 : 1.3, 1.1 * 2, 1.07 * 3};
  // Alone, half a vector waits as well; others turn few channels for longer.
  const bool alone = vectors == 0 && (!problem.channels_last || problem.in_channels >= 16);
  const double halved = !machine.halved ? 1.1 : alone ? 0.72 : 0.6;
  const bool whole = problem.out_channels % machine.lanes * 2 == machine.lanes;
  const double stored = !half ? 0.0 : whole ? 0.6 : 1.0;
  return {static_cast<double>(vectors - tail), tails[tail] + (half ? halved : 0.0),
          static_cast<double>(vectors) + stored};
}

}  // namespace fastconv
