// Weights into kernel order: panels of output channels, each [terms][channels of the panel].
//
//   w (K, C, kd, kh, kw)           packed, panel of 4 (lanes family) or of whole vectors (outer)
//   k=0  a0 a1 a2 ...              a0 b0 c0 d0 | a1 b1 c1 d1 | ...
//   k=1  b0 b1 b2 ...     ->
//   ...                            the last panel is as narrow as it can be
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "simd/inline.hpp"

namespace fastconv {

// Widths of the panels of one group: `panel` each, but for the last.
struct PanelShape {
  std::int64_t out_channels = 1;  // of one group
  std::int64_t panel = 1;
  std::int64_t granule = 1;  // widths are multiples of it: a vector (outer) or 1 (lanes)

  std::int64_t panels() const { return (out_channels + panel - 1) / panel; }
  std::int64_t channels(std::int64_t i) const {
    const std::int64_t left = out_channels - i * panel;
    return left < panel ? left : panel;
  }
  std::int64_t width(std::int64_t i) const {
    return (channels(i) + granule - 1) / granule * granule;
  }
  std::int64_t group_width() const { return (panels() - 1) * panel + width(panels() - 1); }
};

// Elements that pack_panel writes for all groups together.
inline std::int64_t packed_elements(const Problem& problem, const PanelShape& shape) {
  return problem.groups * shape.group_width() * problem.terms();
}

// True where all terms of an output channel lie side by side in the compute type, so that packing
// is a transposition and nothing else.
bool is_dense(const Problem& problem, const Weights& w);

// True where they do in whatever type.
bool terms_are_runs(const Problem& problem, const Weights& w);

// Terms [first, first + count) of one real output channel, in the order of the reduction.
template <class T>
void gather_weights(const KernelTable& kernels, const Problem& problem, const Weights& w,
                    std::int64_t channel, std::int64_t first, std::int64_t count, T* to);

// Packs terms [first, first + count) of panel `index` of group `group` to `to`, [count][width].
// Conversion to the compute type, kernel flips and the real form of complex weights are resolved
// here.
template <class T>
void pack_panel(const KernelTable& kernels, const Problem& problem, const Weights& w,
                const PanelShape& shape, std::int64_t group, std::int64_t index, std::int64_t first,
                std::int64_t count, T* to);

// The same with term first + t at place[t] of `to`. True where all weights are finite.
template <class T>
bool pack_panel_placed(const KernelTable& kernels, const Problem& problem, const Weights& w,
                       const PanelShape& shape, std::int64_t group, std::int64_t index,
                       std::int64_t first, std::int64_t count, const std::int32_t* place, T* to);

// Rows of all output channels, one after the other, as panels of one channel are: where they lie in
// order, in whatever type, or a kernel is a flipped or transposed block of memory. False elsewhere.
template <class T>
bool pack_single_rows(const KernelTable& kernels, const Problem& problem, const Weights& w, T* to);

}  // namespace fastconv
