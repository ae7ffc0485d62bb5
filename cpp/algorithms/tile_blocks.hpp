// Which pixels of a run dot products multiply together, and with which taps (tile_product.cpp).
//
// A tap that sees nothing but a border of zeros is left out: of 3 x 3 taps on 7 x 7 pixels a sixth.
// Pixels that see the same taps make blocks, of as many as fill a tile of sums; where they are too
// few, they go with neighbours that see more:
//
//   1 1 1 1 1 1 1      1, 2   6 taps, the corners with two in vain
//   3 4 4 4 4 4 5      3, 5   6 taps
//   3 4 4 4 4 4 5      4      9 taps
//   . . .
//   2 2 2 2 2 2 2
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Taps [first, last) of an axis that see input.
struct TapRange {
  std::int64_t first, last;
  std::int64_t count() const { return last - first; }
  bool operator==(const TapRange&) const = default;
};

// Those of output `o`; none: [0, 0).
TapRange taps_seen(const Axis& axis, std::int64_t o);

// The share of all products that is left, if no pixel goes with others.
double share_seen(const Problem& problem);

// There is a border, of zeros: nothing is lost without its products, if weights are finite.
bool border_adds_nothing(const Problem& problem);

// Runs of one shape and place in a picture.
struct TileBlockList {
  std::vector<std::int32_t> place;  // of pixel (row, column), from the run's first
  std::vector<std::int32_t> pixel;
  std::vector<std::int32_t> order;
  std::vector<TileBlock> block;                 // of each part of the slabs
  std::vector<std::vector<std::int32_t>> kind;  // taps of the blocks of a kind

  TileBlocks view(std::int64_t part, std::int64_t parts) const {
    const auto each = static_cast<std::int64_t>(block.size()) / parts;
    return {block.data() + part * each, each, pixel.data(), order.data()};
  }
};

class TileBlockLists {
 public:
  struct Shape {
    Index3 box;
    std::int64_t rows, width;  // of a run
    std::int64_t row_pitch;    // positions
    std::int64_t slabs;
    std::int64_t slabs_at_once;
    std::int64_t words;    // of all slabs, that are multiplied
    std::int64_t at_once;  // pixels of a block
    bool skips;            // leave out what sees only the border
  };

  TileBlockLists() = default;
  TileBlockLists(const Problem& problem, const Shape& shape);

  // Of the run that begins with output `origin`.
  const TileBlockList& at(const Index3& origin) const {
    std::size_t index = 0;
    for (std::size_t a = 0; a < 3; ++a) {
      const Runs& runs = axis_[a];
      const std::int64_t box = origin[a] / runs.box;
      const std::int64_t run = box * runs.of_box + (origin[a] - box * runs.box) / runs.length;
      index = index * runs.kinds.size() +
              static_cast<std::size_t>(runs.kind[static_cast<std::size_t>(run)]);
    }
    return list_[index];
  }
  // Of blocks, in any run.
  std::int64_t most_kinds() const {
    std::size_t most = 0;
    for (const TileBlockList& list : list_) most = std::max(most, list.kind.size());
    return static_cast<std::int64_t>(most);
  }

 private:
  // Runs along one axis: those of a kind see the same taps.
  struct Runs {
    std::int64_t box = 1, of_box = 1, length = 1;
    std::vector<std::int32_t> kind;
    std::vector<std::vector<TapRange>> kinds;
  };

  static Runs runs_of(const Axis& axis, std::int64_t box, std::int64_t length, bool skips);
  static TileBlockList make(const Problem& problem, const Shape& shape, const TapRange& slices,
                            const std::vector<TapRange>& rows,
                            const std::vector<TapRange>& columns);

  std::array<Runs, 3> axis_;
  std::vector<TileBlockList> list_;
};

}  // namespace fastconv
