#include "algorithms/flat_layout.hpp"

#include <algorithm>
#include <limits>

#include "algorithms/channels.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "kernels/args.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostOut = 4096;  // whose weights L2 holds
constexpr std::int64_t kMostStride = 16;
constexpr std::int64_t kFewChannels = 16;        // of a group, that are parted anywhere
constexpr std::int64_t kLeastBytes = 128 << 10;  // of which a call takes more than to be set up
constexpr std::int64_t kMostRepeated = 8;        // filters of a channel
constexpr std::int64_t kFromMemory = 28;         // times what L2 holds: of an image, in and out

bool is_depthwise(const Problem& problem) {
  return problem.in_channels == 1 && problem.out_channels == 1;
}

// Whether to stage the ends of rows alone takes less than whole ones: each is a call more for four
// rows.
bool pays_to_part(const Problem& problem) {
  constexpr std::int64_t kLeastElements = 1024;
  const std::int64_t inner = outputs_inside(problem.axis[2]).count();
  return 4 * inner >= 3 * problem.axis[2].out && inner * problem.groups >= kLeastElements;
}

bool shares_rows(const Problem& problem) {
  const Axis& height = problem.axis[1];
  return height.kernel >= kFlatShared && height.stride == 1 && height.dilation == 1 &&
         height.out >= kFlatRows;
}

}  // namespace

FlatAxis::FlatAxis(const Axis& axis) {
  for (std::int64_t k = 0; k < axis.kernel; ++k) {
    const std::int64_t position = k * axis.dilation, residue = position % axis.stride;
    const auto found = std::find_if(phases.begin(), phases.end(),
                                    [&](const Phase& p) { return p.residue == residue; });
    const std::int64_t index = found - phases.begin();
    if (found == phases.end()) phases.push_back({residue});
    phase.push_back(index);
    shift.push_back(position / axis.stride);
    Phase& own = phases[static_cast<std::size_t>(index)];
    own.reach = std::max(own.reach, shift.back());
  }
}

FlatLayout::FlatLayout(const Problem& problem, const Tensor& x, std::int64_t room,
                       const Machine& machine)
    : in(problem.groups * problem.in_channels),
      out(problem.groups * problem.out_channels),
      axis{FlatAxis(problem.axis[0]), FlatAxis(problem.axis[1]), FlatAxis(problem.axis[2])},
      step(flat_step(problem, machine)),
      pixel(step > 0 ? in : out),
      channels(step > 0 ? 1 : problem.in_channels),
      w_pitch(out + (step > 0 ? machine.lanes : room)) {
  const auto& [depth, height, width] = problem.axis;
  least_inner = step > 0 ? 1 : divide_up(room, out);  // what lies behind x may not be read
  if ((step > 0 || is_depthwise(problem)) && width.stride == 1 &&
      channels_lie_side_by_side(problem, problem.x_type, x) && x.axis[2] == in * machine.element) {
    const TapSpan inside = outputs_inside(width);
    const bool all = inside.count() == width.out;
    if (inside.count() >= least_inner && (all || (step == 0 && pays_to_part(problem)))) {
      inner = inside.first;
      inner_end = inside.last;
    }
  }
  has_fill = problem.border == Border::constant &&
             (depth.lo != 0 || depth.hi != 0 || height.lo != 0 || height.hi != 0);
  const std::int64_t all_rows = depth.out * height.out;
  columns = std::max<std::int64_t>(width.out, 1);
  const auto staged_row = [&] {
    if (in_place(problem)) return std::int64_t{0};
    const std::int64_t widest =
        inner_end > inner ? std::max({inner, width.out - inner_end, least_inner}) : columns;
    return round_up(axis[2].slots(std::min(widest, columns)) * pixel + 2 * room, 16);
  };
  const auto bytes_of = [&](std::int64_t rows_seen) {
    const auto place = static_cast<std::int64_t>(sizeof(void*));
    return rows_seen * (channels * staged_row() * machine.element + place);
  };
  // Slices of volumes, which are staged whole then, had better fit.
  shares = shares_rows(problem);
  if (shares && depth.out > 1) {
    shares = bytes_of(axis[0].slots(1) * axis[1].slots(height.out)) <= machine.l2;
    if (shares) slice_rows = height.out;
  }
  const std::int64_t macs = out * problem.terms();  // of a pixel
  // Enough for every thread, and not too much between two looks at the clock.
  const std::int64_t enough =
      machine.threads > 1 ? divide_up(4 * machine.threads, std::max<std::int64_t>(problem.batch, 1))
                          : 1;
  std::int64_t rows = std::max<std::int64_t>(all_rows, 1);
  const auto halve = [](std::int64_t& n, std::int64_t unit) {
    n = round_up(divide_up(n, 2), unit);
  };
  const auto too_few = [&] {
    return rows * columns * macs > kTaskMacs &&
           divide_up(all_rows, rows) * divide_up(width.out, columns) < enough;
  };
  const std::int64_t narrowest = std::max<std::int64_t>(divide_up(64 * room, out), 1);
  const std::int64_t least = slice_rows > 1 ? slice_rows : kFlatRows;
  const auto bytes = [&] {
    bands = std::clamp<std::int64_t>(divide_up(all_rows, rows), 1,
                                     std::max<std::int64_t>(all_rows / least, 1));
    most_slots = 0;
    for (std::int64_t band = 0; band < bands; ++band)
      most_slots = std::max(most_slots, slots(box(problem, band, 0)));
    row_pitch = staged_row();
    return bytes_of(most_slots);
  };
  while (rows > kFlatRows && (too_few() || bytes() > machine.l2 / 2)) halve(rows, kFlatRows);
  const auto is_long = [&] { return kFlatRows * columns * out * machine.element > machine.l2; };
  while (columns > narrowest && (too_few() || is_long() || bytes() > machine.l2 / 2))
    halve(columns, 1);
  bytes();
  blocks = divide_up(std::max<std::int64_t>(width.out, 1), columns);
  columns = divide_up(std::max<std::int64_t>(width.out, 1), blocks);
}

