// What a kernel is told: one plain struct each. Kernels see dense, padded, aligned data and know
// nothing of padding modes, array strides, dilation or groups: all of that is in `tap`, the offset
// of each term of the reduction from an output pixel's own position.
#pragma once

#include <cstdint>

#include "core/activation.hpp"
#include "simd/inline.hpp"

namespace fastconv {

// Memory that the next kernel call will read first, to be brought near during this one: `runs` of
// so many bytes.
struct Upcoming {
  const char* at = nullptr;
  std::int64_t pitch = 0;  // bytes from one run to the next
  std::int64_t bytes = 0;
  std::int64_t runs = 0;
};

// What follows a complete sum in kernels that write the output themselves.
template <class T>
struct Finish {
  const T* bias = nullptr;  // of the first output channel, or null
  bool clamp = false;       // to [0, most]
  T most = T(0);
};

// Lanes are output channels: acc[p][o] += x[pixel[p] + tap[t]] * w[t][o], summed over t.
template <class T>
struct OuterArgs {
  const T* x;
  const std::int32_t* pixel;  // offset of each output pixel
  std::int64_t pixels;
  const std::int32_t* tap;  // offset of each term
  std::int64_t taps;
  const T* w;       // [taps][out_vecs * lanes]
  T* acc;           // [pixels][out_vecs * lanes]
  bool accumulate;  // add to acc, or overwrite it
  // The pixels of a tile lie side by side, terms follow each other: pixel[p + 1] == pixel[p] + 1
  // within a tile and tap[t + 1] == tap[t] + pixels of a tile, as stage_columns leaves them.
  bool columns = false;
  Upcoming upcoming = {};
  // acc may be the output itself, and the last block of terms then adds bias and a clamp.
  std::int64_t acc_pixel = 0;  // from one pixel to the next; 0: out_vecs * lanes
  Finish<T> finish = {};
  const std::int32_t* place = nullptr;  // which pixel of acc each is; null: they are in order
  bool adjacent = false;                // tap[t + 1] == tap[t] + 1
};

// Of a vector of pixels that all lie in one row.
inline constexpr std::int32_t kOneRow = INT32_MIN;
inline constexpr std::int64_t kSplicedTile = 6, kSpliced = 3;

// Lanes are output pixels: acc[o][i] += w[t][o] * x[vector[i] + tap[t]], summed over t, where a
// position i is a vector of neighbouring pixels. Reads whole vectors.
template <class T>
struct LanesArgs {
  const T* x;
  const std::int32_t* vector;  // offset of each vector of pixels
  std::int64_t vectors;
  const std::int32_t* tap;
  std::int64_t taps;
  const T* w;  // [taps][rows]
  T* acc;      // [rows][vectors][lanes]
  bool accumulate;
  // Where the sums are complete and their vectors lie whole in the output, it takes them instead.
  T* out = nullptr;
  const std::int64_t* place = nullptr;  // of each vector in `out`
  std::int64_t out_channel = 0;
  Finish<T> finish = {};
  // No near cache holds the output: a tile asks for its lines before it multiplies (3 -> 64
  // channels, 3 x 3, on 224 x 224: 93 to 97 GFLOP/s; outputs in L2: 1 % slower).
  bool out_is_far = false;
  // Nor the input, each element of which is used but once: tiles of one and two rows ask for what
  // the next tile reads.
  bool x_is_far = false;
  // Vectors may go from the end of a row to the beginning of the next: lanes from seam[i] on are at
  // next[i] then. The first `tiled` vectors are tiles of kSplicedTile, of which the first kSpliced
  // may be such ones; in a tile, and in all that follow them, whose first is kOneRow, none is.
  const std::int32_t* next = nullptr;
  const std::int32_t* seam = nullptr;
  std::int64_t tiled = 0;
  Upcoming upcoming = {};  // a share of what is staged next
};

// Kernel rows of one channel, kernel slice and row phase: they touch neighbouring rows of the
// patch.
struct StencilGroup {
  std::int32_t x;        // offset of the row that the first kernel row sees
  std::int32_t w;        // offset of its weights
  std::int32_t w_pitch;  // from one kernel row to the next
  std::int32_t rows;
  std::int32_t columns;
};

// One output channel, lanes are output pixels, a tile spans several output rows. Reads and writes
// whole vectors, as pixel lanes do.
template <class T>
struct StencilArgs {
  const T* x;
  std::int64_t x_pitch;  // from one row of the patch to the next
  const StencilGroup* group;
  std::int64_t groups;
  const std::int32_t* column;  // offset of each kernel column
  const T* w;
  std::int64_t pixels;  // of one output row
  T* acc;
  std::int64_t acc_pitch;  // from one output row to the next
  bool accumulate;
};

// Rows of one plane filtered straight into the output; lanes are output columns. Kernel rows of one
// phase are `advance` entries apart, so that output rows share them (or there is one output row).
template <class T>
struct PlaneArgs {
  // row[i * row_step] is what kernel row i sees of the first output row; `advance` entries further
  // lies that of the next output row. With several phases (of a vertical stride) the kernel rows
  // phase, phase + phases, ... are taken together, from row[phase * phase_step] on.
  const T* const* row;
  const T* nothing;  // a row in the table that need not be multiplied: zeros of the border; or null
  std::int64_t row_step;
  std::int64_t advance;
  std::int64_t phases;
  std::int64_t phase_step;
  // Further planes add to the same outputs: input channels, and slices of a kernel with depth. No
  // more than one but of PlaneKernel::any.
  std::int64_t slices;
  std::int64_t slice_rows;  // of the table, from one to the next
  std::int64_t kernel_rows;
  std::int64_t kernel_columns;
  const std::int32_t* column;  // offset of each kernel column
  bool neighbours;             // each column lies beside the one before it
  const T* w;                  // [slices][kernel_rows][w_row], kernel_columns of each row
  std::int64_t w_row;          // the same but of PlaneKernel::any
  const T* bias;               // one value, or null
  Activation activation;
  T* out;
  std::int64_t out_pitch;
  std::int64_t rows;
  std::int64_t pixels;  // of one output row
  std::int64_t room;    // elements from `out` on that whole vectors may overwrite: later rows
  // Of PlaneKernel::column, or null: a vector to which 0 * sum is added, which is 0 where all sums
  // are finite.
  T* zeros;
};

// Of the room for whole vectors. Not 0: rows may step backwards, away from its end.
inline constexpr std::int64_t kNoRoom = -(std::int64_t{1} << 62);

// Input rows to padded rows, a phase of the horizontal stride after the other: column c, which is
// padded column p = position + c, goes to to[p % stride * phase_pitch + p / stride]. With a stride
// of 1 or 2 up to a vector after each phase is overwritten; `fill` is put back there.
template <class T>
struct PlaneStageArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
  std::int64_t position;
  std::int64_t phase_pitch;
  std::uint32_t phases;  // those that the kernel sees, as bits; others may be left out
  T fill;
  T* to;
  std::int64_t to_pitch;

