// How a problem is cut for products of tiles (tile_product.cpp).
//
//   channels     slabs of one position: 32, or 64 bytes. Where that would be mostly zeros (three
//                channels of a picture), terms of all taps take their place: im2col, gathered from
//                the patch as it is cut, and each output pixel is a position of its own
//   positions    those of a box, staged once, all slabs, for all taps and output channels
//   tiles        sixteen positions in a row, which may run through the end of a row:
//
//     row 0  o o o o o o o . .     o  an output        7 x 7, kernel 3: rows are 9 positions apart,
//     row 1  o o o o o o o . .     .  in vain          61 from first to last, four tiles
//
//                Where each pixel of a tile may lie anywhere (TileForm::scattered), none is in
//                vain.
//   runs         rows of outputs that one call makes, so that their sums stay in the nearer caches
//
// In layers with channels first that are pointwise, or gathered, positions are columns of tiles
// (TileForm). There, and where terms are gathered, each run has tiles of its own, one after the
// other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "algorithms/panel_tasks.hpp"
#include "algorithms/tile_blocks.hpp"
#include "core/problem.hpp"
#include "pack/stage.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// Rows of `width` outputs that one call makes.
struct TileRun {
  std::int64_t rows = 1;
  std::int64_t width = 1;
  bool flat = false;    // tiles run from row to row
  bool packed = false;  // and leave out what lies between rows

  // Tiles of `count` rows, which lie `pitch` positions apart, in one call;
  std::int64_t tiles(std::int64_t count, std::int64_t pitch) const;
  // of `height` rows, in as many calls as it takes.
  std::int64_t tiles_of_all(std::int64_t height, std::int64_t pitch) const;
};

struct TileLayout {
  TileProduct product = TileProduct::six;
  TileScheme scheme;
  bool columns = false;
  bool gathered = false;
  bool dots = false;  // dot products multiply
  bool scattered = false;
  std::int64_t slabs = 1;
  Index3 box = {1, 1, 1};
  Index3 boxes = {1, 1, 1};
  Patch patch;              // of a slab, in the compute type
  std::int64_t places = 1;  // of a slab and part: positions, or as columns whole tiles
  TileRun run;
  std::vector<std::int32_t> step;  // TileProductArgs
  std::int64_t short_steps = 0;
  std::int64_t words = 16;
  std::vector<std::int32_t> term;  // of gathered terms, where each lies in the patch
  PanelTasks tasks;
  // Slabs that are multiplied at once, where a panel's weights would not stay in L2 beside the
  // positions and what comes next.
  std::int64_t slabs_at_once = 1;
  // A call's weights serve one box: they are packed as they are multiplied.
  bool packs_as_it_runs = false;
  // All packed weights stay in L2: none need be asked for.
  bool weights_are_near = false;
  // Of scattered pixels (run.packed): without what sees only a border of zeros, and with it, for
  // weights that are not finite.
  TileBlockLists blocks, all_taps;
  // What an offset of the input adds depends on the taps that a block sees (tile_packing.cpp).
  bool offset_by_taps = false;

  // Scratch of one worker: patch | positions | sums (of all runs, if slabs go in several parts) |
  // conversion | tiles | what sums begin with | weights, as they are packed
  std::int64_t patch_elements = 0;
  std::int64_t staged_bytes = 0;
  std::int64_t acc_elements = 0;
  std::int64_t most_tiles = 0;
  bool tiles_of_runs() const { return columns || gathered; }
  std::int64_t most_offsets() const { return most_tiles * (scattered ? kTileRows : 1); }
  std::int64_t most_begun() const {
    return is_integer(product)
               ? std::max<std::int64_t>(blocks.most_kinds(), 1) * kTileVectors * kTileRows
               : 0;
  }
  std::int64_t steps_of_slab() const { return static_cast<std::int64_t>(step.size()) / slabs; }
  std::int64_t parts() const { return (slabs + slabs_at_once - 1) / slabs_at_once; }

  std::int64_t part_bytes() const { return places * (columns ? kTileBytes : 64); }
  std::int64_t slab_bytes() const { return part_bytes() * scheme.parts; }
  std::int64_t row_pitch() const { return patch.layout.length[2]; }
  std::int64_t phase_positions() const { return patch.layout.phase / patch.layout.axis[2]; }
  std::int64_t slice_pitch() const { return patch.layout.length[1] * row_pitch(); }
  // Runs of a box, and which of them begins with output (d, h, w).
  std::int64_t run_count() const { return run_at({box[0] - 1, box[1] - 1, box[2] - 1}) + 1; }
  std::int64_t run_at(const Index3& output) const;
  // Calls visit(first output) for each run of a box of this size;
  template <class Visit>
  void for_each_run(const Index3& size, Visit visit) const {
    Index3 at;
    for (at[0] = 0; at[0] < size[0]; ++at[0])
      for (at[1] = 0; at[1] < size[1]; at[1] += run.rows)
        for (at[2] = 0; at[2] < size[2]; at[2] += run.width) visit(at);
  }
  // it has so many outputs.
  Index3 size_of_run(const Index3& size, const Index3& at) const {
    return {1, std::min(run.rows, size[1] - at[1]), std::min(run.width, size[2] - at[2])};
  }
};

// The product that a problem's types and precision call for; false where there is none.
bool choose_float_product(const Problem& problem, TileProduct& product);
// The same, or that of float16 as it is: where the machine has it, or neither.
TileProduct float_product(const Problem& problem, const Machine& machine);

// What is added to the input's bytes, so that signed ones are not.
std::int32_t tile_offset(const Problem& problem, TileProduct product);

// Whether a product of integers is exact: modulo 2^32, as sums in int32 are.
bool takes_integers(const Problem& problem, TileProduct product);

// False where not even the input of one output pixel can be staged whole.
bool tiles_fit(const Problem& problem, TileProduct product);

PanelShape tile_panels(const Problem& problem);

double tile_cost(const Problem& problem, TileProduct product, const Machine& machine);

TileLayout make_tile_layout(const Problem& problem, TileProduct product, const Tensor& x,
                            const Machine& machine);

}  // namespace fastconv
