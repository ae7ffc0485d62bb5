// Depthwise layers whose channels lie side by side, read in place (kernels/channel_lanes.hpp):
//
//   for each task (some rows of one image)                                         in parallel
//     for each block of channels: its weights into kernel order
//       for each output row: filter
//
// A task has all channels, since the last block overlaps the one before it.
#pragma once

#include <cstdint>

#include "algorithms/plane.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// tasks == 0: x does not lie so.
ChannelTiling channel_tiling(const Problem& problem, const Tensor& x, const Machine& machine);
std::int64_t channel_scratch_bytes(const Problem& problem, const Machine& machine);

// Whether the output, which is known last, lies so as well.
bool channels_lie_side_by_side(const Problem& problem, DType type, const Tensor& tensor);

template <class T>
void run_channels(const Problem& problem, const ChannelTiling& tiling, const KernelTable& kernels,
                  const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                  Interrupt& interrupt);

}  // namespace fastconv
