// What column_product costs, and which inputs it reads well.
#include <algorithm>
#include <limits>

#include "algorithms/columns_layout.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/tap_layout.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kFewChannels = 16;
constexpr double kTurn = 1.1;  // an element among its channels

}  // namespace

bool columns_suit(const Problem& problem, const Tensor& x) {
  // One channel may have any stride.
  if (problem.in_channels == 1 ? !problem.channels_last : !has_unit_channels(problem, x))
    return true;
  // Channels last are transposed on the way in and out. Where a picture is far smaller than the
  // weights, that costs less than packing them for a kernel that would read it as it lies.
  constexpr std::int64_t kMostPixels = 64, kMostPointwise = 256;
  const std::int64_t pixels = problem.out_pixels();
  if (problem.groups != 1 || (problem.keeps_weights && pixels != 1)) return false;
  if (pixels <= kMostPixels) return true;
  const std::int64_t in = problem.in_channels, out = problem.out_channels;
  return problem.taps() == 1 && !problem.padded() && pixels <= kMostPointwise &&
         4 * pixels * (in + out) <= 3 * in * out;
}

// The product, lanes computed in vain included, and the copies, of which all output channels share
// one. The factors are measured against outer_product and pixel_lanes: they pack weights, stage
// strided patches just as well, and read a patch without a copy for each tap. A tile stores a few
// lines to each of many planes, which few terms do not hide (3 -> 64, 3 x 3, on 224 x 224: 70
// GFLOP/s, four planes at a time 93).
double columns_cost(const Problem& problem, const Machine& machine) {
  if (machine.column_vecs[0] == 0 || machine.chain < kColumnTerms)
    return std::numeric_limits<double>::infinity();
  const ColumnPanels panels = make_column_panels(problem.out_pixels(), machine);
  const bool dots = panels.is_rest_alone();
  // In between outer_product is as fast.
  const bool picks = problem.taps() == 1 && problem.axis[2].stride > 1;
  const bool few = problem.out_channels < kFewChannels && !(picks && !problem.channels_last) &&
                   (problem.out_channels < 6 || problem.out_channels > 12 ||
                    !lines_come_again(problem, machine));
  if (dots ? problem.terms() < 4 * machine.lanes : few)
    return std::numeric_limits<double>::infinity();
  const double lanes = machine.lanes, pixels = static_cast<double>(panels.pixels);
  const double computed =
      static_cast<double>(panels.computed()) + kDotCost * static_cast<double>(panels.rest);
  const double vectors = static_cast<double>(problem.out_channels) / lanes;
  const double multiply = vectors * computed / pixels;
  // Channels last are turned, on the way in and out.
  const double turned = problem.channels_last
                            ? kTurn *
                                  static_cast<double>(problem.in_channels + problem.out_channels) /
                                  static_cast<double>(problem.terms())
                            : 0.0;
  if (!dots && !needs_column_patch(problem)) {
    // Stores of whole lines are slower than those of pointwise_lanes, beyond the caches most
    // (16 -> 256 on 112 x 112: 1290 us, there 1090).
    const double bytes = pixels * static_cast<double>(problem.out_channels * machine.element);
    const bool whole_lines = machine.lanes * machine.element >= 64;
    const double store = !whole_lines                                    ? 0.0
                         : bytes > 8.0 * static_cast<double>(machine.l2) ? 3.0
                                                                         : 1.0;
    return (0.92 + store / static_cast<double>(problem.terms())) * multiply + 1.5 / lanes + turned;
  }
  if (column_patch_of_a_panel(problem, panels) * machine.element > machine.l2 / 2)
    return std::numeric_limits<double>::infinity();
  // Each group is a task with a patch of its own.
  constexpr double kGroup = 1000;
  const double groups =
      problem.groups == 1 ? 0.0 : kGroup / pixels / static_cast<double>(problem.terms());
  const bool counted = tap_product_accepts(problem) == nullptr;
  // Dot products read each weight once, where it lies. A border is staged row by row: a plan of
  // 106 -> 2 by 4 x 4 x 4 on 3 x 3 x 3 20 us, most of it for that, by tap_product 5.
  if (dots && panels.is_tiny()) {
    // Packed weights are read as fast by outer_product whose tile of a pixel has four vectors; of
    // two its sums wait for each other (Zen 3, 2048 channels to 1000: 300 us, here 205).
    if (problem.keeps_weights && problem.taps() == 1 && machine.out_vecs > 2)
      return std::numeric_limits<double>::infinity();
    const bool others = counted && problem.keeps_weights;
    const double rows = others ? 30.0 / static_cast<double>(problem.axis[2].kernel) : 0.0;
    return 0.5 * multiply + groups + rows;
  }
  // What others spend on packing, where their estimate leaves it out. Of one image: what is chosen,
  // and so how sums are rounded, must not depend on the batch.
  // Many weights of kernels one wide take four times as long, where pixel_lanes is the other (Zen
  // 3, AVX2, calls, 160 channels to as many, 7 x 1 on 17 x 17: 1640 us, here 1490).
  constexpr std::int64_t kMany = 48;
  const bool many = !problem.keeps_weights && problem.axis[2].kernel == 1 && problem.taps() > 1 &&
                    problem.in_channels >= kMany && problem.out_channels >= kMany &&
                    !problem.channels_last && !has_strides(problem) &&
                    problem.compute == Compute::f32 && has_few_registers(problem, machine);
  const double packing = counted ? 0.0 : (many ? 4.0 : 1.0) * packing_of(problem, vectors);
  if (dots) {
    // Of some pixels a weight is read more than once, and what is saved is the packing, which the
    // images of a batch share.
    if (problem.keeps_weights) return std::numeric_limits<double>::infinity();
    const double channels = static_cast<double>(problem.out_channels);
    const double gather = 1.2, sums = 10.0 * channels / static_cast<double>(problem.terms());
    return multiply + gather + sums + groups + turned + cost_of_dealing(problem, machine) +
           cost_of_short_rows(problem, true, machine) - packing;
  }
  const double width = static_cast<double>(problem.axis[2].out);
  if (problem.taps() == 1) {
    const std::int64_t stride = problem.axis[2].stride;
    const double picking = stride == 2
                               ? cost_of_picking(problem, 0.6, 9, machine)
                               : cost_of_picking(problem, 1.6, stride > 3 ? 36 : 18, machine);
    // Panels of few terms end in stores that nothing hides (Zen 3, AVX2, a stride of 2 on 112 x
    // 112: 2 channels to 64 138 us, 69 by pixel_lanes; 16 to 64 263 and 249).
    constexpr double kManyPixels = 128;
    const double store = has_few_registers(problem, machine) && pixels >= kManyPixels
                             ? 7.0 / static_cast<double>(problem.terms())
                             : 0.0;
    return (0.96 + store) * multiply + 0.8 / lanes + 1.0 / width + groups + turned + picking -
           packing;
  }
  const double copies = problem.axis[2].stride > 1
                            ? 2.0 / lanes + 3.0 / width + cost_of_dealing(problem, machine)
                            : 4.0 / lanes + 6.0 / width;
  const double terms = static_cast<double>(std::min(problem.terms(), kColumnTerms));
  return (0.98 + kColumnStore / terms) * multiply + copies + groups + turned - packing;
}

}  // namespace fastconv
