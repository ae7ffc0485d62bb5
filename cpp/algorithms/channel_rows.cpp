// What calls of kernels/channel_lanes.hpp share: tables of rows and columns, and how a row's sums
// are cut. Once a row, so that a small layer takes as long as this.

#include <algorithm>

#include "algorithms/channels.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"

namespace fastconv {
namespace {

// Whether kernels of several slices are filtered slice by slice, each of which rolls along the row,
// what the others sum up to in the output.
template <class T>
bool rolls_slices(const Problem& problem, const KernelSet<T>& kernels, std::int64_t vecs) {
  constexpr int kVecsOfManyRegisters = 4;
  const auto& [depth, height, width] = problem.axis;
  return kernels.channel_vecs == kVecsOfManyRegisters && vecs > 1 && depth.kernel > 1 &&
         height.kernel == 3 && width.kernel == 3 && width.stride <= 2 && width.dilation == 1;
}

}  // namespace

void list_columns(const Problem& problem, std::int64_t pitch, std::int64_t* column) {
  const Axis& width = problem.axis[2];
  const std::int64_t count = padded_columns(width) - 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t source = source_index(problem.border, width, i - width.lo);
    column[i] = source < 0 ? kFillRow : source * pitch;
  }
  column[count] = kFillRow;
}

void list_rows(const Problem& problem, std::int64_t slice_pitch, std::int64_t row_pitch,
               std::int64_t d, std::int64_t h, std::int64_t* row) {
  const auto& [depth, height, width] = problem.axis;
  for (std::int64_t i = 0; i < depth.kernel; ++i) {
    const std::int64_t slice =
        source_index(problem.border, depth, d * depth.stride - depth.lo + i * depth.dilation);
    for (std::int64_t j = 0; j < height.kernel; ++j) {
      const std::int64_t source =
          source_index(problem.border, height, h * height.stride - height.lo + j * height.dilation);
      *row++ = slice < 0 || source < 0 ? kFillRow : slice * slice_pitch + source * row_pitch;
    }
  }
}

template <class T>
void filter_channels(const Problem& problem, const KernelSet<T>& kernels, const ChannelPad<T>& pad,
                     const ChannelArgs<T>& all, bool leaves_out, bool may_roll) {
  const std::int64_t rows = all.kernel_rows;
  const bool rolls = may_roll && rolls_slices(problem, kernels, all.vecs);
  if (!leaves_out && !rolls && rows * all.kernel_columns <= kMostChannelChain)
    return kernels.channel_lanes(all);
  const std::int64_t each = rolls ? problem.axis[1].kernel : rows_of_run(problem);
  ChannelArgs<T> args = all;
  for (std::int64_t first = 0; first < rows; first += each) {
    const std::int64_t end = std::min(first + each, rows);
    // Of a slice that rolls all rows are kept, or none.
    const auto is_seen = [](std::int64_t row) { return row != kFillRow; };
    const bool keeps_all = rolls && std::any_of(pad.row + first, pad.row + end, is_seen);
    std::int64_t kept = 0;
    for (std::int64_t u = first; u < end; ++u) {
      if (leaves_out && !keeps_all && pad.row[u] == kFillRow) continue;
      pad.row[first + kept] = pad.row[u];
      pad.order[first + kept++] = static_cast<std::int32_t>(u - first);
    }
    if (kept == 0 && end < rows) continue;
    args.row = pad.row + first;
    args.order = kept < end - first ? pad.order + first : nullptr;
    args.kernel_rows = kept;
    args.w = all.w + first * all.kernel_columns * all.vecs * kernels.lanes;
    args.bias = end < rows ? nullptr : all.bias;
    args.activation = end < rows ? Activation::none : all.activation;
    kernels.channel_lanes(args);
    args.accumulate = true;
  }
}

bool has_row_windows(const Problem& problem) {
  const auto& [depth, height, width] = problem.axis;
  return depth.kernel == 1 && depth.lo == 0 && depth.hi == 0 &&
         (height.kernel == 1 || height.dilation == 1) &&
         height.kernel * width.kernel <= kMostChannelChain;
}

void list_padded_rows(const Problem& problem, std::int64_t pitch, std::int64_t held,
                      std::int64_t* padded) {
  const Axis& height = problem.axis[1];
  for (std::int64_t i = 0; i < height.seen_by(height.out); ++i) {
    const std::int64_t source = source_index(problem.border, height, i - height.lo);
    padded[i] = source < 0 ? kFillRow : source % held * pitch;
  }
}

template <class T>
void filter_row_window(const Problem& problem, const KernelSet<T>& kernels,
                       const ChannelPad<T>& pad, ChannelArgs<T>& args, std::int64_t h,
                       bool leaves_out) {
  const Axis& height = problem.axis[1];
  const TapSpan kept = leaves_out ? taps_inside(height, h) : TapSpan{0, height.kernel};
  args.row = pad.padded + h * height.stride + kept.first;
  args.kernel_rows = kept.count();
  const T* const w = args.w;
  args.w += kept.first * args.kernel_columns * args.vecs * kernels.lanes;
  kernels.channel_lanes(args);
  args.w = w;
}

#define FASTCONV_INSTANTIATE(T)                                                                 \
  template void filter_channels<T>(const Problem&, const KernelSet<T>&, const ChannelPad<T>&,   \
                                   const ChannelArgs<T>&, bool, bool);                          \
  template void filter_row_window<T>(const Problem&, const KernelSet<T>&, const ChannelPad<T>&, \
                                     ChannelArgs<T>&, std::int64_t, bool);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