FlatBox FlatLayout::box(const Problem& problem, std::int64_t band, std::int64_t block) const {
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t begin = first_row(problem, band), end = first_row(problem, band + 1);
  const std::int64_t d = begin / height.out, slices = (end - 1) / height.out + 1 - d;
  const std::int64_t h = slices == 1 ? begin % height.out : 0, p = block * columns;
  return {{d, h, p},
          {slices, slices == 1 ? end - begin : height.out, std::min(columns, width.out - p)}};
}

std::int64_t flat_step(const Problem& problem, const Machine& machine) {
  const std::int64_t lanes = machine.lanes, channels = problem.in_channels;
  if (machine.group_sums == 0 || problem.taps() > 1 || is_depthwise(problem) || channels > lanes)
    return 0;
  // Whole vectors of filters are left to outer_product.
  if (problem.out_channels == lanes && channels > 3) return 0;
  const std::int64_t step = std::min(lanes / problem.out_channels, 2 * lanes / channels);
  // One filter else has its channels parted as they are staged; choosing of two vectors takes
  // longer with eight lanes.
  const std::int64_t least = problem.out_channels > 1 ? 1 : lanes < 16 ? 6 : 3;
  return step < least ? 0 : step;
}

bool flat_is_pointwise(const Problem& problem) {
  return std::all_of(problem.axis.begin(), problem.axis.end(), [](const Axis& axis) {
    return axis.kernel == 1 && axis.stride == 1 && axis.lo == 0 && axis.hi == 0;
  });
}

bool flat_is_one_row(const Problem& problem, const Tensor& tensor, bool is_output) {
  const std::int64_t of_group = is_output ? problem.out_channels : problem.in_channels;
  std::int64_t pitch =
      problem.groups * of_group * size_of(is_output ? problem.y_type : problem.x_type);
  for (std::size_t a = 3; a-- > 0; pitch *= problem.axis[a].in)
    if (problem.axis[a].in != 1 && tensor.axis[a] != pitch) return false;
  return true;
}

Problem flat_as_one_row(const Problem& problem) {
  Problem row = problem;
  row.axis = {};
  row.axis[2].in = row.axis[2].out = problem.out_pixels();
  return row;
}

