// How one problem is cut: boxes of output pixels, panels of output channels, chunks of the
// reduction. Pure arithmetic; nothing here touches an array.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "algorithms/plane_layout.hpp"
#include "core/problem.hpp"
#include "pack/stage.hpp"

namespace fastconv {

enum class Staging : std::uint8_t {
  in_place,  // the kernel reads the caller's array
  patch,     // the input of a tile is copied once
  columns    // im2col: once for each tap
};
enum class Family : std::uint8_t {
  outer,  // a vector's lanes are output channels
  lanes,  // output pixels
  rows,   // output pixels, several rows of one channel at a time
  plane   // the same where a group is one channel, with a loop nest of its own (plane.cpp)
};

// A contiguous range of the reduction (in the order channel, kd, kh, kw) that is staged at once.
struct Chunk {
  std::int64_t first = 0;  // term
  std::int64_t terms = 0;
  Patch patch;  // Staging::patch only
  // Family::rows only: where this chunk's kernel columns and runs begin, and how many runs.
  std::int64_t first_column = 0;
  std::int64_t first_run = 0;
  std::int64_t runs = 0;
};

// Family::rows: groups that one kernel call sums in one chain.
struct GroupRun {
  std::int64_t first = 0;
  std::int64_t groups = 0;
};

struct Tiling {
  Staging staging = Staging::patch;
  Family family = Family::outer;
  Index3 box = {1, 1, 1};  // output pixels of a task
  Index3 boxes = {1, 1, 1};
  std::int64_t panel = 1;    // output channels that a kernel call makes
  std::int64_t panels = 1;   // of one group
  std::int64_t granule = 1;  // PanelShape
  std::int64_t panels_per_task = 1;
  std::int64_t panel_tasks = 1;
  std::int64_t block = 1;  // terms of one kernel call
  bool flat = false;       // lanes: the rows of a slice run through as one
  bool far = false;        // lanes: the output is larger than L2
  bool gathers = false;    // outer: whole pixels are written to scratch first
  bool x_is_far = false;   // lanes: so is the input, and each element is used by one tap
  bool cuts_slices =
      false;             // boxes are of one slice, whose kernel slices in the border are left out
  bool spliced = false;  // lanes: vectors go from one row to the next, where the output's do
  bool asks_for_rows = false;  // lanes: of x, which is larger than L2, for the box that follows
  std::vector<Chunk> chunks;
  std::vector<std::int32_t> tap;  // offset of each term in what is staged
  // In x itself, where boxes can be read as they lie; lanes: if they are stored as they are summed,
  // outer: beside the border.
  std::vector<std::int32_t> tap_in_place;
  bool adjacent = false, adjacent_in_place = false;  // offsets of a chunk go up by one
  std::vector<StencilGroup> groups;                  // Family::rows, instead of `tap`
  std::vector<GroupRun> runs;
  std::vector<std::int32_t> column;
  PlaneTiling plane;  // Family::plane, instead of all the above

  // Scratch of one worker, in elements.
  std::int64_t stage_elements = 0;
  std::int64_t acc_elements = 0;
  std::int64_t panel_elements = 0;  // of one panel's accumulators, and of the conversion buffer
  std::int64_t vectors = 0;         // lanes: of pixels, in a box
  std::int64_t columns_group = 0;   // stage_columns: pixels that lie side by side, or 0: all
  std::int64_t columns_pitch = 0;

  std::int64_t pixels() const { return box[0] * box[1] * box[2]; }
  std::int64_t box_count() const { return boxes[0] * boxes[1] * boxes[2]; }
  std::int64_t tasks(const Problem& p) const {
    if (family == Family::plane) return plane.most_tasks();
    return p.batch * p.groups * box_count() * panel_tasks;
  }
};

// Box `index`, of size `box` or what is left of it, where an image has `boxes` of each group.
Tile tile_of_box(const Problem& problem, const Index3& box, const Index3& boxes,
                 std::int64_t index);

// Accumulators as the lanes and rows families lay them out, whole vectors: pixel (d, h, w) at
// d * slice + h * row + w.
struct LanesRows {
  std::int64_t row = 0;
  std::int64_t slice = 0;
  std::int64_t total = 0;
};
LanesRows lanes_rows(const Tiling& tiling, const Index3& size, int lanes);

// Kernels may store complete sums themselves: nothing is to be converted, the activation a clamp.
bool takes_whole_sums(const Problem& problem);

// Family::lanes: whole rows are no whole vectors, and vectors had better go on in the next row than
// end with one that overlaps the one before.
bool splices_rows(const Problem& problem, const Machine& machine);

// True where the rows of every group of Family::rows are neighbours in the patch: the dilation
// divides the stride.
bool has_neighbouring_rows(const Problem& problem);

// Family::outer: panels of whole vectors, and perhaps a last one of half a vector.
struct OuterPanels {
  std::int64_t panel = 1;  // channels
  bool half = false;
};
OuterPanels make_outer_panels(std::int64_t channels, const Machine& machine);

// x is needed for Staging::in_place (its strides make the offsets); channels_last says how patches
// are laid out.
Tiling make_tiling(const Problem& problem, const Tensor& x, Staging staging, Family family,
                   bool channels_last, const Machine& machine);

// True where the kernels can read x as it lies: no border, the compute type, offsets in 32 bits.
bool can_read_in_place(const Problem& problem, const Tensor& x);
// The same beside the border.
bool can_read_inside(const Problem& problem, const Tensor& x);

// True where the channels of one position lie side by side.
bool has_unit_channels(const Problem& problem, const Tensor& x);

// Where pixels of the output's shape follow each other from one row and slice to the next.
bool rows_follow(const Problem& problem, const Tensor& tensor);
bool has_strides(const Problem& problem);

}  // namespace fastconv
