#include "algorithms/groups_layout.hpp"

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/costs.hpp"
#include "core/border.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostTableColumns = 1 << 16;
constexpr std::int64_t kTaskMacs = 128 << 10;

// Sums that each input is multiplied into: the kernel has so many or more.
int sums_of(const Problem& problem) {
  const int filters = static_cast<int>(problem.out_channels);
  return filters <= 4 ? filters : filters <= 6 ? 6 : 8;
}

// To copy what has few products takes longer than it gains (69 -> 138 channels, 2x2, stride 2: 138
// us in place, 310 from blocks; 64 -> 64 in 32 groups, 3x3: 990, 735).
GroupSource source_of(const Problem& problem, bool reads_in_place, const Machine& machine) {
  constexpr std::int64_t kLeastProducts = 8;
  if (!reads_in_place) return GroupSource::staged;
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t products = problem.taps() * sums_of(problem) / (depth.stride * height.stride);
  return products >= kLeastProducts && width.stride == 1 && has_few_registers(problem, machine)
             ? GroupSource::blocks
             : GroupSource::x;
}

// Slices or rows of the input that outputs [first, end) of an axis see.
InputRange seen_inputs(const Problem& problem, const Axis& axis, std::int64_t first,
                       std::int64_t end) {
  InputRange seen;
  for (std::int64_t o = first; o < end; ++o) {
    for (std::int64_t k = 0; k < axis.kernel; ++k) {
      const std::int64_t source =
          source_index(problem.border, axis, o * axis.stride - axis.lo + k * axis.dilation);
      if (source >= 0) seen.add(source);
    }
  }
  if (seen.count() == 0) seen.first = seen.end = 0;
  return seen;
}

std::int64_t rows_in_cache(const Problem& problem, const GroupLayout& layout,
                           const Machine& machine) {
  const std::int64_t kernel = problem.axis[1].span();
  const std::int64_t row = problem.axis[2].in * layout.in * machine.element;
  const std::int64_t most =
      machine.l2 / 3 / std::max<std::int64_t>(row * problem.axis[0].kernel, 1);
  return std::max((most - kernel) / problem.axis[1].stride, kernel);
}

// Of the largest band of so many rows.
std::int64_t staged_elements(const Problem& problem, const GroupLayout& layout,
                             const StagedColumns& columns, std::int64_t rows) {
  const std::int64_t all_rows = problem.axis[0].out * problem.axis[1].out;
  std::int64_t most = 0;
  for (std::int64_t first = 0; first < all_rows; first += rows) {
    const GroupBand band(problem, first, std::min(first + rows, all_rows));
    most = std::max(most, band.slices.count() * band.rows.count());
  }
  return most * columns.positions * layout.pitch;
}

// Of vectors, outputs and rows, in products of other kernels.
struct GroupCosts {
  double product, kernel_row, store, route, row;
  double staged;  // an element, or a vector of a block
  double call;
};

GroupCosts costs_of_groups(const Problem& problem, const GroupLayout& layout,
                           const Machine& machine) {
  // With eight lanes sums go through memory, and zeros are blended in. Fitted to 500 random layers
  // each.
  if (layout.source == GroupSource::blocks) {
    constexpr double kProducts[] = {1.4, 0.7, 0.7, 0.9};
    const bool strips = layout.sums == 1 && problem.axis[2].dilation == 1;
    return {strips ? 0.4 : kProducts[layout.sums - 1], 6, 3, 6, 250, 3, 5000};
  }
  if (has_few_registers(problem, machine)) {
    constexpr double kProducts[] = {1.5, 0.6, 0.7, 0.9};
    return {kProducts[layout.sums - 1], 5.5, 7.8, 5.3, 90, 1.0, 2300};
  }
  // Several pixels of a vector lie across lines, and each load of theirs has one product.
  double product = layout.sums >= 6 ? 0.9 : layout.sums == 2 ? 1.3 : 1.1;
  if (layout.sums == 1) product = layout.pixels > 1 ? 3.7 : 1.25;
  return {product, 0, 4, 1.5, 100, 0.15, 0};
}

}  // namespace

GroupLayout::GroupLayout(const Problem& problem, bool reads_in_place, const Machine& machine)
    : lanes(machine.lanes),
      in(problem.groups * problem.in_channels),
      out(problem.groups * problem.out_channels),
      source(source_of(problem, reads_in_place && in >= lanes, machine)),
      groups(std::min(lanes / problem.in_channels, problem.groups)),
      blocks(divide_up(problem.groups, groups)),
      sums(sums_of(problem)),
      rounds(divide_up(problem.in_channels, problem.out_channels)) {
  if (source == GroupSource::staged && blocks == 1)
    pixels = std::clamp<std::int64_t>(lanes / in, 1, problem.axis[2].out);
  // A vector of one pixel is a cache line, or half.
  pitch = source == GroupSource::blocks ? lanes : pixels == 1 ? round_up(in, lanes) : in;
}

StagedColumns::StagedColumns(const Problem& problem, const GroupLayout& layout) {
  if (layout.in_place()) return;
  const Axis& width = problem.axis[2];
  const std::int64_t count = padded_columns(width) - 1, stride = width.stride;
  const std::int64_t phase = divide_up(count, stride);
  positions = phase * stride;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t to = i % stride * phase + i / stride;
    const std::int64_t source = source_index(problem.border, width, i - width.lo);
    position.push_back(to);
    if (!runs.empty()) {
      Run& last = runs.back();
      const bool follows = last.source < 0 ? source < 0 : source == last.source + last.count;
      if (to == last.to + last.count && follows) {
        ++last.count;
        continue;
      }
    }
    runs.push_back({to, source, 1});
  }
}

