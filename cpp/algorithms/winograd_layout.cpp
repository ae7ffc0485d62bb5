#include "algorithms/winograd_layout.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "algorithms/costs.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

// Products of an output below which a sum in order has the smaller error, post-activation inputs
// included: 32 channels of 3 x 3, 12 of 5 x 5; of three taps in a row, and of others (20 channels
// of five: 1.04 times the error).
constexpr std::int64_t kMinTermsOfPlanes = 288, kMinTermsOfThree = 108, kMinTermsOfRows = 144;
// Terms of one chain: the products of a transform weigh more than those of a plain sum, so chains
// are shorter (7 x 7 after a ReLU, 16 channels: 0.85 of the error of a sum in order with chains of
// 256, 0.55 with 64).
constexpr std::int64_t kMostChain = 64;
// Tiles of a box, the bytes of their inputs (V), and of their products (M).
constexpr std::int64_t kMinTiles = 24;
constexpr std::int64_t kMaxTiles = 128;
constexpr std::int64_t kMaxInputBytes = std::int64_t{7} << 19;
constexpr std::int64_t kMaxProductBytes = std::int64_t{5} << 19;
constexpr std::int64_t kMostTaps = 64;  // of an axis: blocks share their input with many tiles
constexpr std::int64_t kMostPhases = KernelSet<float>::kMaxPhases;  // that a row is split into

// Of so few some filter has a tap whose weights are small in all of them, as random ones are: such
// weights do not suit the algorithm (WinogradPanel::sees_all_taps), which a call finds out for the
// time that it takes to pack them (3 -> 35, 8x8x8 on 8x8x8: 1380 us, 880 of them for the products).
constexpr std::int64_t kFewestChannels = 4;

constexpr double kNever = std::numeric_limits<double>::infinity();

const WinogradShape& shape_of(WinogradTile tile) { return kWinogradShapes[static_cast<int>(tile)]; }

bool is_tiled(const Axis& axis) { return axis.kernel > 1; }

// Of the positions phase, phase + stride, ... of a kernel.
std::int64_t taps_of_phase(const Axis& axis, std::int64_t phase) {
  return divide_up(axis.kernel - phase, axis.stride);
}

// Whether each phase of the stride has the taps of a block, one of them those of a whole one.
bool has_blocks(const Axis& axis, const WinogradAxisShape& tile) {
  const std::int64_t phases = std::min(axis.stride, axis.kernel);
  return taps_of_phase(axis, 0) >= tile.taps &&
         taps_of_phase(axis, phases - 1) >= tile.taps - (tile.narrow < 0 ? 0 : 1);
}

// The share of products that a tile makes beyond the edge of the output, of which each phase of the
// dilation has its own.
double waste(const Axis& axis, const WinogradAxisShape& tile) {
  if (divide_up(axis.out, axis.dilation) < tile.outputs) return kNever;
  std::int64_t outputs = 0;
  for (std::int64_t phase = 0; phase < std::min(axis.dilation, axis.out); ++phase)
    outputs += round_up(phase_outputs(axis, phase), tile.outputs);
  return static_cast<double>(outputs) / static_cast<double>(axis.out);
}

// The share of a kernel's pixels that are none, where a phase has but a few tiles: what is left
// over of whole tiles of pixels goes by narrower ones, which four pixels fill.
double idle(const Problem& problem, const Machine& machine, const WinogradShape& shape) {
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t tiles = depth.out * divide_up(phase_outputs(height, 0), shape.rows.outputs) *
                             divide_up(phase_outputs(width, 0), shape.columns.outputs);
  constexpr std::int64_t kFull = 4;
  const std::int64_t all = tiles < kFull ? machine.pixels : tiles + 1;
  return static_cast<double>(all) / static_cast<double>(tiles);
}

// Rows that are staged and transformed for one channel because each phase of the dilation has its
// own.
double rows_of_phases(const Problem& problem, const WinogradShape& shape) {
  const auto& [depth, height, width] = problem.axis;
  const auto rows = [&](const Axis& axis) {
    return round_up(phase_outputs(axis, 0), shape.rows.outputs) + shape.rows.points -
           shape.rows.outputs;
  };
  Axis whole = height;
  whole.dilation = 1;
  const std::int64_t phases =
      std::min(height.dilation, height.out) * std::min(width.dilation, width.out);
  return static_cast<double>((phases * rows(height) - rows(whole)) * depth.out);
}

