// How a layer is cut for Fourier transforms (fft.cpp): rows of outputs into blocks, kernels that
// are longer than a block into parts, outputs into tiles, of which lanes take one pair each.
//
//   kernel       |--part 0--|--part 1--|--part 2--|
//   padded row   |----------|----------|----------|----------|----------|--
//   transforms    0=====================           read two blocks each, for one of outputs
//                            1=====================
//                                       2=====================
//   output       block 0 = part 0 on 0 + part 1 on 1 + part 2 on 2
//                block 1 = part 0 on 1 + part 1 on 2 + part 2 on 3
//
// Where a row has blocks enough, lanes take neighbouring blocks of it instead of tiles of their
// own, which would share none of the blocks that their parts read:
//
//   X  at a point: blocks 0 to 23 of a row      part p of outputs 0 to 7 is what lies at p to p + 7
//
// A block's spectrum serves all parts, all rows of the kernel and all output channels. So along
// width nothing is summed but in spectra, and along height, depth, channels and parts a product of
// spectra runs through a table of taps as any kernel does.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Terms whose input is transformed at once: a range of channels, and of slices, rows and parts of
// the kernel.
struct FftChunk {
  std::int64_t first_channel = 0;
  std::int64_t channels = 0;
  Index3 first = {};  // slice, row, part of the kernel
  Index3 count = {};
  Index3 rows = {};  // staged: slices, rows, blocks (whole vectors of them, where lanes are blocks)
  // Blocks that the chunk before has staged already, where a chunk is one part: they lie in a ring.
  std::int64_t kept = 0;
  std::vector<std::int32_t> row;  // of each output row, in staged rows
  std::vector<std::int32_t> tap;  // of each term: channel, slice, row, part
  std::int64_t first_weight = 0;  // terms before this chunk

  std::int64_t block_at(std::int64_t block) const { return (first[2] + block) % rows[2]; }
  std::int64_t staged() const { return channels * rows[0] * rows[1] * rows[2]; }
  std::int64_t terms() const { return channels * count[0] * count[1] * count[2]; }
};

struct FftLayout {
  static constexpr std::int64_t kMostBlocks = 512;  // of a row, where they are lanes

  int along = 2;             // the axis of the transforms; all else is of the problem turned so
  int log2 = 0;              // of the points of a transform
  std::int64_t pitch = 0;    // positions from one block to the next
  std::int64_t outputs = 0;  // of a block: one in `stride` positions
  std::int64_t parts = 1;
  std::int64_t reach = 0;   // positions from the first tap of a part to the last, at most
  Index3 tile = {};         // outputs
  Index3 tiles = {};        // of an image and group
  std::int64_t blocks = 1;  // of a tile, along its width
  bool lanes_are_blocks = false;
  // The axis that FftCheck takes for the rows, of the problem as it is: those of the caller, but of
  // thin kernels and tiles.
  int check_along = 2;
  std::int64_t filters = 1;   // output channels whose spectra are summed at once
  std::int64_t channels = 1;  // of a chunk, at most; and slices, rows, parts of the kernel
  Index3 taps = {1, 1, 1};
  std::int64_t run = 1;  // terms that are summed before their sum is added to the others
  std::int64_t runs = 1;
  std::vector<FftChunk> chunks;
  std::int64_t most_staged = 0;  // rows of a chunk, and of a channel of one: slices times rows
  std::int64_t most_lines = 0;
  std::int64_t most_of_channel = 0;  // rows

  std::int64_t points() const { return std::int64_t{1} << log2; }
  std::int64_t tile_count() const { return tiles[0] * tiles[1] * tiles[2]; }
  // Two tiles share a lane. An image has pairs of its own: what shares a lane shares rounding.
  std::int64_t pairs() const { return (tile_count() + 1) / 2; }
  // Of a group, each of so many tiles as fill the lanes of a vector twice.
  std::int64_t tasks(std::int64_t batch, std::int64_t lanes) const {
    return lanes_are_blocks ? batch * tiles[0] * tiles[1] * divide_up(tiles[2], 2 * lanes)
                            : divide_up(batch * pairs(), lanes);
  }
  // Of a chunk of one part of the kernel.
  bool keeps_blocks() const { return taps[2] == 1 && !lanes_are_blocks; }
  // Elements of a staged row at a point.
  std::int64_t staged_pitch(std::int64_t lanes) const { return lanes_are_blocks ? 2 : 2 * lanes; }
  std::int64_t rows() const { return tile[0] * tile[1] * blocks; }  // of outputs, in a tile
};

// What lies along that axis (a problem, strides, a box) as its last axis, or back.
template <class T>
T turned(T of, int along) {
  std::swap(of[static_cast<std::size_t>(along)], of[2]);
  return of;
}
inline Problem turned(Problem problem, int along) {
  problem.axis = turned(problem.axis, along);
  return problem;
}

// Null, or why not. Integers are computed as float64 (fft.cpp).
const char* fft_accepts(const Problem& problem);
double fft_cost(const Problem& problem, const Machine& machine);
// Of a problem that is accepted.
FftLayout make_fft_layout(const Problem& problem, const Machine& machine);

// Of each stage of radix 4, the largest first: (cos, sin, -sin) of one, two and three times an
// angle.
std::vector<double> fft_twiddles(int log2);

// |error| <= units * 2^-53 * norm(x) * norm(w), of a transform, a product and the way back.
// Measured, of whatever adds up roundings (constants, sines): 1.7, 3.1, 4.9 for 512, 2048, 8192
// points; noise stays below 0.3. Where all terms are alike (one sine in all channels, one filter)
// additions to a growing sum round alike: 0.9 more for a term of a run, and 0.4 for a run.
inline double fft_error_units(const FftLayout& l) {
  return l.log2 / 2 + 1.5 + static_cast<double>(l.run) + static_cast<double>(l.runs - 1) / 2;
}

}  // namespace fastconv
