// Weights of groups of few channels, and how filters find their sums (kernels/group_lanes.hpp): sum
// j of channel c is that of filter c + j, modulo the filters.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/groups_layout.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// Of each output of a block, the lane that it takes of each sum (GroupArgs::route).
std::vector<std::int32_t> group_route(const Problem& problem, const GroupLayout& layout,
                                      std::int64_t block);

// [block][tap][sum][lane], and of each block, whether its weights are finite: 0.
std::int64_t packed_group_elements(const Problem& problem, const GroupLayout& layout);
void pack_groups(const Problem& problem, const GroupLayout& layout, const KernelTable& kernels,
                 const Weights& w, float* packed, int workers);

}  // namespace fastconv