// The stages of a box meet in L2, which feeds two multiply-adds of 512 bits a cycle no faster than
// the one that the factors below were measured with. Not measured: the share that direct
// convolution's peers lose there. With 16 registers the direct kernels gained most since then
// (AVX2, Zen 3: with 1.2 other kernels are chosen for 147 of 1151 random layers, which take 6 %
// less time; from there to 1.35 for 82, which take 3 % more).
double reach(const Problem& problem, const Machine& machine) {
  if (has_few_registers(problem, machine)) return 1.2;
  return machine.lanes * machine.element == 64 && !machine.halved ? 1.2 : 1.0;
}

// Tiles of a plane of which vectors transform the input: whole ones, and of large kernels those
// that the last outputs see (6 -> 11 channels, 8x8 on 34x34: 23 us of 120, without 6).
double transformed(const Problem& problem, const Machine& machine, const WinogradShape& shape,
                   const WinogradAxis& rows, const WinogradAxis& columns) {
  const std::int64_t down = divide_up(phase_outputs(problem.axis[1], 0), shape.rows.outputs);
  const std::int64_t across = divide_up(phase_outputs(problem.axis[2], 0), shape.columns.outputs);
  return static_cast<double>((down + rows.most_shift) *
                             round_up(across + columns.most_shift, machine.lanes)) /
         static_cast<double>(down * across);
}

// Planes whose rows have fewer tiles than a vector has lanes are turned as they are staged, so that
// lanes are channels (128 channels of 7 x 7: 93 GFLOP/s by planes, 160 turned). With vectors of
// half a line so are those with both strides, whose four inputs to a tile are calls of their own
// for each row of planes (AVX2, 32 -> 64 on 416 x 416: 31.9 ms by planes, 28.2).
bool is_turned(const Problem& problem, const Machine& machine, const WinogradShape& shape) {
  const std::int64_t tiles = divide_up(phase_outputs(problem.axis[2], 0), shape.columns.outputs);
  const std::int64_t channels = problem.in_channels;
  const bool strided = problem.axis[1].stride * problem.axis[2].stride == 4 &&
                       machine.lanes * machine.element == 32 &&
                       5 * round_up(channels, machine.lanes) <= 6 * channels;
  return !problem.channels_last && !problem.complex && channels >= machine.lanes &&
         (strided || 8 * round_up(tiles, machine.lanes) > 9 * tiles);
}

