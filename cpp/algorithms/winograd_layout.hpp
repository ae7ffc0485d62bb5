// How a layer is cut for Winograd's algorithm. Pure arithmetic; nothing here touches an array.
//
// A tile takes blocks of three taps of stride 1. Any larger kernel is a sum of such blocks, each
// with an input of its own:
//
//   5 taps              a b c d e    =   a b c . .   +   . . 0 d e
//   7 taps, stride 2    a b c d e f g =  a c 0, 0 e g of the even positions, b d f of the odd ones
//
// so a term of the sums is a channel and a block. A block that is filled up with a zero has no
// product at the first or the last point: 5 x 5 taps make 49 products for four outputs, not 64. It
// is filled up inside of the kernel, so that an output still reads nothing but its own window.
// Where a phase of the stride has a tap less than a tile takes, its block is a narrow one, which
// lacks a point between (kernels/winograd.hpp):
//
//   3 taps, stride 2    a b c        =   a c of the even positions (3 products of two outputs),
//                                        b of the odd ones (2)
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "algorithms/panel_tasks.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// Taps offset, offset + stride, ... of one axis of the kernel.
struct WinogradBlock {
  std::int64_t offset = 0;
  std::int64_t zeros_before = 0;  // taps of the tile that other blocks have
  std::int64_t zeros_behind = 0;
  bool narrow = false;
  std::int64_t lattice = 0;  // which transformed input it reads
  std::int64_t shift = 0;    // so many tiles further on
};

// A transformed input.
struct WinogradLattice {
  std::int64_t offset = 0;  // below step(): where its tiles begin
  bool narrow = false;
  bool operator==(const WinogradLattice&) const = default;
};

struct WinogradAxis {
  WinogradAxisShape tile = kF11;
  std::int64_t stride = 1;
  std::vector<WinogradBlock> blocks;
  std::vector<WinogradLattice> lattices;
  std::int64_t most_shift = 0;
  int narrow = -1;  // the point where some block has no product between the first and the last

  static WinogradAxis make(const Axis& axis, const WinogradAxisShape& tile);

  std::int64_t step() const { return stride * tile.outputs; }  // input positions between tiles
  std::int64_t products() const;                               // of a tile
  std::int64_t weights() const;                                // transformed ones
  std::int64_t inputs() const;                                 // transformed ones of a tile
  // Input positions of a tile in a lattice.
  int reads(const WinogradLattice& lattice) const { return tile.points - (lattice.narrow ? 1 : 0); }
  // Input positions that so many tiles need, shifted ones included.
  std::int64_t positions(std::int64_t tiles) const;
};

// Sizes in elements.
struct WinogradLayout {
  WinogradTile tile = WinogradTile::f23_f23;
  WinogradAxis rows, columns;
  bool channels_last = false;
  Index3 phases = {1, 1, 1};  // of the dilation
  Index3 all = {1, 1, 1};     // tiles of the largest phase: depth (not tiled), rows, columns
  Index3 boxes = {1, 1, 1};   // that share them: their sizes differ by one at most
  Index3 tiles = {1, 1, 1};   // of the largest box
  std::int64_t slices = 1;    // input slices of a box
  PanelTasks tasks;
  std::int64_t panels_at_once = 1;
  std::int64_t block = 1;  // terms of one kernel call, at most

  // Staged input. Planes: the columns of a row are split into step() phases, `split` apart.
  // Channels last: the rows that one row of tiles reads, `pitch` from one position to the next.
  std::int64_t pitch = 1;
  std::int64_t patch_rows = 0;
  std::int64_t patch_columns = 0;
  std::int64_t split = 0;
  std::int64_t patch_elements = 0;
  std::int64_t split_elements = 0;

  // V: [frequency][lattice][channel][slice][grid of tiles] (planes), or
  // [frequency][lattice][slice][grid of tiles][channel].
  std::int64_t lattice = 0;      // from one lattice to the next
  std::int64_t frequency = 0;    // from one frequency of V to the next
  std::int64_t m_frequency = 0;  // and of M
  std::int64_t m_elements = 0;
  std::int64_t acc_elements = 0;

  // By the kind of a frequency: 1 and 2 for the first and last point of the columns, 3 for that of
  // narrow blocks, else 0, plus four times the same of the rows.
  struct Terms {
    std::vector<std::int32_t> tap;   // where each lies in V: [kernel slice][block][channel]
    std::int64_t blocks = 0;         // that have a product
    std::int64_t slice = 0;          // terms of one kernel slice
    std::vector<std::int64_t> rank;  // of each block, rows x columns, or -1: no product
  };
  static constexpr int kKinds = 16, kMostPoints = 36;
  Terms terms[kKinds];
  std::uint8_t kinds[kMostPoints] = {};   // of each frequency
  std::vector<std::int64_t> u_frequency;  // where each begins in a panel of weights
  std::int64_t u_panel = 0;               // elements of a panel
  // The same of weights that are packed as they are multiplied: so many channels at a time, of
  // which a block's products are made before the next are packed, so that they stay in L2.
  std::int64_t part = 0;
  std::vector<std::int64_t> part_frequency;
  std::int64_t part_elements = 0;

  std::int64_t points() const { return std::int64_t{rows.tile.points} * columns.tile.points; }
  int kind(std::int64_t frequency) const { return kinds[frequency]; }
  const Terms& terms_of(std::int64_t frequency) const { return terms[kind(frequency)]; }
  // A kernel of one block has all of its taps.
  bool is_whole() const { return rows.blocks.size() == 1 && columns.blocks.size() == 1; }
  std::int64_t grid_columns() const { return tiles[2] + columns.most_shift; }
  std::int64_t grid() const { return (tiles[1] + rows.most_shift) * grid_columns(); }
  std::int64_t lattice_count() const {
    return static_cast<std::int64_t>(rows.lattices.size() * columns.lattices.size());
  }
  // Terms of a kernel call: as many in each, at most `block`.
  std::int64_t chain(std::int64_t count) const {
    return count <= block ? count : divide_up(count, divide_up(count, block));
  }
  std::int64_t plane() const { return tiles[1] * tiles[2]; }
  std::int64_t tile_count() const { return tiles[0] * plane(); }
  // `of` boxes that share the tiles of axis a.
  std::int64_t first_tile(int a, std::int64_t box, std::int64_t of) const {
    return box * all[a] / of;
  }
  std::int64_t first_tile(int a, std::int64_t box) const { return first_tile(a, box, boxes[a]); }
  std::int64_t box_count() const { return boxes[0] * boxes[1] * boxes[2]; }
  std::int64_t all_boxes(const Problem& p) const {
    return p.batch * p.groups * phases[1] * phases[2] * box_count();
  }
};

// Null, or why there is no tile for this layer.
const char* winograd_accepts(const Problem& problem);

// Vector operations a term and pixel.
double winograd_cost(const Problem& problem, const Machine& machine);

PanelShape winograd_panels(const Problem& problem, const Machine& machine);
WinogradLayout make_winograd_layout(const Problem& problem, const Tensor& x,
                                    const PanelShape& panels, const Machine& machine);

// Outputs of one axis that belong to a phase of its dilation.
inline std::int64_t phase_outputs(const Axis& axis, std::int64_t phase) {
  return (axis.out - phase + axis.dilation - 1) / axis.dilation;
}

}  // namespace fastconv
