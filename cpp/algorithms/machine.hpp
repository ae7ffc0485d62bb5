// What layouts and estimates know of the processor and its kernels.
#pragma once

#include <cstdint>

#include "kernels/table.hpp"

namespace fastconv {

// The numbers of the machine and its kernels that a tiling depends on.
struct Machine {
  int lanes;           // elements of one vector
  int out_vecs;        // outer: widest panel in vectors
  int rows;            // lanes: widest panel in channels
  int pixels;          // outer: pixels of a tile
  int chain;           // terms of one sum, at most
  int column_vecs[2];  // columns: vectors of a panel, or 0
  int most_rolled;     // plane: the largest kernel filtered without staging, or 0
  int element;         // bytes
  std::int64_t l1;
  std::int64_t l2;
  int threads;
  bool splices;                            // lanes: a vector may go from one row to the next
  bool halved = false;                     // outer: a tile of one vector is two of half the length
  bool halves = false;                     // outer: there is a tile of half a vector
  int channel_vecs = 1;                    // plane: of a block with channels last, at most
  int group_sums = 0;                      // of group_lanes; 0: lanes are not routed
  bool flat = false;                       // KernelSet::flat_lanes
  bool quads = false;                      // few filters, channels last: KernelSet::pixel_quads
  bool rolls_any = false;                  // plane: kernels of any size are filtered in stages
  double tile_rate[kTileProducts] = {};    // TileKernels
  int tile_scattered[kTileProducts] = {};  // TileForm, of rows
};

}  // namespace fastconv