  // By a stride that the compiler knows: a division takes as long as a row of a small plane.
  template <int Stride>
  std::int64_t offset(std::int64_t column) const {
    const std::int64_t p = position + column;
    return p % Stride * phase_pitch + p / Stride;
  }
};

// Planes filtered by small square kernels (rolling.hpp, staged_planes.hpp). Rows beyond the plane
// are entries of the table, columns beyond it show the fill value.
inline constexpr std::int64_t kFillRow = INT64_MIN;

template <class T>
struct RollSlice {
  const T* x;  // null: is staged
  T* staged;
  bool has_border;
};

template <class T>
struct RollArgs {
  const T* x;
  const std::int64_t* row;  // offset of each input row that the output rows see, or kFillRow
  const T* fill_row;        // [width]
  std::int64_t width;       // input columns
  std::int64_t border;      // padded columns before them
  const T* w;               // [planes][kernel rows][kernel columns]
  const T* from;            // what sums start from, whole vectors; null: zero
  std::int64_t from_pitch;
  const T* bias;  // [planes] or null
  Activation activation;
  T* out;
  std::int64_t out_pitch;
  std::int64_t rows;
  std::int64_t pixels;  // of one output row
  std::int64_t room;    // elements from `out` on that whole vectors may overwrite before their turn
  std::int64_t planes;
  std::int64_t x_plane;  // from one plane to the next
  std::int64_t out_plane;
  // Of kernels that stage planes with their border (staged_planes.hpp): several filters of each.
  std::int64_t filters;
  std::int64_t kernel_rows, kernel_columns;
  // 1 but for kernels of any size, and of rows but for a stride of 1.
  std::int64_t row_dilation, column_dilation;
  T* staged;  // room for some planes, at least one (StagedLayout)
  std::int64_t staged_elements;
  bool has_borders;  // that the last call staged, of as many planes with the same
  // Or slices of one plane; each is where the last call left it, or is staged.
  const RollSlice<T>* slice;  // null: x
  std::int64_t slices;
  T* copied;  // [rows][a vector], of rows of less than a vector
};