// Products, the share of tiles that is cut off, the transforms of input and output, and those of
// the weights, once a call. The factors are measured (docs/tuning.md).
double cost_of(const Problem& problem, const Machine& machine, WinogradTile tile) {
  const auto& axis = problem.axis;
  const WinogradShape& shape = shape_of(tile);
  for (const int a : {1, 2}) {
    const WinogradAxisShape& s = a == 1 ? shape.rows : shape.columns;
    if ((s.outputs > 1) != is_tiled(axis[a]) || !has_blocks(axis[a], s)) return kNever;
    if (a == 2 && axis[a].stride * s.outputs > kMostPhases) return kNever;
  }
  const WinogradAxis rows = WinogradAxis::make(axis[1], shape.rows);
  const WinogradAxis columns = WinogradAxis::make(axis[2], shape.columns);
  const bool fine = tile == WinogradTile::f43_f43 || tile == WinogradTile::f11_f43;
  const double points = shape.rows.points * shape.columns.points;
  const double area = shape.rows.outputs * shape.columns.outputs;
  const double taps = static_cast<double>(axis[1].kernel * axis[2].kernel);
  const double products = static_cast<double>(rows.products() * columns.products());
  const double blocks = static_cast<double>(rows.blocks.size() * columns.blocks.size());
  const double weights_of_term = static_cast<double>(rows.weights() * columns.weights());
  const double inputs = static_cast<double>(rows.inputs() * columns.inputs());
  const double vectors = static_cast<double>(divide_up(problem.out_channels, machine.lanes));
  const double terms = static_cast<double>(problem.in_channels * axis[0].kernel);
  // Where more than half of the products are left, or there are four inputs to an output, what
  // products hide else counts: planes that are turned, and calls for each row of planes that are
  // not. A tile of one vector always hides less.
  const bool close = 2 * products > taps * area || axis[1].stride * axis[2].stride == 4;
  const bool one = divide_up(problem.out_channels, machine.lanes) % machine.out_vecs == 1;
  const double multiply = (1.1 * vectors + (one ? (machine.halved ? 0.3 : 0.5) : 0.0)) *
                          idle(problem, machine, shape) * seen_slices(problem) * products /
                          (taps * area);
  const bool planes = !problem.channels_last && !is_turned(problem, machine, shape);
  const double staged =
      (close && !planes ? 14.0 : 3.0) * static_cast<double>(rows.step() * columns.step());
  // Lanes of tiles that no output sees, or of no channel.
  const double in_vain = planes
                             ? transformed(problem, machine, shape, rows, columns)
                             : static_cast<double>(round_up(problem.in_channels, machine.lanes)) /
                                   static_cast<double>(problem.in_channels);
  const double input = (staged + inputs * (fine ? 5.0 : 3.0)) / (taps * area) / machine.lanes *
                       in_vain * (axis[0].kernel > 1 ? 1.0 / 2 : 1.0);
  const double output = points * 2.5 * vectors / (taps * area * terms);
  // Of one image: what is chosen must not depend on the batch.
  const double pixels = static_cast<double>(problem.out_pixels());
  // Packing, and reading from far away, which each phase of the dilation does.
  const std::int64_t phases =
      std::min(axis[1].dilation, axis[1].out) * std::min(axis[2].dilation, axis[2].out);
  // Of short rows of channels each takes longer (fitted to 150 layers of 32 to 512 channels, 3x3).
  const double rows_of_channels = 0.5 + 110.0 / static_cast<double>(problem.in_channels);
  const double pack = (fine ? 11.0 : 7.0) + (blocks > 1 ? 5.0 / vectors : rows_of_channels);
  // In units of L2; from further away products hide most of it.
  const double bytes = weights_of_term * terms * static_cast<double>(problem.out_channels) *
                       machine.element / static_cast<double>(machine.l2);
  double read = bytes <= 1 ? 0.5 : 1.0;
  // What a call packs by whole panels leaves L2 and comes back (512 -> 512, 3x3x3 on 2 x 7 x 7: 148
  // GFLOP/s, 162 by tap_product).
  // Nine weights that become 25, by 3x3 with a stride of 2, are read and transformed for less.
  const bool few = taps == 9 && weights_of_term > 2 * taps && axis[0].kernel == 1;
  if (!problem.keeps_weights && (blocks > 1 || axis[0].kernel > 1) && bytes > 1)
    read = few ? 0.5 : bytes <= 8 ? 3.0 : bytes <= 12 ? 5.0 : 8.0;
  // The products of few tiles hide none (512 -> 512 on 4 x 4: 470 to 730 us, 570 by tap_product).
  if (bytes > 8 &&
      problem.out_pixels() < machine.pixels * shape.rows.outputs * shape.columns.outputs)
    read = 4.0;
  // The few tiles of a phase do not hide it (3 -> 33, 11 x 11, dilation 3, on 22 x 22: 420 us, 240
  // by column_product).
  if (phases > 1) read = std::max(read, 5.0);
  const double each = (problem.keeps_weights ? 0.0 : pack) + read * static_cast<double>(phases);
  const double weights = weights_of_term * each * vectors / (taps * pixels);
  const double cut = waste(axis[1], shape.rows) * waste(axis[2], shape.columns);
  // Calls for short rows of planes.
  const double lines =
      rows_of_phases(problem, shape) +
      (close ? static_cast<double>(axis[0].out * axis[1].out * axis[1].stride) : 0.0);
  const double calls = planes ? 160.0 * lines / (taps * pixels) : 0.0;
  return reach(problem, machine) * (cut * (multiply + input + output) + weights + calls);
}

// F(4, 3) loses about three bits, which are for the precision of float32 alone to give.
WinogradTile best_tile(const Problem& problem, const Machine& machine) {
  WinogradTile best = WinogradTile::f23_f23;
  double least = kNever;
  for (int t = 0; t < kWinogradTiles; ++t) {
    const auto tile = static_cast<WinogradTile>(t);
    if ((problem.precision == Precision::highest || problem.compute != Compute::f32) &&
        (tile == WinogradTile::f43_f43 || tile == WinogradTile::f11_f43))
      continue;
    const double cost = cost_of(problem, machine, tile);
    if (cost >= least) continue;
    least = cost;
    best = tile;
  }
  return best;
}

