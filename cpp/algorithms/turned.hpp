// Small depthwise planes that lie one after the other: turned so that channels are the lanes,
// filtered as if channels came last (kernels/channel_lanes.hpp), and turned back.
//
//   x: c0 p0 p1 p2 ...          p0: c0 c1 c2 ...           y: c0 p0 p1 ...
//      c1 p0 p1 p2 ...    ->    p1: c0 c1 c2 ...    ->        c1 p0 p1 ...
//      c2 p0 p1 p2 ...          ...
//
// A call for one plane costs as much as the products of a few dozen pixels, and a row of few
// columns leaves lanes idle. Here a few calls serve 16 planes or 64, whatever their width and
// stride.
//
//   for each task (some images of some blocks of channels)                          in parallel
//     for each block, image: turn, filter row by row, turn back
#pragma once

#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// Whether the problem suits, if x and y lie so;
bool can_turn(const Problem& problem);
// whether this is faster than plane by plane, `rolling` (rolling.hpp) or not.
bool turning_pays(const Problem& problem, bool rolling, const Machine& machine);
// Of those that can be sampled (sampled.hpp): whether that is faster.
bool sampling_pays(const Problem& problem, const Machine& machine);
// tasks == 0: x does not lie so.
TurnedTiling turned_tiling(const Problem& problem, const Tensor& x, const Machine& machine);
std::int64_t turned_scratch_bytes(const Problem& problem, const TurnedTiling& tiling,
                                  const Machine& machine);

// Whether the output, which is known last, lies so as well.
bool takes_turned(const Problem& problem, const Tensor& y);

template <class T>
void run_turned(const Problem& problem, const TurnedTiling& tiling, const KernelTable& kernels,
                const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                Interrupt& interrupt);

}  // namespace fastconv
