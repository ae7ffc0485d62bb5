// How a small padded picture is cut so that no tap is multiplied where it sees nothing but zeros of
// the border. Pure arithmetic; nothing here touches an array.
//
//   3 x 3 on 7 x 7, padding 1: the outputs that a tap sees input from
//
//      . . . . . . .     x x x x x x x     x x x x x x .
//      . x x x x x x     x x x x x x x     x x x x x x .       36, 42 and 49 of 49:
//      . x x x x x x     x x x x x x x     x x x x x x .       361 products a channel
//      . x x x x x x     x x x x x x x     x x x x x x .       instead of 441
//         tap 0, 0          tap 1, 1          tap 1, 2
//
// They are a box in the output, whatever stride and dilation: a kernel call takes one tap, some
// channels and the pixels of that box.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "algorithms/panel_tasks.hpp"
#include "core/problem.hpp"
#include "pack/stage.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// A contiguous range of one axis.
struct TapSpan {
  std::int64_t first = 0;
  std::int64_t last = 0;

  std::int64_t count() const { return last - first; }
};

// Outputs of an axis where tap k lies inside of the input.
TapSpan seeing_outputs(const Axis& axis, std::int64_t k);

// Outputs of an axis that see nothing but the input, and none: nothing from some output on.
TapSpan outputs_inside(const Axis& axis);

// Taps of an axis through which an output sees the input, and none: nothing from some tap on.
TapSpan taps_inside(const Axis& axis, std::int64_t output);

// True where the border is of zeros, or there is none.
bool has_zero_border(const Problem& problem);

// The share of a layer's products that are with input; how many taps there are that see some.
double seen_share(const Problem& problem);
double seen_slices(const Problem& problem);  // along the depth alone, where the border is of zeros
double seen_taps(const Problem& problem);
// Whether so much is with zeros of the border that leaving it out is worth a look at the weights.
bool leaves_out_border(const Problem& problem);

// One tap in a box: its pixels in the lists of the layout.
struct TapPixels {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

struct TapBox {
  Tile tile;                    // of outputs
  std::array<TapSpan, 3> seen;  // positions of the input that are staged
  std::vector<TapPixels> tap;

  std::int64_t pixels() const { return tile.size[0] * tile.size[1] * tile.size[2]; }
  std::int64_t positions() const { return seen[0].count() * seen[1].count() * seen[2].count(); }
};

// Sizes in elements. Input is staged as [block of channels][position][channel of the block], zeros
// behind the last position, or where channels are few as [channel][position], zeros behind each
// plane; weights lie as [panel][block][tap][channel][output channel].
struct TapLayout {
  std::int64_t block = 1;  // channels
  // From one position to the next, and from one channel to the next.
  std::int64_t position_step = 1, channel_step = 1;
  std::int64_t blocks = 1;
  std::int64_t chunk = 1;  // blocks that are staged at once
  std::vector<TapBox> boxes;
  std::vector<std::int32_t> pixel;  // where a pixel's input begins, of a tap
  std::vector<std::int32_t> place;  // which pixel of its box it is
  std::vector<std::int32_t> term;   // where the channels of a block lie
  // Where the terms of a block go, and those of the last, which may be shorter.
  std::vector<std::int32_t> order, last_order;
  PanelTasks tasks;
  std::int64_t most_pixels = 0;
  std::int64_t most_positions = 0;

  std::int64_t box_count() const { return static_cast<std::int64_t>(boxes.size()); }
  std::int64_t chunks() const { return divide_up(blocks, chunk); }
  std::int64_t staged_block() const { return (most_positions + 1) * block; }
  // Of the weights of one tap and some channels; one is spare, without which the taps of a channel
  // would be written to the same few cache sets (packing took 1.5 times as long).
  static std::int64_t tap_rows(std::int64_t channels) { return channels + 1; }
};

// Null, or why a layer is none for this.
const char* tap_product_accepts(const Problem& problem);

// What a call that is no plan's spends on packing weights, in vector operations a term and pixel.
// The estimates of others leave it out, as they all pay it; beside this one they must not, whose
// pictures are so small that it counts.
double packing_cost(const Problem& problem, const Machine& machine);
// The packing itself, of so many vectors of output channels, for one image.
double packing_of(const Problem& problem, double vectors);

PanelShape tap_panels(const Problem& problem, const Machine& machine);
// Channels of a block.
std::int64_t tap_block(const Problem& problem, const PanelShape& panels, const Machine& machine);
TapLayout make_tap_layout(const Problem& problem, const PanelShape& panels, const Machine& machine);

// Where all pixels of a box find the input of a tap: those that see the border, at the zeros behind
// the last position.
void list_all_pixels(const TapLayout& layout, const TapBox& box, std::int64_t tap,
                     std::int32_t* pixel);

}  // namespace fastconv