class Builder {
 public:
  Builder(const Problem& problem, const Tensor& x, const PanelShape& panels, const Machine& machine)
      : problem_(problem), panels_(panels), machine_(machine), line_(64 / machine.element) {
    layout_.tile = best_tile(problem, machine);
    layout_.channels_last =
        has_unit_channels(problem, x) || is_turned(problem, machine, shape_of(layout_.tile));
    layout_.rows = WinogradAxis::make(problem.axis[1], shape_of(layout_.tile).rows);
    layout_.columns = WinogradAxis::make(problem.axis[2], shape_of(layout_.tile).columns);
  }

  WinogradLayout build() {
    choose_box();
    deal_out();
    place_input();
    name_kinds();
    for (std::int64_t f = 0; f < layout_.points(); ++f) list_terms(layout_.kind(f));
    place_weights();
    return std::move(layout_);
  }

 private:
  // Cycles, roughly, of a box: whole vectors of tiles are transformed, whole lines of input read,
  // whole tiles of pixels multiplied. The weights are read once a box, so a box should be large;
  // but as long as its products fit into L2 they are neither written to memory further away nor
  // read from it.
  double box_cost(const Index3& tiles) const {
    const WinogradLayout& l = layout_;
    const auto real = [](std::int64_t n) { return static_cast<double>(n); };
    const std::int64_t kernel = problem_.axis[0].kernel, channels = problem_.in_channels;
    const std::int64_t slices = tiles[0] + kernel - 1, count = tiles[0] * tiles[1] * tiles[2];
    const std::int64_t down = tiles[1] + l.rows.most_shift;
    const std::int64_t across = tiles[2] + l.columns.most_shift;
    const std::int64_t vectors = divide_up(problem_.out_channels, machine_.lanes);
    const std::int64_t products = l.rows.products() * l.columns.products() * kernel;
    const std::int64_t inputs = l.rows.inputs() * l.columns.inputs();
    const double stored =
        real(channels * slices * inputs * down) *
        (l.channels_last ? real(across) / machine_.lanes : real(divide_up(across, machine_.lanes)));
    const double lines = real(channels * slices * l.rows.positions(tiles[1])) *
                         (real(l.columns.positions(tiles[2])) / real(line_) + 1);
    const double multiply = real(round_up(count, machine_.pixels) * products * channels * vectors);
    const double weights = real(products * channels * vectors);
    const bool stream =
        products * channels * problem_.out_channels * machine_.element > machine_.l2;
    const std::int64_t panels = std::min<std::int64_t>(panels_.panels(), 8) * panels_.panel;
    const std::int64_t v = channels * inputs * slices * down * across;
    const std::int64_t m = l.points() * count * panels;
    const bool near = (v + m) * machine_.element <= machine_.l2 * 3 / 4;
    const double far = near ? 0.0 : 2.5 * real(v + m) / machine_.lanes;
    return 2 * stored + 3 * lines + multiply + (stream ? 6 : 1) * weights + far;
  }

  bool fits(const Index3& tiles) const {
    const WinogradLayout& l = layout_;
    const std::int64_t count = tiles[0] * tiles[1] * tiles[2];
    if (count > kMaxTiles) return false;
    const std::int64_t each = problem_.in_channels * (tiles[0] + problem_.axis[0].kernel - 1) *
                              (tiles[1] + l.rows.most_shift) * (tiles[2] + l.columns.most_shift) *
                              machine_.element;
    // Of several lattices no frequency but one takes all (AVX2, 288 -> 384, stride 2, on 35 x
    // 35: 9.5 ms by boxes of 27 tiles, 8.9 by larger ones, whose weights come from afar less
    // often).
    const bool most = l.lattice_count() > 1 && machine_.lanes * machine_.element == 32;
    const std::int64_t near = most ? machine_.l2 * 3 / 4 : machine_.l2 / 2;
    return count <= kMinTiles || (l.lattice_count() * each <= near &&
                                  l.rows.inputs() * l.columns.inputs() * each <= kMaxInputBytes);
  }