inline constexpr std::int64_t kAnySize = 0;   // of kernels that have no tile of their own
inline constexpr std::int64_t kAnyLeast = 4;  // rows of a phase of the dilation that they filter

// Output rows of a tile of staged_planes.hpp: what leaves the fewest in vain. Eight of 7 x 7 spill.
constexpr std::int64_t staged_tile(std::int64_t rows, std::int64_t size) {
  if (size == kAnySize) return rows < 8 ? kAnyLeast : 8;
  if (rows < 4) return 1;
  if (rows < 7) return 4;
  if (size == 7) return 7;
  return (rows + 7) / 8 * 8 < (rows + 6) / 7 * 7 ? 8 : 7;
}

inline constexpr std::int64_t kMostStagedSlices = 28;  // of 3 x 3, for a sum of 256 terms

// How staged_planes.hpp lays out the input of `rows` output rows, of which one sees `down` rows and
// `across` columns: one row after the other, with a stride of 2 odd columns behind even ones.
struct StagedLayout {
  std::int64_t slots, odd, pitch, plane;

  constexpr StagedLayout(std::int64_t rows, std::int64_t pixels, std::int64_t down,
                         std::int64_t across, std::int64_t stride, std::int64_t lanes)
      : slots((rows - 1) * stride + down),
        odd(stride == 1
                ? 0
                : ((pixels > lanes ? pixels : lanes) + across / 2 + 2 * lanes) / lanes * lanes),
        pitch(stride == 1 ? (pixels + across - 1 + lanes - 1) / lanes * lanes : 2 * odd),
        plane(slots * pitch) {}
  // Elements behind a plane that are written and read.
  static constexpr std::int64_t kBehind = 64;
};

// Of ChannelArgs::seen_end: no column is left out.
inline constexpr std::int64_t kAllColumns = INT64_MAX;

// One row of output pixels of a depthwise layer with channels last; lanes are channels
// (kernels/channel_lanes.hpp).
template <class T>
struct ChannelArgs {
  const T* x;                  // of the first channel
  const std::int64_t* row;     // offset of the input row of each kernel row, or kFillRow
  std::int64_t kernel_rows;    // of all kernel slices
  const std::int32_t* order;   // which kernel row each is, where some are left out, or null
  const std::int64_t* column;  // offset of each padded column, or kFillRow
  std::int64_t kernel_columns;
  std::int64_t dilation;
  std::int64_t stride;
  std::int64_t inside, inside_end;  // padded columns that are not of the border:
  std::int64_t column_pitch;        // these lie so far apart
  std::int64_t seen, seen_end;      // those that are input: of others products may be left out
  const T* fill;                    // as many fill values as there are channels
  const T* w;                       // [kernel_rows][kernel_columns][channels]
  const T* bias;                    // [channels] or null
  std::int64_t vecs;                // channels, in vectors: 1, or tiles of them
  bool x_is_far;                    // comes from memory, and is used by several rows
  Activation activation;
  bool accumulate;  // add to out, or overwrite it
  T* out;
  std::int64_t out_pixel;
  std::int64_t pixels;
};

// Pixels of a strip of float32 with 32 registers: pictures of 7, 14 and 28 columns are cut into the
// long ones, of 12 and 24 into the others.
inline constexpr std::int64_t kLongStrip = 14, kShortStrip = 12;
// Vectors of channels of a wide tile (channel_lanes.hpp).
inline constexpr int kWideVecs = 4;