const char* flat_accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers";
  if (!is_float(problem.compute)) return "not floating-point numbers";
  if (problem.groups == 1 && !flat_is_pointwise(problem)) return "one group of several taps";
  if (problem.terms() > kMostChannelChain) return "the sum is too long for one chain";
  if (problem.groups * problem.out_channels > kMostOut) return "more than 4096 output channels";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  for (const Axis& axis : problem.axis)
    if (axis.stride > kMostStride) return "the stride is too long";
  return nullptr;
}

bool flat_suits(const Problem& problem, const Tensor& x) {
  return x.part == 0 && x.channel == size_of(problem.x_type) &&
         (!same_storage(problem.x_type, problem.compute) ||
          channels_lie_side_by_side(problem, problem.x_type, x));
}

// Cycles of an image without strides, as channel_lanes and as flat_lanes filter it; fitted to 420
// random layers with AVX-512 (docs/tuning.md).
bool is_cheaper_than_channel_lanes(const Problem& problem, const Machine& machine) {
  const auto& [depth, height, width] = problem.axis;
  const bool is_cut = problem.groups % machine.lanes != 0;
  const double pixels = static_cast<double>(problem.out_pixels());
  const double kernel_rows = static_cast<double>(height.out * height.kernel);
  const double vecs = static_cast<double>(problem.groups) / machine.lanes;
  const double vector = machine.lanes * machine.element == 64 ? 1 : 0.6;
  // Loads of pixels that begin within a line meet two.
  const bool is_near = width.kernel > 1 && width.dilation == 1;
  const bool rolls = machine.channel_vecs > 2 && is_near && width.kernel == 3 && height.kernel == 3;
  const double of_channels = rolls ? (is_cut ? 1.0 : 0.7) : is_near ? 1.2 : 1.5;
  const double shared =
      shares_rows(problem)
          ? static_cast<double>(height.kernel / kFlatShared * kFlatShared) / height.kernel
          : 0;
  const double terms = vector * static_cast<double>(problem.terms());
  const double channels = static_cast<double>(divide_up(problem.groups, machine.lanes)) *
                          (pixels * (of_channels * terms + 8) + 16 * kernel_rows);
  constexpr double kCall = 2400;
  double flat = kCall + pixels * vecs * ((2.1 - 0.8 * shared) * terms + 4.7) + 16 * kernel_rows;
  if (width.lo > 0 || width.hi > 0)
    flat += 5 * vector * vecs * static_cast<double>(height.in * (width.in + width.lo + width.hi));
  // Weights of all channels are read for each tile.
  const std::int64_t weights = problem.groups * problem.terms() * machine.element;
  return (weights > machine.l1 / 2 ? 1.3 : 1.0) * flat < channels;
}

// How many times as long channel_lanes takes with AVX2, for whole vectors of channels: the mean of
// 750 random layers (docs/tuning.md).
double gain_with_few_registers(const Problem& problem, const Machine& machine, std::int64_t image) {
  constexpr std::int64_t kSizes = 3;
  constexpr double kPointwise[kSizes] = {1.1, 1.3, 2.2};
  // Of images beyond so many times what L2 holds, and of smaller ones; taps side by side, or
  // dilated.
  struct Gain {
    double near[kSizes], dilated[kSizes];
  };
  constexpr Gain kInPlace = {{1.1, 1.2, 1.75}, {0.97, 1.03, 1.3}};
  constexpr Gain kParted = {{0.97, 1.0, 1.45}, {0.97, 0.93, 1.35}};
  constexpr Gain kStaged = {{0.9, 0.9, 0.9}, {0.6, 0.6, 0.6}};
  const Axis& width = problem.axis[2];
  const std::size_t size = image > 16 * machine.l2 ? 2 : image > 2 * machine.l2 ? 1 : 0;
  if (problem.taps() == 1) return kPointwise[size];
  const bool bordered = width.lo > 0 || width.hi > 0;
  const Gain& gain = !bordered ? kInPlace : pays_to_part(problem) ? kParted : kStaged;
  const bool dilated = problem.axis[0].dilation * problem.axis[1].dilation * width.dilation > 1;
  const double seven = problem.compute == Compute::f32 && width.kernel == 7 ? 0.85 : 1;
  if (!dilated) return gain.near[size] * seven;
  return gain.dilated[size] * (width.kernel >= 5 ? 0.88 : 1);
}