  void choose_box() {
    WinogradLayout& l = layout_;
    const auto& axis = problem_.axis;
    l.all[0] = axis[0].out;
    for (int a = 1; a < 3; ++a) {
      l.phases[a] = std::min(axis[a].dilation, axis[a].out);
      l.all[a] = divide_up(phase_outputs(axis[a], 0),
                           a == 1 ? l.rows.tile.outputs : l.columns.tile.outputs);
    }
    const std::int64_t deepest = axis[0].kernel == 1 ? 1 : std::min(l.all[0], axis[0].kernel + 1);
    double least = kNever;
    for (std::int64_t depth = 1; depth <= deepest; ++depth) {
      for_each_cut(l.all[2], [&](std::int64_t width) {
        for_each_cut(l.all[1], [&](std::int64_t height) {
          const Index3 tiles = {depth, height, width};
          if (!fits(tiles)) return;
          const double cost = cost_of_boxes(tiles);
          if (cost >= least) return;
          least = cost;
          l.tiles = tiles;
        });
      });
    }
    l.slices = l.tiles[0] + axis[0].kernel - 1;
    for (int a = 0; a < 3; ++a) l.boxes[a] = divide_up(l.all[a], l.tiles[a]);
  }

  // All boxes of at most so many tiles, and half of what one of two threads waits for the other,
  // where panels cannot be shared. Boxes of a tile less do not count for less: they would be chosen
  // where whole ones run faster (3 x 14 instead of 7 x 14 tiles of 28 x 28 pixels: 1.5 % slower).
  double cost_of_boxes(const Index3& tiles) const {
    Index3 boxes;
    for (int a = 0; a < 3; ++a) boxes[a] = divide_up(layout_.all[a], tiles[a]);
    const std::int64_t count = boxes[0] * boxes[1] * boxes[2];
    const double each = box_cost(tiles), all = static_cast<double>(count) * each;
    constexpr std::int64_t kMany = 64;  // the last ones matter little
    if (count == 1 || count > kMany || panels_.panels() > 1) return all;
    double busy[2] = {0, 0};  // until when each thread is
    for (std::int64_t box = 0; box < count; ++box) {
      const Index3 at = {box / (boxes[1] * boxes[2]), box / boxes[2] % boxes[1], box % boxes[2]};
      double share = 1;
      for (int a = 0; a < 3; ++a) {
        const std::int64_t size =
            layout_.first_tile(a, at[a] + 1, boxes[a]) - layout_.first_tile(a, at[a], boxes[a]);
        share *= static_cast<double>(size) / static_cast<double>(tiles[a]);
      }
      busy[busy[1] < busy[0]] += share * each;
    }
    return all + std::abs(busy[0] - busy[1]) / 2;
  }

  // The sizes that cut an axis evenly, up to the largest box.
  template <class Take>
  static void for_each_cut(std::int64_t all, Take take) {
    std::int64_t last = 0;
    for (std::int64_t pieces = divide_up(all, kMaxTiles); pieces <= all; ++pieces) {
      const std::int64_t size = divide_up(all, pieces);
      if (size != last) take(size);
      last = size;
      if (size == 1) break;
    }
  }

  void deal_out() {
    WinogradLayout& l = layout_;
    const std::int64_t panels = panels_.panels();
    l.tasks = PanelTasks::make(l.all_boxes(problem_), panels, machine_.threads);
    // Frequencies lie an odd number of lines apart: those of a tile would else meet in a few sets.
    l.m_frequency = odd_lines(l.tile_count() * panels_.panel);
    l.panels_at_once =
        std::clamp<std::int64_t>(kMaxProductBytes / (l.points() * l.m_frequency * machine_.element),
                                 1, l.tasks.whole_boxes > 0 ? panels : l.tasks.panels_per_task);
    l.m_elements = l.points() * l.m_frequency * l.panels_at_once;
    l.block = std::min<std::int64_t>(kMostChain, machine_.chain);
    l.acc_elements = l.tile_count() * l.rows.tile.outputs * l.columns.tile.outputs * panels_.panel;
  }

  std::int64_t odd_lines(std::int64_t elements) const {
    return (divide_up(elements, line_) | 1) * line_;
  }

