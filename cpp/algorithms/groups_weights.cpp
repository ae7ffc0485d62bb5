#include "algorithms/groups_weights.hpp"

#include <algorithm>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/costs.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// Which sum of channel c is that of filter k.
std::int64_t sum_of(std::int64_t k, std::int64_t c, std::int64_t filters) {
  return ((k - c) % filters + filters) % filters;
}

void pack_block(const Problem& problem, const GroupLayout& layout, const KernelTable& kernels,
                const Weights& w, std::int64_t block, float* packed) {
  const std::int64_t taps = problem.taps(), lanes = layout.lanes, sums = layout.sums;
  const std::int64_t filters = problem.out_channels, groups = layout.groups_of(problem, block);
  float* const to = packed + block * layout.block_weights(problem);
  std::fill_n(to, layout.block_weights(problem), 0.0F);
  float row[kMostGroupChannels * kMostChannelChain];
  float zero = 0;  // or NaN
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t k = 0; k < filters; ++k) {
      const std::int64_t channel = (layout.first_group(block) + g) * filters + k;
      gather_weights<float>(kernels, problem, w, channel, 0, problem.terms(), row);
      for (std::int64_t c = 0; c < problem.in_channels; ++c) {
        const std::int64_t sum = sum_of(k, c, filters);
        float* const at = to + sum * lanes + layout.lane(problem, block, 0, g, c);
        for (std::int64_t t = 0; t < taps; ++t) {
          const float weight = row[c * taps + t];
          zero += weight * 0.0F;
          for (std::int64_t p = 0; p < layout.pixels; ++p)
            at[t * sums * lanes + p * layout.pitch] = weight;
        }
      }
    }
  }
  packed[layout.blocks * layout.block_weights(problem) + block] = zero;
}

}  // namespace

std::vector<std::int32_t> group_route(const Problem& problem, const GroupLayout& layout,
                                      std::int64_t block) {
  const std::int64_t filters = problem.out_channels, lanes = layout.lanes;
  std::vector<std::int32_t> route(static_cast<std::size_t>(layout.route_elements(problem)),
                                  static_cast<std::int32_t>(lanes));
  const std::int64_t groups = layout.groups_of(problem, block);
  for (std::int64_t o = 0; o < layout.out_channels(problem, block); ++o) {
    const std::int64_t k = o % filters, group = o / filters % groups;
    const std::int64_t pixel = o / filters / groups;
    for (std::int64_t c = 0; c < problem.in_channels; ++c) {
      const std::int64_t round = c / filters, sum = sum_of(k, c, filters);
      const std::int64_t place =
          ((o / lanes * layout.rounds + round) * layout.sums + sum) * lanes + o % lanes;
      route[static_cast<std::size_t>(place)] =
          static_cast<std::int32_t>(layout.lane(problem, block, pixel, group, c));
    }
  }
  return route;
}

std::int64_t packed_group_elements(const Problem& problem, const GroupLayout& layout) {
  return layout.blocks * (layout.block_weights(problem) + 1);
}

void pack_groups(const Problem& problem, const GroupLayout& layout, const KernelTable& kernels,
                 const Weights& w, float* packed, int workers) {
  parallel_for(layout.blocks, workers, [&](std::int64_t block, int) noexcept {
    pack_block(problem, layout, kernels, w, block, packed);
  });
}

}  // namespace fastconv