// Cycles of a row of strips for each kernel column: what is left is a strip of half as many, or
// overlaps the one before it. Strips of few pixels wait for their sums.
template <int Pixels>
FASTCONV_INLINE constexpr std::int64_t strip_cycles(std::int64_t pixels) {
  constexpr std::int64_t kHalf = Pixels / 2, kWait = 4;
  std::int64_t left = pixels % Pixels;
  if (left > kHalf && pixels > Pixels) return pixels - left + Pixels;
  std::int64_t cycles = pixels - left;
  if (left >= kHalf) {
    left -= kHalf;
    cycles += kHalf;
  }
  if (left == 0) return cycles;
  return cycles + (left > kHalf / 2 && pixels > kHalf ? kHalf : kWait);
}

// One row of output pixels of some groups of few channels, channels last; lanes are their input
// channels (kernels/group_lanes.hpp). Of `pixels`, all is as for a depthwise layer but these: w is
// [kernel_rows][kernel_columns][sums][lanes], bias has whole vectors and is not null, vecs is 1,
// and whole sums are written, clamped. A column_pitch says that no column is of the border.
template <class T>
struct GroupArgs {
  ChannelArgs<T> pixels;
  const std::int64_t* border;       // a column that is kFillRow
  std::int64_t inside, inside_end;  // pixels that see no border column
  std::int64_t step;                // between what two of these see through a kernel column
  int sums;                         // that an input is multiplied into: 1, 2, 3, 4, 6 or 8
  // [vectors of output][rounds][sums][lanes]: the lane of a sum that an output takes; `lanes`:
  // none.
  const std::int32_t* route;
  std::int64_t rounds;
  std::int64_t out_channels;
  const T* low;  // [2][lanes]: of outputs the least, and the most
};

// Rows of output as they lie with channels last (kernels/flat_lanes.hpp), kFlatRows at a time.
inline constexpr int kFlatRows = 4;
inline constexpr int kFlatShared = 3;  // kernel rows that are taken at once
template <class T>
struct FlatArgs {
  const T* const* row;  // [rows][kFlatRows]: what an output row sees through a kernel row
  std::int64_t rows;    // of the kernel, in all channels of a group
  // The first so many of them by threes, each of which the output row after sees in the place of
  // the one before.
  std::int64_t shared;
  const T* const* w;  // [rows]: [columns][w_pitch], the channels over and over
  std::int64_t w_pitch;
  const std::int64_t* column;  // [columns]: offset of a kernel column
  std::int64_t columns;
  std::int64_t period;  // output channels
  const T* bias;        // as one column of weights
  T low, high;          // of outputs the least, and the most
  T* const* out;        // [kFlatRows]
  std::int64_t count;   // elements of a row
  // Of flat_groups, whose rows are pixels as they lie: which input of a step an output takes, by
  // channels of a group; inputs of a row, and of a step, and outputs of a step.
  const std::int32_t* route;
  std::int64_t in, in_step, out_step;
};

// Bias, activation, and the way from the accumulators to the output (or to a row of scratch that is
// converted next). Strides count elements.
template <class T>
struct StoreArgs {
  const T* acc;
  std::int64_t acc_pixel;
  std::int64_t acc_channel;
  std::int64_t pixels;
  std::int64_t channels;
  T* out;
  std::int64_t out_pixel;
  std::int64_t out_channel;
  const T* bias;  // [channels] or null
  Activation activation;
};

// Layers of few filters, channels last (pixel_quads.hpp).
inline constexpr int kQuad = 4;
template <class T>
struct QuadArgs {
  const T* const* quad;     // the first of four pixels each, where a tap of offset 0 sees them
  T* const* place;          // of their outputs
  std::int64_t quads;       // as many as fill vectors: the last one may be there several times
  std::int64_t pitch;       // from one pixel of a quad to the next
  const std::int64_t* run;  // offsets of terms that lie side by side
  std::int64_t runs;
  std::int64_t terms;  // of a run; of fewer than four, the three elements behind them are read
  const T* w;          // [term][filter], of one filter or four, of which the last may be unused
  const T* bias;       // as many
  T low, high;         // between which outputs are
  std::int64_t filters;
  std::int64_t out_pixel;      // the number of filters, where that is below four
  std::int64_t ahead;          // elements further on, input is asked for
  T* spare;                    // four vectors
  std::int64_t ahead_of_turn;  // more with each four terms of a run
};

