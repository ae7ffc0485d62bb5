// What rolling.cpp leaves to processors of few registers: planes and volumes that are staged
// (kernels/staged_planes.hpp).
//
//   for each task (planes, or a band of rows of one)                              in parallel
//     for each band, some planes or one, output slice
//       stage what is not there yet, filter
//
// Slices of a volume lie in places, those that the next output slice sees among them:
//
//   output slice 4, three kernel slices     place 0: slice 3   1: slice 4   2: slice 5   3: border
//                5                                       6            4            5
#pragma once

#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// Output rows of a band, and where slices are staged; then, of as many rows as are dealt out, room.
std::int64_t rows_to_stage(const Problem& problem, const Machine& machine, RollTiling& tiling);
void make_room_to_stage(const Problem& problem, const Machine& machine, RollTiling& tiling);
std::int64_t staged_scratch_bytes(const Problem& problem, const RollTiling& tiling, int element);

template <class T>
void run_staged_planes(const Problem& problem, const RollTiling& tiling, const KernelTable& kernels,
                       const Operands& operands, char* scratch, std::int64_t scratch_each,
                       int workers, Interrupt& interrupt);

}  // namespace fastconv