// Of layers that channel_lanes filters as well: where its vectors are cut by the end of a pixel,
// and where memory is what counts, which is read and written in order here. As everywhere, one
// image decides: the batch must not, for groups of several channels add up in another order
// elsewhere.
bool beats_channel_lanes(const Problem& problem, const Machine& machine) {
  const auto& [depth, height, width] = problem.axis;
  const bool is_strided = std::max({depth.stride, height.stride, width.stride}) > 1;
  const std::int64_t image = image_bytes(problem, machine.element);
  const bool is_cut = problem.groups % machine.lanes != 0;
  const bool few_registers = has_few_registers(problem, machine);
  // What is read once comes from afar as fast as it is read in order (AVX2, 107 channels of 193 x
  // 193, stride 2: 3770 us, 1900). With longer vectors not measured.
  if (problem.taps() == 1 && is_strided && few_registers && image > kFromMemory * machine.l2)
    return true;
  if (is_strided && (problem.taps() > 1 || 2 * problem.groups > 3 * machine.lanes)) return false;
  if (few_registers && !is_strided) {
    const double lanes = static_cast<double>(round_up(problem.groups, machine.lanes));
    return image >= kLeastBytes / 4 && gain_with_few_registers(problem, machine, image) * lanes >
                                           static_cast<double>(problem.groups);
  }
  if (problem.taps() == 1)
    return image >= kLeastBytes &&
           ((is_cut && problem.groups < 8 * machine.lanes) || (image > machine.l2 && !is_strided));
  if (depth.kernel > 1) {
    const std::int64_t most = problem.taps() <= 27 ? 3 : 2;
    return image >= kLeastBytes && is_cut && problem.groups < most * machine.lanes;
  }
  // Of few products from beyond L2, of more from memory.
  const std::int64_t far = problem.taps() <= 4             ? 5
                           : is_cut && problem.taps() <= 9 ? 16
                                                           : kFromMemory;
  if (problem.taps() <= 25 && image > far * machine.l2) return true;
  return image >= kLeastBytes / 4 && !leaves_out_border(problem) &&
         is_cheaper_than_channel_lanes(problem, machine);
}

// Of flat_groups. All pixels are one row where there is neither a stride nor a border.
double cost_of_steps(const Problem& problem, const Machine& machine) {
  const std::int64_t step = flat_step(problem, machine), pixels = problem.out_pixels();
  const std::int64_t rows =
      flat_is_pointwise(problem) ? kFlatRows : divide_up(pixels, problem.axis[2].out);
  const std::int64_t steps = rows * divide_up(divide_up(pixels * problem.groups, rows), step);
  const double channels = static_cast<double>(problem.in_channels);
  const double weights = static_cast<double>(problem.groups * problem.out_channels) * channels;
  const bool two = step * problem.in_channels > machine.lanes;
  const double vectors = static_cast<double>(problem.groups * problem.in_channels) / machine.lanes;
  const bool copies = !flat_is_pointwise(problem);
  const double products = channels * static_cast<double>(problem.groups * pixels);
  const double packing = problem.keeps_weights ? 0 : 2 * weights;
  // To choose of eight lanes takes two cycles, of two times eight twice that. In products of other
  // kernels, whose estimates leave more out where there are several groups: so that of 450 random
  // layers those chosen take 1.02 times as long as the fastest (as fitted 1.03).
  if (has_few_registers(problem, machine)) {
    constexpr double kCall = 2400;
    double cost = static_cast<double>(steps) * (3.3 + (two ? 2.2 : 1.2) * channels);
    if (copies) cost += 6 * vectors * static_cast<double>(pixels);
    return (kCall + cost + packing) / products;
  }
  // Cycles: what a call is set up in, steps, packing, pixels that are copied.
  constexpr double kCall = 400;
  double cycles =
      kCall + static_cast<double>(steps) * (5 + 1.7 * channels + (two ? 1.4 : 0)) + packing;
  if (copies) cycles += static_cast<double>(pixels) * (1.7 + 7.7 * vectors);
  // Of estimates of other kernels, which of so few filters take long; pixel_quads of one filter
  // hardly longer.
  const double cycles_of_one = problem.groups > 1 ? 4 : problem.out_channels == 1 ? 1.1 : 1.3;
  return cycles / (cycles_of_one * products);
}