GroupBand::GroupBand(const Problem& problem, std::int64_t first_row, std::int64_t end_row)
    : first(first_row), end(end_row) {
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t d = first / height.out, last = (end - 1) / height.out;
  slices = seen_inputs(problem, depth, d, last + 1);
  const bool one = d == last;
  rows = seen_inputs(problem, height, one ? first % height.out : 0,
                     one ? (end - 1) % height.out + 1 : height.out);
}

GroupTasks deal_out_groups(const Problem& problem, const GroupLayout& layout,
                           const StagedColumns& columns, const Machine& machine) {
  const std::int64_t all_rows = problem.axis[0].out * problem.axis[1].out;
  GroupTasks tasks;
  tasks.rows = std::max<std::int64_t>(all_rows, 1);
  tasks.blocks = layout.blocks;
  if (machine.threads > 1) {
    const std::int64_t row_macs =
        std::max<std::int64_t>(problem.axis[2].out * layout.out * problem.terms(), 1);
    const std::int64_t enough =
        divide_up(4 * machine.threads, std::max<std::int64_t>(problem.batch, 1));
    tasks.rows =
        std::min(all_rows, std::max(divide_up(all_rows, enough), divide_up(kTaskMacs, row_macs)));
    const std::int64_t parts = divide_up(enough, divide_up(all_rows, tasks.rows));
    if (layout.source != GroupSource::staged && row_macs * tasks.rows > kTaskMacs)
      tasks.blocks = divide_up(layout.blocks, std::min(parts, layout.blocks));
  }
  // The blocks of a band find its input in L2.
  if (layout.source != GroupSource::staged && layout.blocks > 1)
    tasks.rows = std::min(tasks.rows, rows_in_cache(problem, layout, machine));
  if (!layout.in_place()) {
    const auto staged = [&] { return staged_elements(problem, layout, columns, tasks.rows); };
    while (tasks.rows > 1 && staged() * machine.element > machine.l2 / 2)
      tasks.rows = divide_up(tasks.rows, 2);
    tasks.staged = staged() + machine.lanes;
  }
  tasks.bands = divide_up(all_rows, tasks.rows);
  tasks.parts = divide_up(layout.blocks, tasks.blocks);
  return tasks;
}

const char* groups_accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers";
  if (problem.compute != Compute::f32) return "not float32";
  if (problem.groups == 1) return "one group";
  if (problem.in_channels > kMostGroupChannels || problem.out_channels > kMostGroupChannels)
    return "a group has more than eight channels or filters";
  if (problem.taps() > kMostChannelChain) return "the kernel is too large for one chain";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  if (padded_columns(problem.axis[2]) > kMostTableColumns) return "the rows are too long";
  return nullptr;
}

bool groups_suit(const Problem& problem, const Tensor& x) {
  return x.part == 0 && x.channel == size_of(problem.x_type);
}

double groups_cost(const Problem& problem, const Machine& machine) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (problem.in_channels > machine.lanes || problem.out_channels > machine.group_sums)
    return kNever;
  // Depthwise layers are filtered where they lie, or from rows that are staged alike.
  const bool depthwise = problem.in_channels == 1 && problem.out_channels == 1;
  if (depthwise &&
      (problem.groups >= machine.lanes || cost_of_few_channels(problem, machine) < kNever))
    return kNever;
  const GroupLayout layout(problem, same_storage(problem.x_type, problem.compute), machine);
  const double taps = static_cast<double>(problem.taps());
  const double sums = layout.sums, groups = static_cast<double>(problem.groups);
  const double outs = static_cast<double>(layout.out_vectors(problem));
  const double width = static_cast<double>(problem.axis[2].out);
  const double blocks = static_cast<double>(layout.blocks);
  const double vectors =
      blocks * static_cast<double>(divide_up(problem.axis[2].out, layout.pixels)) / width;
  const double pixels = static_cast<double>(problem.out_pixels());
  const GroupCosts costs = costs_of_groups(problem, layout, machine);
  const double route = costs.route * static_cast<double>(layout.rounds) * sums;
  const double kernel_rows = taps / static_cast<double>(problem.axis[2].kernel);
  double staging = 0;
  if (!layout.in_place()) {
    const Axis& row = problem.axis[2];
    const double positions = static_cast<double>(problem.axis[0].in * problem.axis[1].in * row.in);
    const bool by_blocks = layout.source == GroupSource::blocks;
    const double channels = by_blocks ? blocks : static_cast<double>(layout.in);
    const bool in_order = row.stride == 1 && same_storage(problem.x_type, problem.compute);
    staging = positions / pixels * (in_order ? costs.staged * channels : std::max(channels, 5.0));
  }
  const double terms = static_cast<double>(problem.terms());
  const double tile =
      taps * sums * costs.product + kernel_rows * costs.kernel_row + outs * (costs.store + route);
  const double all = vectors * tile + staging;
  // A kernel call, and its tables.
  const double rows = costs.row * blocks / width + costs.call / pixels;
  double packing = 0;
  if (!problem.keeps_weights) packing = 2 * static_cast<double>(problem.out_channels) / pixels;
  return (all + rows) / (groups * terms) + packing;
}

}  // namespace fastconv
