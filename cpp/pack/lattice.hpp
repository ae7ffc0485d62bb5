// Staging of positions some steps apart, as Winograd's transforms read them.
#pragma once

#include <cstdint>
#include <limits>

#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Positions first[a] + i * step[a], i < count[a], of the padded input. Beyond the padding anything
// may be read that the input holds, or the fill value.
struct Lattice {
  Index3 first = {};
  Index3 step = {1, 1, 1};
  Index3 count = {1, 1, 1};
};

// Where the count[0] * count[1] rows of a lattice lie in x, whatever the channel: byte offsets, or
// kFilledRow where the whole row shows the fill value.
inline constexpr std::int64_t kFilledRow = std::numeric_limits<std::int64_t>::min();
void locate_rows(const Problem& problem, const Tensor& x, std::int64_t image,
                 const Lattice& lattice, std::int64_t* offset);

// The rows of one real channel, counted over all groups: rows[i] points into x where the row can be
// read as it lies, or else to a copy, i * count[2] elements into `buffer`.
template <class T>
void lattice_rows(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Lattice& lattice, const std::int64_t* offset, std::int64_t channel,
                  T* buffer, const T** rows);

// Asks for the rows of a channel: they lie a plane apart, where no processor expects them.
void prefetch_rows(const Problem& problem, const Tensor& x, const Lattice& lattice,
                   const std::int64_t* offset, std::int64_t channel);

// All channels of a group: to[d][h][w][pitch], zeros after the last channel. Complex ones must lie
// side by side in x.
template <class T>
void stage_lattice_channels_last(const KernelTable& kernels, const Problem& problem,
                                 const Tensor& x, std::int64_t image, std::int64_t group,
                                 const Lattice& lattice, std::int64_t pitch, T* to);

}  // namespace fastconv
