// Input into positions of tiles (kernels/tile_portable.hpp): a slab of channels of a box after the
// other is staged, then turned and cut; or cut from where it lies.
#pragma once

#include <cstdint>

#include "algorithms/tile_layout.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// `S` is what is staged: float, or of integers bytes or int16 (kernels/args.hpp).
template <class S>
class TileStaging {
 public:
  TileStaging(const Problem& problem, const TileLayout& layout, const KernelTable& table,
              const Tensor& x);

  // All slabs of a box, by way of room for a patch; widens the extremes. False where an element is
  // larger or smaller than what is allowed.
  bool stage(const Tile& tile, S* room, char* to, const Extremes& allowed,
             Extremes* extremes) const;

 private:
  // Where positions are cut from: a patch, x itself, or x row by row with the border around it.
  enum class Reading : std::uint8_t { patch, in_place, rows };

  // One position of the border, as it is cut.
  struct BorderPosition {
    char bytes[3 * 64];

    BorderPosition(const TileStaging& staging, std::int64_t channels, Extremes* extremes);
  };

  Reading choose_reading() const;
  const S* first_channel(const Tile& tile, const Patch& patch) const;
  void cut_in_place(const Tile& tile, const Patch& patch, char* to, Extremes* extremes) const;
  void cut_rows(const Tile& tile, const Patch& patch, char* to, Extremes* extremes) const;
  void cut(const Tile& tile, const Patch& patch, const S* from, std::int64_t first_term, char* to,
           Extremes* extremes) const;

  static constexpr std::int64_t kElement = sizeof(S);

  const Problem& problem_;
  const TileLayout& layout_;
  const KernelTable& table_;
  const TileForm& kernels_;
  const Tensor& x_;
  const Reading reading_;
};

}  // namespace fastconv
