// Depthwise layers whose channels lie side by side, read in place (kernels/channel_lanes.hpp):
//
//   for each task (some rows of one image)                                         in parallel
//     for each block of channels: its weights into kernel order
//       for each output row: filter, and turn the sums where planes of output lie one after the
//       other
//
// A task has all channels, since the last block overlaps the one before it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// Whether the kernels can filter the layer with channels in the lanes, at most so many padded
// columns listed, however x and y lie.
bool suits_channel_lanes(const Problem& problem, std::int64_t most_columns);

// Whether they filter the layer where x lies, if it has channels for a vector.
bool filters_channels(const Problem& problem, const Tensor& x);
// Of fewer channels: vector operations a term and pixel, and whether they cost less than planes.
double cost_of_few_channels(const Problem& problem, const Machine& machine);
bool filters_few_channels(const Problem& problem, const Machine& machine);
// tasks == 0: x does not lie so, or has fewer, which had better be read otherwise.
ChannelTiling channel_tiling(const Problem& problem, const Tensor& x, const Machine& machine);
std::int64_t channel_scratch_bytes(const Problem& problem, const ChannelTiling& tiling,
                                   const Machine& machine);

// Scratch for calls of the kernel, from byte `at` of a worker's on: weights of a block of so many
// channels | its fill values | tables of columns and rows, and which kernel row each of these is |
// padded rows.
struct ChannelScratch {
  std::int64_t weights, fill, column, row, order, padded, end;

  ChannelScratch(const Problem& problem, std::int64_t width, std::int64_t element,
                 std::int64_t at = 0);
};

template <class T>
struct ChannelPad {
  T* weights;
  T* fill;
  std::int64_t* column;
  std::int64_t* row;
  std::int32_t* order;
  std::int64_t* padded;

  ChannelPad(const ChannelScratch& layout, char* scratch)
      : weights(reinterpret_cast<T*>(scratch + layout.weights)),
        fill(reinterpret_cast<T*>(scratch + layout.fill)),
        column(reinterpret_cast<std::int64_t*>(scratch + layout.column)),
        row(reinterpret_cast<std::int64_t*>(scratch + layout.row)),
        order(reinterpret_cast<std::int32_t*>(scratch + layout.order)),
        padded(reinterpret_cast<std::int64_t*>(scratch + layout.padded)) {}
};

// Rows that kernels filter in strips (strip_cycles, kernels/args.hpp); float32, AVX-512.
bool runs_strips(const Problem& problem, const Machine& machine);

bool channels_lie_side_by_side(const Problem& problem, DType type, const Tensor& tensor);
// Whether the output, which is known last, lies so as well, or rows of sums can be turned.
bool takes_channels(const Problem& problem, const Tensor& y, std::int64_t lanes);

// Of an image of a depthwise layer, read and written.
inline std::int64_t image_bytes(const Problem& problem, std::int64_t element) {
  return (problem.in_pixels() + problem.out_pixels()) * problem.groups * element;
}

// Padded columns that kernels look up, and one more for those with a stride.
std::int64_t padded_columns(const Axis& width);
// Tables for elements whose columns, rows and slices lie so far apart.
void list_columns(const Problem& problem, std::int64_t pitch, std::int64_t* column);
void list_rows(const Problem& problem, std::int64_t slice_pitch, std::int64_t row_pitch,
               std::int64_t d, std::int64_t h, std::int64_t* row);

// Whether products with zeros of the border are left out where the weights are finite: not by
// kernels that roll.
bool channels_leave_out_border(const Problem& problem);

// Terms of one chain.
inline constexpr std::int64_t kMostChannelChain = 256;
// Of kernel rows whose terms one chain may have.
std::int64_t rows_of_run(const Problem& problem);

// What kernel calls share, whatever is read and written.
template <class T>
ChannelArgs<T> channel_args(const Problem& problem, const ChannelPad<T>& pad) {
  const Axis& width = problem.axis[2];
  ChannelArgs<T> args{};
  args.row = pad.row;
  args.kernel_rows = problem.axis[0].kernel * problem.axis[1].kernel;
  args.column = pad.column;
  args.kernel_columns = width.kernel;
  args.dilation = width.dilation;
  args.stride = width.stride;
  args.inside = width.lo;
  args.inside_end = width.lo + width.in;
  args.seen_end = kAllColumns;
  args.fill = pad.fill;
  args.w = pad.weights;
  args.activation = is_float(problem.compute) ? problem.activation : Activation::none;
  args.pixels = width.out;
  return args;
}

// One output row, from the rows that are listed. Longer sums than one chain may have are made in
// runs of kernel rows, which add up in the output; `all` has the rows of one input channel. Leaves
// out what sees nothing but the border, or not. Slices may roll where rows have no border beside
// them, whose tiles are as fast.
template <class T>
void filter_channels(const Problem& problem, const KernelSet<T>& kernels, const ChannelPad<T>& pad,
                     const ChannelArgs<T>& all, bool leaves_out, bool may_roll);

// Kernel rows that are neighbours see a window of a slice's padded rows. To list these once is
// cheaper than the rows of each output row, which takes half as long as its products in a small
// picture.
//
//   padded rows       .  .  0  1  2  3  4  .  .     five kernel rows
//   of output row 1      .  0  1  2  3              those of the border are left out at the ends
bool has_row_windows(const Problem& problem);
// Row `source` lies at source % held * pitch.
void list_padded_rows(const Problem& problem, std::int64_t pitch, std::int64_t held,
                      std::int64_t* padded);
template <class T>
void filter_row_window(const Problem& problem, const KernelSet<T>& kernels,
                       const ChannelPad<T>& pad, ChannelArgs<T>& args, std::int64_t h,
                       bool leaves_out);

template <class T>
void run_channels(const Problem& problem, const ChannelTiling& tiling, const KernelTable& kernels,
                  const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                  Interrupt& interrupt);

}  // namespace fastconv
