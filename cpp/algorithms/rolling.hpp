// Planes that small square kernels filter without staging (kernels/rolling.hpp), and the loop nest
// that runs them, or, where there are few registers, those that do stage them (staged_planes.hpp):
//
//   for each task (planes, or a band of rows of one)                              in parallel
//     for each band, plane, output slice
//       for each kernel slice: filter, starting from the sums of the slice before
//
// Input that is not dense rows of the compute type is converted first, and output that is not
// afterwards, a band at a time; neither is padded.
#pragma once

#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// One filter a channel, and no depth.
bool is_single(const Problem& problem);
// No planes: these kernels cannot run the problem.
RollTiling roll_tiling(const Problem& problem, const Machine& machine);
std::int64_t roll_scratch_bytes(const Problem& problem, const RollTiling& tiling, int element);

template <class T>
void run_rolling(const Problem& problem, const RollTiling& tiling, const KernelTable& kernels,
                 const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                 Interrupt& interrupt);

}  // namespace fastconv
