// Depthwise layers whose channels lie side by side, read in place (kernels/channel_lanes.hpp):
//
//   for each task (some rows of one image)                                         in parallel
//     for each block of channels: its weights into kernel order
//       for each output row: filter
//
// A task has all channels, since the last block overlaps the one before it.
#pragma once

#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// Whether the kernels can filter the layer with channels in the lanes, at most so many padded
// columns listed, however x and y lie.
bool suits_channel_lanes(const Problem& problem, std::int64_t most_columns, const Machine& machine);

// tasks == 0: x does not lie so.
ChannelTiling channel_tiling(const Problem& problem, const Tensor& x, const Machine& machine);
std::int64_t channel_scratch_bytes(const Problem& problem, const Machine& machine);

// Scratch for calls of the kernel, from byte `at` of a worker's on: weights of a block of so many
// channels | its fill values | tables of columns and rows.
struct ChannelScratch {
  std::int64_t weights, fill, column, row, end;

  ChannelScratch(const Problem& problem, std::int64_t width, std::int64_t element,
                 std::int64_t at = 0);
};

template <class T>
struct ChannelPad {
  T* weights;
  T* fill;
  std::int64_t* column;
  std::int64_t* row;

  ChannelPad(const ChannelScratch& layout, char* scratch)
      : weights(reinterpret_cast<T*>(scratch + layout.weights)),
        fill(reinterpret_cast<T*>(scratch + layout.fill)),
        column(reinterpret_cast<std::int64_t*>(scratch + layout.column)),
        row(reinterpret_cast<std::int64_t*>(scratch + layout.row)) {}
};

// Whether the output, which is known last, lies so as well.
bool channels_lie_side_by_side(const Problem& problem, DType type, const Tensor& tensor);

// Padded columns that kernels look up, and one more for those with a stride.
std::int64_t padded_columns(const Axis& width);
// Tables for elements whose columns, rows and slices lie so far apart.
void list_columns(const Problem& problem, std::int64_t pitch, std::int64_t* column);
void list_rows(const Problem& problem, std::int64_t slice_pitch, std::int64_t row_pitch,
               std::int64_t d, std::int64_t h, std::int64_t* row);

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
  args.fill = pad.fill;
  args.w = pad.weights;
  args.activation = is_float(problem.compute) ? problem.activation : Activation::none;
  args.pixels = width.out;
  return args;
}

template <class T>
void run_channels(const Problem& problem, const ChannelTiling& tiling, const KernelTable& kernels,
                  const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                  Interrupt& interrupt);

}  // namespace fastconv