  // Whole vectors are read and written past the last tile, and past the last channel.
  void place_input() {
    WinogradLayout& l = layout_;
    const std::int64_t slack = 2 * machine_.lanes;
    l.patch_rows = l.rows.positions(l.tiles[1]);
    l.patch_columns = l.columns.positions(l.tiles[2]);
    std::int64_t patch = l.slices * l.patch_rows * l.patch_columns;
    std::int64_t lattice = l.slices * l.grid();
    if (l.channels_last) {
      l.patch_rows = l.rows.positions(1 - l.rows.most_shift);
      l.pitch = round_up(problem_.in_channels, machine_.lanes);
      patch = l.patch_rows * l.patch_columns * l.pitch;
      lattice *= l.pitch;
    } else {
      const std::int64_t step = l.columns.step();
      l.split = round_up(divide_up(l.patch_columns, step) + l.grid_columns() + slack, line_);
      l.split_elements = l.slices * l.patch_rows * step * l.split;
      lattice *= problem_.in_channels;
    }
    l.patch_elements = round_up(patch + slack, line_);
    l.lattice = round_up(lattice + slack, line_);
    l.frequency = odd_lines(l.lattice_count() * l.lattice);
  }

  static bool has_no_product(const WinogradBlock& block, int point) {
    return (point == 1 && block.zeros_before > 0) || (point == 2 && block.zeros_behind > 0) ||
           (point == 3 && block.narrow);
  }

  void name_kinds() {
    const auto of = [](int point, const WinogradAxis& axis) {
      if (axis.tile.points == 1) return 0;
      return point == 0 ? 1 : point == axis.tile.points - 1 ? 2 : point == axis.narrow ? 3 : 0;
    };
    std::uint8_t* kind = layout_.kinds;
    for (int i = 0; i < layout_.rows.tile.points; ++i)
      for (int j = 0; j < layout_.columns.tile.points; ++j)
        *kind++ = static_cast<std::uint8_t>(4 * of(i, layout_.rows) + of(j, layout_.columns));
  }

  void list_terms(int kind) {
    WinogradLayout& l = layout_;
    WinogradLayout::Terms& terms = l.terms[kind];
    if (!terms.tap.empty()) return;  // of another frequency
    const std::int64_t unit = l.channels_last ? l.pitch : 1;
    std::int64_t rank = 0;
    std::vector<std::int64_t> used;  // where each block's input begins
    for (const WinogradBlock& r : l.rows.blocks) {
      for (const WinogradBlock& c : l.columns.blocks) {
        const bool none = has_no_product(r, kind / 4) || has_no_product(c, kind % 4);
        terms.rank.push_back(none ? -1 : rank++);
        if (none) continue;
        const std::int64_t lattice =
            r.lattice * static_cast<std::int64_t>(l.columns.lattices.size()) + c.lattice;
        used.push_back(lattice * l.lattice + (r.shift * l.grid_columns() + c.shift) * unit);
      }
    }
    const std::int64_t channels = problem_.in_channels;
    terms.blocks = static_cast<std::int64_t>(used.size());
    terms.slice = terms.blocks * channels;
    for (std::int64_t k = 0; k < problem_.axis[0].kernel; ++k)
      for (const std::int64_t at : used)
        for (std::int64_t c = 0; c < channels; ++c)
          terms.tap.push_back(static_cast<std::int32_t>(
              at + (l.channels_last ? k * l.grid() * l.pitch + c : (c * l.slices + k) * l.grid())));
  }

  void place_weights() {
    WinogradLayout& l = layout_;
    for (std::int64_t f = 0; f < l.points(); ++f) {
      l.u_frequency.push_back(l.u_panel);
      const std::int64_t terms = l.terms_of(f).slice * problem_.axis[0].kernel;
      l.u_panel += terms * panels_.panel + line_;
    }
    // Terms of one slice and block are its channels. Parts are the chains of a packed panel, so
    // that a plan's results have the same bits.
    const std::int64_t channels = problem_.in_channels;
    const bool one =
        problem_.axis[0].kernel * l.rows.products() * l.columns.products() == l.points();
    l.part = one ? l.chain(channels) : channels;
    l.part_frequency = l.u_frequency;
    l.part_elements = l.u_panel;
    if (l.part == channels) return;
    for (std::int64_t f = 0; f < l.points(); ++f)
      l.part_frequency[static_cast<std::size_t>(f)] = f * (l.part * panels_.panel + line_);
    l.part_elements = l.points() * (l.part * panels_.panel + line_);
  }

  const Problem& problem_;
  const PanelShape& panels_;
  const Machine& machine_;
  const std::int64_t line_;
  WinogradLayout layout_;
};

}  // namespace

