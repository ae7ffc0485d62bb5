// An image's output as boxes that are computed by one algorithm or by another:
//
//   o o o o      x  flagged: an element of its input is not for the first (Execution::run)
//   o o x o      the other runs its own tasks, those that touch such a box, whole:  + + + +
//   o o o o      they overwrite neighbours, which the first then makes once more    + + x +
//
// So each box is one algorithm's, whatever the tasks of the other are.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/problem.hpp"
#include "pack/stage.hpp"

namespace fastconv {

struct OutputGrid {
  Index3 box = {};
  Index3 boxes = {};
  Index3 out = {};         // all outputs
  std::int64_t count = 1;  // of all groups; 1 without a grid: an image
};

// Of one image, [group][box].
struct FlaggedBoxes {
  OutputGrid grid;
  const std::uint8_t* flags;
  std::uint8_t* overwritten;

  // For a task that makes these outputs: false where it touches no box that is flagged, and is left
  // out; else all that it touches are overwritten. Tasks may call it at once.
  bool take(const Tile& tile) const;
  void take_all() const { std::fill_n(overwritten, grid.count, std::uint8_t{1}); }
};

}  // namespace fastconv
