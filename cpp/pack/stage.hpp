// Staging: the input that a tile of outputs needs, copied once into scratch, with padding applied,
// strides of any kind read, the type converted and the layout made what the kernels want.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "core/problem.hpp"
#include "kernels/table.hpp"

namespace fastconv {

using Index3 = std::array<std::int64_t, 3>;

// One axis of a staged patch, for taps [k0, k1). With stride s the patch holds only the padded
// positions that some tap touches, sorted by phase (position modulo s), so that the outputs of one
// tap are always neighbours:
//
//   s = 2, k = 3   padded   0 1 2 3 4 5 6       tap 0 -> phase 0 from 0:  0 2 4
//                  phase 0  0 2 4 6             tap 1 -> phase 1 from 0:  1 3 5
//                  phase 1  1 3 5               tap 2 -> phase 0 from 1:  2 4 6
struct PatchAxis {
  std::int64_t k0 = 0;
  std::int64_t k1 = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t phases = 1;
  std::int64_t first = 0;   // position of tap k0 in its phase
  std::int64_t extent = 0;  // positions that the taps reach beyond the tile itself

  static PatchAxis make(const Axis& axis, std::int64_t k0, std::int64_t k1);
  std::int64_t phase_of(std::int64_t k) const { return (k - k0) % phases; }
  std::int64_t residue(std::int64_t phase) const { return (k0 + phase) * dilation % stride; }
  std::int64_t position_of(std::int64_t k) const { return k * dilation / stride - first; }
};

// Strides of a patch, in elements. `phase` separates the blocks of the (d, h, w) phases.
struct PatchLayout {
  std::int64_t channel = 0;
  std::int64_t phase = 0;
  Index3 axis = {};
  Index3 length = {};
  std::int64_t room = 0;  // elements behind the rows of a phase that staging may overwrite
};

struct Patch {
  std::array<PatchAxis, 3> axis;
  PatchLayout layout;
  std::int64_t first_channel = 0;
  std::int64_t channels = 0;
};

// A box of outputs of one image and group.
struct Tile {
  std::int64_t image = 0;
  std::int64_t group = 0;
  Index3 origin = {};
  Index3 size = {};
};

// The widest box that may be staged as columns.
inline constexpr std::int64_t kMostColumns = 512;

template <class T>
void stage_patch(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                 const Patch& patch, const Tile& tile, T* to);

// im2col of terms [first, first + terms), one row of `pitch` elements a term, one column a pixel:
//
//   group = 0   t0 p0 p1 p2 ...    group = 6   t0 p0 .. p5  t1 p0 .. p5  ...
//               t1 p0 p1 p2 ...                t0 p6 .. p11 t1 p6 .. p11 ...    `pitch` further on
//
// The groups are the pixels of one tile of the outer product, so that it reads one stream.
template <class T>
void stage_columns(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                   const Tile& tile, std::int64_t first, std::int64_t terms, std::int64_t group,
                   std::int64_t pitch, T* to);

// Positions first[a] + i * step[a], i < count[a], of the padded input. Beyond the padding anything
// may be read that the input holds, or the fill value.
struct Lattice {
  Index3 first = {};
  Index3 step = {1, 1, 1};
  Index3 count = {1, 1, 1};
};

// Where the count[0] * count[1] rows of a lattice lie in x, whatever the channel: byte offsets, or
// kFilledRow where the whole row shows the fill value.
inline constexpr std::int64_t kFilledRow = std::numeric_limits<std::int64_t>::min();
void locate_rows(const Problem& problem, const Tensor& x, std::int64_t image,
                 const Lattice& lattice, std::int64_t* offset);

// The rows of one real channel, counted over all groups: rows[i] points into x where the row can be
// read as it lies, or else to a copy, i * count[2] elements into `buffer`.
template <class T>
void lattice_rows(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Lattice& lattice, const std::int64_t* offset, std::int64_t channel,
                  T* buffer, const T** rows);

// Asks for the rows of a channel: they lie a plane apart, where no processor expects them.
void prefetch_rows(const Problem& problem, const Tensor& x, const Lattice& lattice,
                   const std::int64_t* offset, std::int64_t channel);

// All channels of a group: to[d][h][w][pitch], zeros after the last channel. Complex ones must lie
// side by side in x.
template <class T>
void stage_lattice_channels_last(const KernelTable& kernels, const Problem& problem,
                                 const Tensor& x, std::int64_t image, std::int64_t group,
                                 const Lattice& lattice, std::int64_t pitch, T* to);

}  // namespace fastconv
