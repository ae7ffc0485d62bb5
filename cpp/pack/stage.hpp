// Staging: the input that a tile of outputs needs, copied once into scratch, with padding applied,
// strides of any kind read, the type converted and the layout made what the kernels want.
#pragma once

#include <array>
#include <cstdint>

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
//
// Where kernels read single elements from anywhere, a row is rather staged as it lies.
enum class PatchOrder : std::uint8_t {
  seen,   // by phase, without those that no tap touches
  dealt,  // by phase; of strides up to 4 all of them, which one call deals out (stage_planes.cpp)
  whole   // as it lies
};

// How the columns of patches for kernels with pixels in the lanes lie. Of single rows fewer phases
// count for more than what one call can do.
PatchOrder order_for_lanes(const Problem& problem);

struct PatchAxis {
  std::int64_t k0 = 0;
  std::int64_t k1 = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t phases = 1;
  std::int64_t first = 0;   // position of tap k0 in its phase
  std::int64_t extent = 0;  // positions that the taps reach beyond the tile itself
  std::int64_t step = 1;    // positions from one output to the next: the stride of a whole axis
  bool dealt = false;       // phases are in the order of their residues

  static PatchAxis make(const Axis& axis, std::int64_t k0, std::int64_t k1,
                        PatchOrder order = PatchOrder::seen);
  std::int64_t phase_of(std::int64_t k) const {
    return dealt ? k * dilation % stride : (k - k0) % phases;
  }
  std::int64_t residue(std::int64_t phase) const {
    return dealt ? phase : (k0 + phase) * dilation % stride;
  }
  // Positions of so many outputs, and the first padded one, less the residue, of those from
  // `origin`.
  std::int64_t length(std::int64_t outputs) const { return (outputs - 1) * step + 1 + extent; }
  std::int64_t begin(std::int64_t origin) const { return (origin * step + first) * stride; }
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

  // From one output to the next, in elements.
  Index3 output_step() const {
    return {layout.axis[0] * axis[0].step, layout.axis[1] * axis[1].step,
            layout.axis[2] * axis[2].step};
  }

  // Of kernel row (i, j) of a channel; what kernel column k adds to it; of tap (i, j, k).
  std::int64_t row_offset(std::int64_t channel, std::int64_t i, std::int64_t j) const {
    const auto& [pd, ph, pw] = axis;
    const std::int64_t phase = (pd.phase_of(i) * ph.phases + ph.phase_of(j)) * pw.phases;
    return channel * layout.channel + phase * layout.phase + pd.position_of(i) * layout.axis[0] +
           ph.position_of(j) * layout.axis[1];
  }
  std::int64_t column_offset(std::int64_t k) const {
    return axis[2].phase_of(k) * layout.phase + axis[2].position_of(k) * layout.axis[2];
  }
  std::int64_t offset(std::int64_t channel, std::int64_t i, std::int64_t j, std::int64_t k) const {
    return row_offset(channel, i, j) + column_offset(k);
  }
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

// The narrow integers that products of tiles take are staged as such; else in a compute type.
template <class T>
inline constexpr bool kIsNarrow = sizeof(T) < 4;

// x holds what is staged.
template <class T>
bool holds_staged(const Problem& problem) {
  if constexpr (kIsNarrow<T>)
    return size_of(problem.x_type) == std::int64_t{sizeof(T)};
  else
    return same_storage(problem.x_type, problem.compute);
}

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

}  // namespace fastconv