// Terms of a matrix of columns: to[p / group * pitch + t * group + p % group] =
// from[t * from_pitch + p]. Whole vectors are written, over what follows in the group: terms go in
// rising order, and behind the last one there is room for a vector.
template <class T>
struct SpreadArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t terms;
  std::int64_t pixels;
  T* to;
  std::int64_t pitch;
};

// Lines that the next call reads first, asked for one by one while this one multiplies: tile q of
// the call asks for `count` of them, from at + q % parts * count * step + q / parts * pitch on,
// `step` bytes apart, until all `columns` are through.
struct Ahead {
  const char* at = nullptr;
  std::int64_t step = 0;
  std::int64_t count = 0;
  std::int64_t parts = 1;
  std::int64_t pitch = 0;
  std::int64_t columns = 0;
};

// Lanes are output pixels, many output channels: out[r][p] = sum over t of w[r][t] * x[t][p], for
// the `pixels` of one panel and the `rest_pixels` behind them.
template <class T>
struct ColumnArgs {
  const T* x;  // [terms][vectors of the panel * lanes]
  std::int64_t terms;
  const T* w;
  std::int64_t w_pitch;
  std::int64_t rows;
  T* out;
  std::int64_t out_pitch;
  std::int64_t pixels;
  const T* rest;  // [rest_pixels][rest_pitch], terms side by side
  std::int64_t rest_pitch;
  std::int64_t rest_pixels;
  bool accumulate;  // add to out, or overwrite it
  bool relu;
  const T* bias;  // [rows] or null
  Ahead ahead;
  // Panels of `pixels` each, one behind the other in out; x of each panel_pitch further on. A row
  // takes all of them in turn.
  std::int64_t panels = 1;
  std::int64_t panel_pitch = 0;
  Ahead w_lines;  // asked for by the tiles behind those of `ahead`
};

// Dot products of pixels and a filter or two: out[p * out_pixel + f] = bias[f] + sum over t of
// x[p * pixel + t] * w[f * w_pitch + t].
template <class T>
struct DotArgs {
  const T* x;
  std::int64_t pixel;
  std::int64_t pixels;
  std::int64_t terms;
  const T* w;
  std::int64_t w_pitch;
  std::int64_t filters;
  T* out;
  std::int64_t out_pixel;
  const T* bias;  // or null
  bool relu;
};

// Pixels of a panel that lie side by side in a patch or a row, a vector of them or fewer.
struct Piece {
  std::int32_t from;
  std::int32_t to;
  std::int32_t count;
};

// A panel of columns: to[t * to_pitch + p]. With taps, pieces of a patch, tap[t] being a term's
// offset; whole vectors are read and written, over what follows: terms and pieces go in rising
// order, and behind the last there is room for a vector. Without, term t is at
// from + t * from_pitch, where not an element more is read: pieces of every `step`-th (1 or 2)
// element, or, if there are none, `pixels` side by side, of one panel of to_pitch or of several.
template <class T>
struct GatherArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t pixels;
  const std::int32_t* tap;  // or null
  const Piece* piece;
  std::int64_t pieces;
  std::int64_t step;
  std::int64_t terms;
  T* to;
  std::int64_t to_pitch;
  std::int64_t panel_pitch;  // from one panel to the next
};

// Rows of weights to kernel order: to[t * to_pitch + r] = from[r * from_pitch + t], and zeros in
// to[t * to_pitch + rows .. to_pitch).
template <class T>
struct PackArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t rows;
  std::int64_t taps;
  T* to;
  std::int64_t to_pitch;
  // To to[place[t] * to_pitch + r] instead; *finite becomes false where a weight is not.
  const std::int32_t* place = nullptr;
  bool* finite = nullptr;
};