// More of them are parted as fast as they are read only where no pixel is left out.
std::int64_t most_channels(const Problem& problem, const Machine& machine) {
  constexpr std::int64_t kLeastPixels = 32, kMostChannels = 64;
  const bool strided = std::any_of(problem.axis.begin(), problem.axis.end(),
                                   [](const Axis& axis) { return axis.stride > 1; });
  const bool pays = machine.element == 4 && !strided && problem.out_pixels() >= kLeastPixels;
  return pays ? kMostChannels : kFewChannels;
}

double flat_cost(const Problem& problem, const Machine& machine) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (!machine.flat || !problem.channels_last) return kNever;
  if (problem.in_channels > most_channels(problem, machine)) return kNever;
  if (flat_step(problem, machine) > 0) return cost_of_steps(problem, machine);
  if (problem.groups == 1) return kNever;
  if (problem.in_channels > 1 && problem.out_channels > 1) return kNever;
  if (is_depthwise(problem) && problem.groups >= machine.lanes)
    return beats_channel_lanes(problem, machine) ? 0.9 / machine.lanes : kNever;
  // Without them there is but `plane`, whose estimate knows nothing of channels side by side, and
  // others that are slower still.
  if (machine.group_sums == 0) {
    const bool strided = std::any_of(problem.axis.begin(), problem.axis.end(),
                                     [](const Axis& axis) { return axis.stride > 1; });
    const bool pays = problem.out_channels == 1 || problem.taps() == 1 || !strided;
    return pays && problem.out_channels <= kMostRepeated
               ? 0.9 * static_cast<double>(problem.out_channels) / machine.lanes
               : kNever;
  }
  const auto& [depth, height, width] = problem.axis;
  const double lanes = machine.lanes, pixels = static_cast<double>(problem.out_pixels());
  const double in = static_cast<double>(problem.groups * problem.in_channels) / lanes;
  const double out = static_cast<double>(problem.groups * problem.out_channels) / lanes;
  const double terms = static_cast<double>(problem.terms());
  const double rows =
      flat_is_pointwise(problem) ? kFlatRows : pixels / static_cast<double>(width.out);
  const double kernel_rows = terms / static_cast<double>(width.kernel);
  // Cycles: products, stores, tables and ends of rows, what a call is set up in.
  constexpr double kCall = 1500;
  const double a_row = width.kernel > 3 ? 90 : 44;  // of the kernel; others keep wide ones longer
  const double shared =
      shares_rows(problem)
          ? static_cast<double>(height.kernel / kFlatShared * kFlatShared) / height.kernel
          : 0;
  double cycles =
      pixels * out * ((2.2 - shared) * terms + 5.5) + rows * (18 + a_row * kernel_rows) + kCall;
  if (!is_depthwise(problem) || width.stride > 1 || width.lo > 0 || width.hi > 0) {
    double staged = 1;
    for (const Axis& axis : problem.axis)
      staged *= static_cast<double>(FlatAxis(axis).slots(axis.out));
    double pixel = width.stride > 1 ? 1.7 + 7.7 * in : is_depthwise(problem) ? 7 * in : 0;
    if (problem.in_channels > 1) pixel += (problem.in_channels > kFewChannels ? 10 : 7.7) * in;
    if (problem.out_channels > 1) pixel += 5.1 * out + 2 * in * lanes;
    cycles += staged * pixel;
  }
  constexpr double kCyclesOfOne = 1.3;  // of estimates of other kernels
  return cycles / (kCyclesOfOne * static_cast<double>(problem.groups) * terms * pixels);
}

}  // namespace fastconv
