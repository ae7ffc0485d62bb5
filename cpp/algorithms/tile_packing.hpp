// Weights as products of tiles take them (tile_product.cpp):
//
//   header | for bytes what the offset of the input adds to each output | panels
//
// Where blocks leave out taps (TileLayout::offset_by_taps), that is of each tap.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/tile_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// Where rounding to bfloat16 is what was asked for, anything goes.
bool tiles_look_at_magnitudes(const Problem& problem, TileProduct product);

const TileForm& tile_form(const KernelTable& table, const TileLayout& layout);

// Of one layout, which outlives it, as all that it is made of.
class TilePacking {
 public:
  TilePacking(const Problem& problem, const TileLayout& layout, const KernelTable& kernels);

  std::int64_t bytes() const;
  // False where too few magnitudes of the input would go with those of the weights.
  bool pack(const Weights& w, char* to, int workers) const;

  // Of packed weights.
  const char* panels(const Operands& operands) const;
  Extremes allowed(const Operands& operands) const;
  // No weight is infinite or NaN.
  bool finite(const Operands& operands) const;
  // Where the input is signed, tiles take x + 128: sums have 128 times the weights' sum too much.
  // Those, with the bias;
  std::vector<std::int32_t> offset_bias(const Operands& operands) const;
  // or of so many output channels from `channel` on, for these taps, added to what is there.
  void add_offsets(const Operands& operands, const std::vector<std::int32_t>& taps,
                   std::int64_t channel, std::int64_t count, std::int32_t* to) const;

 private:
  std::int64_t channels() const { return problem_.groups * problem_.out_channels; }
  std::int64_t vector_bytes() const {
    return static_cast<std::int64_t>(layout_.step.size()) * layout_.scheme.parts * kTileBytes;
  }
  std::int32_t offset() const { return tile_offset(problem_, layout_.product); }
  std::int64_t panels_offset() const;
  std::int64_t offsets() const {
    return offset() == 0 ? 0 : channels() * (layout_.offset_by_taps ? problem_.taps() : 1);
  }
  struct OffsetSteps;
  OffsetSteps offset_steps() const;
  void multiply_offset(const OffsetSteps& steps, const char* panel, std::int64_t first,
                       std::int64_t count, std::int64_t vectors, std::int32_t* to) const;

  // Terms as the slabs take them: of all taps in one, or a tap at a time.
  std::int64_t tile_taps() const { return layout_.gathered ? 1 : problem_.taps(); }
  std::int64_t tile_channels() const { return problem_.terms() / tile_taps(); }

  template <class Pack>
  void for_each_panel(char* to, int workers, Pack pack) const;
  template <class Pack>
  void for_each_slab(std::int64_t panel, char* at, Pack pack) const;
  template <class S>
  bool pack_integers(const Weights& w, char* to, int workers) const;
  bool pack_floats(const Weights& w, char* to, int workers) const;

  const Problem& problem_;
  const TileLayout& layout_;
  const KernelTable& kernels_;
  const PanelShape shape_;
};

}  // namespace fastconv
