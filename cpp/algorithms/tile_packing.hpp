// Weights as products of tiles take them (tile_product.cpp):
//
//   what input goes with each group | is each panel finite | for bytes what the offset of the input
//   adds to each output | panels
//
// Where blocks leave out taps (TileLayout::offset_by_taps), that is of each tap. Weights that a
// call uses once are packed a part of a panel at a time instead, just before it is multiplied.
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

// Which magnitudes of the input go with weights of these; false where too few would.
bool allow(const Extremes& weights, std::int64_t terms, Extremes& input);

inline bool within(const Extremes& e, const Extremes& allowed) {
  return e.least >= allowed.least && e.most <= allowed.most;
}
inline bool all_finite(const Extremes& e) { return e.most < 0x7f800000u; }

// Input that goes with the weights of a group. Those of other groups do not matter: a call that
// packs as it runs, of one image, does not know them.
struct AllowedInput {
  Extremes magnitudes = {0, 0xffffffffu};
  bool some = true;
};

// A panel that is ready to be multiplied.
struct TilePanel {
  const char* steps;            // of step s: panel_step(panel) * s from here on
  const std::int32_t* offsets;  // of its first output channel
  std::int64_t pitch;           // from one tap to the next
  bool finite;                  // no weight is infinite or NaN
};

// Of one layout, which outlives it, as all that it is made of.
class TilePacking {
 public:
  TilePacking(const Problem& problem, const TileLayout& layout, const KernelTable& kernels);

  std::int64_t bytes() const;
  // False where too few magnitudes of the input would go with those of the weights of any group.
  bool pack(const Weights& w, void* to, int workers) const;

  // Of packed weights.
  TilePanel panel(const Operands& operands, std::int64_t group, std::int64_t panel) const;
  AllowedInput allowed(const Operands& operands, std::int64_t group) const;
  // Where the input is signed, tiles take x + 128: sums have 128 times the weights' sum too much.
  // Those of all output channels, with the bias.
  std::vector<std::int32_t> offset_bias(const Operands& operands) const;

  // Whether slabs of a panel can be packed alone, with so many floats of room.
  bool packs_slabs(const Weights& w) const;
  std::int64_t room() const;
  // Slabs [first, last) to `to`.
  void pack_slabs(const Weights& w, std::int64_t group, std::int64_t panel, std::int64_t first,
                  std::int64_t last, float* room, char* to, Extremes* extremes) const;
  // What the offset takes from the sums of a panel that has been packed alone, for each of
  // offset_taps(), a panel's width apart.
  void pack_offsets(const Weights& w, std::int64_t group, std::int64_t panel, const char* packed,
                    std::int32_t* to) const;
  std::int64_t offset_taps() const {
    return offset() == 0 ? 0 : layout_.offset_by_taps ? problem_.taps() : 1;
  }

  // From one step to the next.
  std::int64_t panel_step(std::int64_t panel) const {
    return layout_.scheme.parts * (shape_.width(panel) / kTileRows) * kTileBytes;
  }

 private:
  std::int64_t channels() const { return problem_.groups * problem_.out_channels; }
  std::int64_t vector_bytes() const {
    return static_cast<std::int64_t>(layout_.step.size()) * layout_.scheme.parts * kTileBytes;
  }
  std::int32_t offset() const { return tile_offset(problem_, layout_.product); }
  std::int64_t finite_offset() const;
  std::int64_t offsets_offset() const;
  std::int64_t panels_offset() const;
  const std::int32_t* offsets(const Operands& operands) const;
  void multiply_offset(const char* panel, std::int64_t count, std::int64_t vectors,
                       std::int32_t* to, std::int64_t pitch) const;
  void sum_offset(const std::uint8_t* from, std::int64_t pitch, std::int64_t count,
                  std::int32_t* to) const;

  // Terms as the slabs take them: of all taps in one, or a tap at a time.
  std::int64_t tile_taps() const { return layout_.gathered ? 1 : problem_.taps(); }
  std::int64_t tile_channels() const { return problem_.terms() / tile_taps(); }

  bool takes_rows(const Weights& w) const;
  template <class Pack>
  void for_each_panel(char* to, int workers, Pack pack) const;
  void pack_rows(const void* from, std::int64_t pitch, bool halves, std::int64_t panel,
                 std::int64_t first, std::int64_t last, char* to, Extremes* extremes) const;
  template <class S>
  bool pack_integers(const Weights& w, char* to, int workers) const;
  bool pack_floats(const Weights& w, char* to, int workers) const;

  const Problem& problem_;
  const TileLayout& layout_;
  const KernelTable& kernels_;
  const PanelShape shape_;
  // Of a pixel of nothing but offsets: where steps read it, and all steps, those of a tap together.
  std::vector<std::int32_t> zero_, order_;
};

}  // namespace fastconv
