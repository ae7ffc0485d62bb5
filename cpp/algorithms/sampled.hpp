// Pointwise layers with a stride and channels first: pixels that some output sees are picked from
// all channels of a group, and a block of them is one row for kernels/plane.hpp.
//
//   x: c0 [a . . b . . c ...] ...         scratch: c0 a b c ...          y: k0 a b c ...
//      c1 [a . . b . . c ...] ...    ->            c1 a b c ...    ->       k1 a b c ...
//
// By rows of the output a call would cost more than its products.
#pragma once

#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

bool can_sample(const Problem& problem);
// tasks == 0: x does not lie so.
SampledTiling sampled_tiling(const Problem& problem, const Tensor& x, const Machine& machine);
std::int64_t sampled_scratch_bytes(const Problem& problem, const SampledTiling& tiling,
                                   const Machine& machine);

// Whether the output, which is known last, lies so that a block is one row.
bool takes_sampled(const Problem& problem, const Tensor& y);

template <class T>
void run_sampled(const Problem& problem, const SampledTiling& tiling, const KernelTable& kernels,
                 const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                 Interrupt& interrupt);

}  // namespace fastconv