WinogradAxis WinogradAxis::make(const Axis& axis, const WinogradAxisShape& tile) {
  WinogradAxis result;
  result.tile = tile;
  result.stride = axis.stride;
  const auto add = [&](WinogradBlock block) {
    block.shift = block.offset / result.step();
    const WinogradLattice lattice = {block.offset % result.step(), block.narrow};
    const auto found = std::find(result.lattices.begin(), result.lattices.end(), lattice);
    block.lattice = found - result.lattices.begin();
    if (found == result.lattices.end()) result.lattices.push_back(lattice);
    result.most_shift = std::max(result.most_shift, block.shift);
    result.blocks.push_back(block);
  };
  for (std::int64_t phase = 0; phase < std::min(axis.stride, axis.kernel); ++phase) {
    const std::int64_t taps = taps_of_phase(axis, phase);
    if (taps < tile.taps) {
      WinogradBlock block;
      block.offset = phase;
      block.narrow = true;
      add(block);
      result.narrow = tile.narrow;
      continue;
    }
    // As even as can be: 4 taps are 2 + 2.
    std::int64_t first = 0;
    for (std::int64_t blocks = divide_up(taps, tile.taps); blocks > 0; --blocks) {
      const std::int64_t count = divide_up(taps - first, blocks);
      const std::int64_t begin = std::min<std::int64_t>(first, taps - tile.taps);
      WinogradBlock block;
      block.offset = phase + begin * axis.stride;
      block.zeros_before = first - begin;
      block.zeros_behind = tile.taps - block.zeros_before - count;
      add(block);
      first += count;
    }
  }
  return result;
}

std::int64_t WinogradAxis::products() const {
  std::int64_t sum = weights();
  for (const WinogradBlock& block : blocks)
    sum -= (block.zeros_before > 0 ? 1 : 0) + (block.zeros_behind > 0 ? 1 : 0);
  return sum;
}

std::int64_t WinogradAxis::weights() const {
  std::int64_t sum = 0;
  for (const WinogradBlock& block : blocks) sum += tile.points - (block.narrow ? 1 : 0);
  return sum;
}

std::int64_t WinogradAxis::inputs() const {
  std::int64_t sum = 0;
  for (const WinogradLattice& lattice : lattices) sum += reads(lattice);
  return sum;
}

std::int64_t WinogradAxis::positions(std::int64_t tiles) const {
  std::int64_t last = 0;  // of the first tile
  for (const WinogradLattice& lattice : lattices)
    last = std::max(last, lattice.offset + stride * (reads(lattice) - 1));
  return step() * (tiles + most_shift - 1) + last + 1;
}

const char* winograd_accepts(const Problem& problem) {
  const auto& axis = problem.axis;
  if (!is_float(problem.compute)) return "integers";
  for (const int a : {1, 2}) {
    if (axis[a].kernel > kMostTaps) return "the kernel is too long";
    if (axis[a].stride > 2) return "the stride is above 2";
    if (axis[a].stride > 1 && axis[a].dilation > 1) return "both stride and dilation";
    if ((a == 2 || is_tiled(axis[a])) && axis[a].kernel <= axis[a].stride)
      return "an axis has no phase of the stride with two taps";
    if (axis[a].interleave != 1) return "interleaved channels";
    if (is_tiled(axis[a]) && divide_up(axis[a].out, axis[a].dilation) < 2)
      return "one output along an axis";
  }
  if (axis[0].stride != 1 || axis[0].dilation != 1) return "stride or dilation along the depth";
  const bool three = axis[2].kernel == 3 && axis[2].stride == 1;
  if (problem.terms() < (is_tiled(axis[1]) ? kMinTermsOfPlanes
                         : three           ? kMinTermsOfThree
                                           : kMinTermsOfRows))
    return "too few input channels: the error would exceed that of a sum in order";
  return nullptr;
}

double winograd_cost(const Problem& problem, const Machine& machine) {
  if (problem.in_channels < kFewestChannels) return kNever;
  return cost_of(problem, machine, best_tile(problem, machine));
}

PanelShape winograd_panels(const Problem& problem, const Machine& machine) {
  const std::int64_t vectors = divide_up(problem.out_channels, machine.lanes);
  return {problem.out_channels, std::min<std::int64_t>(vectors, machine.out_vecs) * machine.lanes,
          machine.lanes};
}

WinogradLayout make_winograd_layout(const Problem& problem, const Tensor& x,
                                    const PanelShape& panels, const Machine& machine) {
  return Builder(problem, x, panels, machine).build();
}

}  // namespace fastconv
