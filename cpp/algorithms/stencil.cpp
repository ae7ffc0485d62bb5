// Direct convolution with output pixels in the lanes, for few output channels: image filters,
// depthwise and grouped layers, thin first layers (kernels/pixel_lanes.hpp), or for one with rows
// shared between outputs (kernels/row_stencil.hpp). Pointwise layers are read as they lie.
#include <algorithm>
#include <limits>

#include "algorithms/candidates.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

const char* accepts(const Problem&) { return nullptr; }

constexpr double kPackRow = 0.2;  // of packing a vector of them

// One row of output channels loads a vector for each FMA; four share three loads.
double multiplications(const Problem& problem, const Machine& machine) {
  constexpr double kRowCost[] = {0.0, 1.6, 1.15 * 2, 1.15 * 3, 1.02 * 4};
  const std::int64_t full = problem.out_channels / machine.rows;
  const std::int64_t tail = problem.out_channels % machine.rows;
  return static_cast<double>(full) * kRowCost[machine.rows] + kRowCost[tail];
}

// Channels last are turned both ways and read again for each four filters; with few registers that
// shows (Zen 3, AVX2, 160 channels to as many, 7 x 1 on 17 x 17: 39 GFLOP/s, by outer_product 45).
double cost_of_many_filters(const Problem& problem, const Machine& machine) {
  constexpr std::int64_t kMany = 32;
  const bool many = problem.in_channels >= kMany && problem.out_channels >= kMany;
  return many && problem.channels_last && problem.taps() > 1 && problem.compute == Compute::f32 &&
                 has_few_registers(problem, machine)
             ? 1.06
             : 1.0;
}

// What the lanes compute in vain: rows are rounded up to whole vectors and stored as they are
// summed, or run through with the kernel's width between them and stored in a pass of its own
// (Tiling::flat).
double cost(const Problem& problem, const Machine& machine) {
  const double multiply = multiplications(problem, machine);
  const double channels = static_cast<double>(problem.out_channels);
  const double terms = static_cast<double>(problem.terms());

  const Axis& width = problem.axis[2];
  const double out = static_cast<double>(width.out);
  const double between =
      out + static_cast<double>(width.span() - 1) / static_cast<double>(width.stride);
  const double rounded =
      splices_rows(problem, machine)
          ? out
          : static_cast<double>((width.out + machine.lanes - 1) / machine.lanes * machine.lanes);
  const bool direct = !problem.channels_last && width.out >= machine.lanes;
  // Rows shorter than a vector are stored with a mask.
  const double pass = width.out >= machine.lanes ? kLanesPass : kLanesMask * machine.lanes / out;
  const double apart = (multiply + (direct ? kLanesStore : pass) * channels / terms) * rounded;
  const double through = (multiply + pass * channels / terms) * between;
  double cost = std::min(apart, through) / out / machine.lanes;
  // A pointwise layer of many channels uses what it stages but once for each output channel.
  if (problem.taps() == 1 && problem.in_channels > 8) cost *= 1.15;
  // With a stride, taps share fewer of the lines that come from L2.
  if (width.stride > 1 && problem.in_channels > 32) cost *= 1.03;
  // One vector of pixels: a tile of four sums waits for its additions (16 pixels: 0.6 of the peak).
  if (problem.out_pixels() <= machine.lanes && problem.out_channels >= 4) cost *= 1.4;
  cost *= cost_of_many_filters(problem, machine);
  if (problem.channels_last) cost += kOuterTranspose * channels / terms / machine.lanes;
  cost +=
      cost_of_dealing(problem, machine) +
      slices_again(problem, slices_of_box(problem, machine)) * cost_of_turning(problem, machine);
  if (problem.in_channels == 1) cost += cost_of_channels(problem, machine);
  // Zen 3, AVX2: 48 channels to 4 on 112 x 112, a stride of 2, 161 us, by column_product 207.
  const bool picks_for_less = has_few_registers(problem, machine) && width.stride == 2 &&
                              width.out >= 28 && problem.out_channels >= 4;
  cost += cost_of_short_rows(problem, true, machine) + cost_of_group(problem, machine) +
          (picks_for_less ? cost_of_picking(problem, 0.3, 18, machine)
                          : cost_of_picking(problem, 0.7, width.stride == 2 ? 22 : 6, machine));
  // Rows of weights are packed one by one.
  const double vectors = static_cast<double>(divide_up(problem.out_channels, machine.lanes));
  return cost + packing_cost(problem, machine) * std::min(kPackRow * channels / vectors, 1.0);
}

Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  return make_tiling(problem, x, Staging::patch, Family::lanes, false, machine);
}

