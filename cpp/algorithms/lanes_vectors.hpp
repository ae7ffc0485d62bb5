// Family::lanes: where the vectors of a box lie in what is staged, and in the output. Pure
// arithmetic; nothing here touches an array of the caller's.
//
//   apart     [row 0 .........]    each row in whole vectors; the last overlaps the one before it
//                    [........]    where the output is written by the kernel
//   through   [row 0 ......... | between | row 1 .......   one long row (Tiling::flat)
//   spliced   [row 0 ..........][...0 | 1 ...][row 1 ....   vectors go on in the next row
#pragma once

#include <cstdint>

#include "pack/stage.hpp"

namespace fastconv {

// Arrays of scratch that the kernel reads (LanesArgs). vector, next and seam are one behind the
// other, and have room for as many vectors as the box has rows of whole ones.
struct LanesVectors {
  std::int32_t* vector = nullptr;
  std::int64_t* place = nullptr;  // written where vectors end with their row
  std::int64_t count = 0;
  bool spliced = false;
  std::int64_t tiled = 0;  // spliced only

  const std::int32_t* next() const { return spliced ? vector + count : nullptr; }
  const std::int32_t* seam() const { return spliced ? vector + 2 * count : nullptr; }
};

// Rows one by one; `step` is the pitch of what is read. Where the kernel writes the output, `out`
// is its pitch, and the last vector of a row ends with it.
void rows_apart(const Index3& size, const Index3& step, const Index3* out, int lanes,
                LanesVectors& to);

// All rows of a slice as one, for rows of a vector or more whose outputs follow each other.
void rows_spliced(const Index3& size, const Index3& step, const Index3& out, int lanes,
                  LanesVectors& to);

}  // namespace fastconv