// Winograd's transforms (kernels/winograd.hpp). `frequency` separates the products of a tile, the
// points of its rows times those of its columns; a block is one vector of tiles (planes) or of
// channels (channels last).
template <class T>
struct WinogradInputArgs {
  const T* x;
  const std::int64_t* row;     // [points, or one less: narrow] offsets of the tile's rows
  const std::int64_t* column;  // [likewise] and of its columns
  std::int64_t blocks;         // vectors: writes whole ones, reads whole ones
  T* v;
  std::int64_t frequency;
};

template <class T>
struct WinogradOutputArgs {
  const T* m;  // [frequency][tiles][width]
  std::int64_t frequency;
  std::int64_t tiles;
  std::int64_t width;        // output channels, whole vectors
  const std::int32_t* tile;  // first pixel of each tile in acc
  T* acc;                    // [pixels][width]
  std::int64_t row;          // pixels from one row of acc to the next
};

template <class T>
struct WinogradWeightsArgs {
  const T* w;
  // [taps of rows][taps of columns] offsets, or -1: no weight there. Null: three taps along a row,
  // side by side, and weights of all frequencies, as far apart as the first two.
  const std::int64_t* tap;
  std::int64_t channel;  // from one channel to the next
  std::int64_t channels;
  T* const* u;             // [frequency] -> [channels][lanes], or null: not needed
  std::int64_t u_channel;  // from one channel to the next
  T* sums;                 // [2][lanes], added to: of magnitudes, of squares
};

template <class T>
struct MagnitudesArgs {
  const T* x;
  std::int64_t count;
  T* sums;  // [3][lanes], added to: of magnitudes, of squares, of elements that are not 0
};

// A row into phases: element i goes to to[i % phases * pitch + i / phases]. Up to a vector behind
// each phase is overwritten.
template <class T>
struct SplitArgs {
  const T* from;
  std::int64_t count;
  T* to;
  std::int64_t pitch;  // from one phase to the next
  T* sums;             // MagnitudesArgs
};

// Pixels of a product that may lie anywhere, which are multiplied together: with the same steps, as
// those at a border see fewer taps.
struct TileBlock {
  std::int32_t pixel;  // the first in TileBlocks::pixel
  std::int32_t pixels;
  std::int32_t order;  // the first in TileBlocks::order
  std::int32_t steps;
  std::int32_t kind;  // of TileProductArgs::begin
};

struct TileBlocks {
  const TileBlock* block;
  std::int64_t count;
  const std::int32_t* pixel;  // of each block as many as one can have, the last repeated
  const std::int32_t* order;  // steps
};

// Sums of the products of tiles (kernels/tile_portable.hpp has the picture). With positions as rows
// of a tile, x and its offsets are positions of 64 bytes, and sums are [tiles][16][vectors][16]; as
// columns, x and its offsets are whole tiles of sixteen, and sums are [vectors][16][tiles][16].
struct TileProductArgs {
  const char* x;             // of the first position or tile, part 0
  std::int64_t x_part;       // bytes from one part to the next
  const std::int32_t* tile;  // where each sixteen output pixels begin, or each lies (scattered)
  std::int64_t tiles;
  std::int64_t pixels;       // of all tiles: the last may have fewer than sixteen
  const std::int32_t* step;  // from there to what they read: a tap and a slab of channels
  std::int64_t steps;
  const char* w;         // [steps][parts][vectors][1024]
  std::int64_t vectors;  // of sixteen output channels: 1 or 2
  void* acc;             // float or int32
  Upcoming upcoming;     // the weights of the next call
  // The last steps have nothing but zeros behind so many words (of four bytes) of a position.
  std::int64_t short_steps = 0;
  std::int64_t words = 16;
  // Where pixels may lie anywhere, how they go together; null: one after the other, with all steps.
  const TileBlocks* blocks = nullptr;
  // Of dot products: bytes from the sums of one pixel (as columns: output channel) to those of the
  // next, or 0: as above; and what the sums of each output channel begin with, of each kind of
  // blocks, or null.
  std::int64_t pitch = 0;
  const std::int32_t* begin = nullptr;
  // Sums go on from what is in acc, not from zero; of floats alone.
  bool accumulate = false;
};

// Magnitudes of what was cut into parts, as the bits of floats.
struct Extremes {
  std::uint32_t least = 0xffffffffu;  // of those that are not zero, less 1
  std::uint32_t most = 0;             // at least 0x7f800000 where one was infinite or NaN
};