const char* accepts_pointwise(const Problem& problem) {
  if (problem.taps() != 1 || problem.padded() || problem.axis[2].stride != 1 ||
      problem.axis[2].interleave != 1)
    return "more than one tap, a border or a stride";
  if (problem.in_channels < 3 && problem.out_channels == 1) return "a plane of its own";
  if (problem.channels_last || !same_storage(problem.x_type, problem.compute))
    return "elements lie apart, or are of another type";
  return takes_whole_sums(problem) ? nullptr : "a conversion, or an activation";
}

// Against column_product, which copies (worth as much as two output channels) and stores its sums
// but once for all channels: 64 -> 16, 32, 64 channels on 56 x 56 take 61, 120, 243 us, there 76,
// 132, 252; 256 -> 1 channel 57 us and 115. With vectors shorter than a cache line the rest of the
// line is gone by the time of the next tile (AVX2, 64 -> 64 on 64 x 64: 479 us against 376), and
// what lies beyond the caches it asks for in time (256 -> 32 on 128 x 128: 5.4 ms against 4.1).
double cost_pointwise(const Problem& problem, const Machine& machine) {
  const Axis& width = problem.axis[2];
  if (width.out < machine.lanes) return std::numeric_limits<double>::infinity();
  const double channels = static_cast<double>(problem.out_channels);
  const double in = static_cast<double>(problem.in_channels);
  double multiply = multiplications(problem, machine) * (0.95 - 0.5 / in);
  const double bytes = in * static_cast<double>(problem.axis[0].out * problem.axis[1].out) *
                       static_cast<double>(width.out) * machine.element;
  const double far = 8.0 * static_cast<double>(machine.l2);
  // Filters of a plane, unless their output leaves L3 (AVX2, 54 -> 108 on 57 x 57: 107 us, by plane
  // 60; 1 -> 4 on 300 x 300 80 and 56, on 1000 x 1000 965 and 1080).
  const double out = bytes * channels * static_cast<double>(problem.groups * problem.batch);
  if (has_few_registers(problem, machine) && problem.in_channels == 1 &&
      problem.out_channels <= kMostFilters && out <= 3 * far)
    return 2 * channels * width_waste(problem, machine) / machine.lanes;
  const bool many = problem.out_channels > machine.rows;
  const bool by_lines = machine.lanes * machine.element >= 64;
  if (many && ((!by_lines && in > 16) || bytes > far))
    multiply *= lines_come_again(problem, machine) ? 2.0 : 1.3;
  return (multiply * width_waste(problem, machine) - std::min(1.7, 0.3 * channels)) / machine.lanes;
}

bool suits_pointwise(const Problem& problem, const Tensor& x) {
  return x.axis[2] == size_of(problem.compute) && can_read_in_place(problem, x);
}

const char* accepts_rows(const Problem& problem) {
  if (problem.out_channels != 1) return "a group has more than one output channel";
  if (!has_neighbouring_rows(problem)) return "the dilation does not divide the stride";
  return nullptr;
}

// Each load feeds up to four output rows, where there are that many and the kernel is so high.
double cost_rows(const Problem& problem, const Machine& machine) {
  if (machine.chain < problem.terms()) return std::numeric_limits<double>::infinity();
  const double turning =
      problem.groups == 1 || problem.taps() == 1
          ? kTurnPlane * slices_again(problem, 1) * cost_of_turning(problem, machine)
          : 0.0;
  const double row = rows_share_loads(problem) ? 1.15 : 1.7;
  return row * width_waste(problem, machine) / machine.lanes + cost_of_slices(problem, machine) +
         turning + cost_of_dealing(problem, machine) + cost_of_short_rows(problem, true, machine) +
         cost_of_channels(problem, machine) + cost_of_picking(problem, 0.7, 22, machine);
}

Tiling tile_rows(const Problem& problem, const Tensor& x, const Machine& machine) {
  return make_tiling(problem, x, Staging::patch, Family::rows, false, machine);
}

}  // namespace

// With few registers pixel_lanes is faster (Zen 3, 64 channels to one, 80 x 80: 3 x 3 748 us and
// 466, with a stride of 2 352 and 233; 7 x 7 the same): of 9000 random layers none was run so.
const Candidate row_stencil = {Algorithm::direct, "row_stencil", accepts_rows, cost_rows,
                               tile_rows,         nullptr,       nullptr,      has_few_registers};
const Candidate pointwise = {
    Algorithm::direct, "pointwise_lanes", accepts_pointwise, cost_pointwise, tile,
    nullptr,           suits_pointwise};
const Candidate stencil = {Algorithm::direct, "pixel_lanes", accepts, cost, tile};

}  // namespace fastconv