// Staged input (float; of TileProduct::bytes bytes, of shorts int16) into positions: parts of it,
// pairs or fours of channels side by side, zeros after the last one. Not an element more is read.
struct TilePositionsArgs {
  const void* from;
  std::int64_t position, channel;    // from one to the next, in elements; one of both is 1, and
                                     // position where positions are columns
  std::int64_t positions, channels;  // as many channels as a position holds, at most
  char* to;
  std::int64_t to_part;  // bytes
  std::int32_t offset;   // added to bytes
  Extremes* extremes;    // of floats; widened
  // Where each channel lies instead, with a position of 1: terms of several taps make a position.
  const std::int32_t* term = nullptr;

  std::int64_t channel_at(std::int64_t c) const { return term != nullptr ? term[c] : c * channel; }
};

// Weights of one slab for one panel: floats that lie as the panel does, [channels][taps][vectors]
// [16], or int8 or int16 in rows of output channels, [rows][channels][taps]. TileForm::row_weights
// takes rows of several slabs at once; extremes of floats are widened only if one is no zero and no
// normal number, those of rows of bfloat16 always.
struct TileWeightsArgs {
  const void* from;
  std::int64_t channels, taps, vectors;  // one tap where positions are columns
  char* to;                              // [taps][parts][vectors][1024]
  Extremes* extremes;                    // of floats
  std::int64_t rows = 0;                 // as many as there are,
  std::int64_t pitch = 0;                // from one to the next
  bool halves = false;                   // rows of bfloat16

  // The floats of a tap as positions are cut: output channels take their place.
  FASTCONV_INLINE TilePositionsArgs positions_of(std::int64_t tap) const {
    const std::int64_t width = vectors * 16;
    return {static_cast<const float*>(from) + tap * width,
            1,
            taps * width,
            width,
            channels,
            nullptr,
            0,
            0,
            extremes};
  }
};

// A transform of `points` complex numbers in each lane (kernels/fft.hpp). A point is two vectors,
// real and imaginary parts; spectra lie in the order in which the transform leaves them.
struct FftArgs {
  double* work;      // [points][2][lanes]
  double* spectrum;  // points `pitch` elements apart, imaginary parts `imaginary` behind real ones
  std::int64_t pitch, imaginary;
  const double* twiddle;  // fft_twiddles
  int log2;               // of points
};

// y[filter][r] (+)= sum over t of w[filter][t] * x[row[r] + tap[t]], complex, at each point.
struct FftProductArgs {
  const double* x;  // of vectors, imaginary ones x_imaginary behind real ones, at any element
  std::int64_t x_pitch, x_imaginary;  // elements from one point to the next
  const std::int32_t* row;            // elements
  std::int64_t rows;
  const std::int32_t* tap;  // elements
  std::int64_t terms;
  std::int64_t run;  // terms that are summed before their sum is added to the others
  const double* w;   // [terms][2] of a filter
  std::int64_t w_filter, w_pitch;
  double* y;  // [filters][rows][2][lanes]
  std::int64_t y_pitch;
  std::int64_t filters;
  std::int64_t points;
  bool accumulate;
};

// Rows of numbers to lanes and back: row 2 l is the real part of lane l, row 2 l + 1 the imaginary.
template <class T>
struct FftInputArgs {
  const T* const* row;  // [2 * lanes]
  std::int64_t points;  // a multiple of the lanes
  double* to;           // [points][2][lanes]
  double* squares;      // [2][lanes], to which their sums are added
  double* fractions;    // [2][lanes]: 0 stays 0 where all are whole numbers
};
// sums[r][i] += weight[t] * |x[t][r][i]|, summed over four terms t.
template <class T>
struct FftMagnitudesArgs {
  const T* const* x;  // [4][rows]
  const double* weight;
  std::int64_t rows, count;
  double* sums;  // [rows][count]
};
template <class T>
struct FftOutputArgs {
  const double* from;
  std::int64_t points;  // rounded up to a multiple of the lanes
  T* to;                // [lanes][2] rows
  std::int64_t pitch;
};

}  // namespace fastconv
