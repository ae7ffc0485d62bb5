// Winograd's minimal filtering for layers of 3 x 3 taps and stride 1 (kernels/winograd.hpp), fused:
// the products of a few tiles stay in L2 from the transform of the input to the output.
//
//   for each task (image, group, phase of the dilation, box of tiles, range of panels)  in parallel
//     for each input channel:  stage -> split columns -> transform       V
//     [frequency][terms][tiles] for each few panels of output channels
//       for each frequency, panel: multiply                              M
//       [frequency][tiles][panel] for each panel: transform back -> store
//
// A term is an input channel, or one kernel slice of it (3-D layers are transformed in height and
// width and summed over depth). A dilated layer is one layer for each phase of its positions.
//
// Accuracy. The transforms add inputs, and weights, before they are multiplied. The error is below
// that of a sum in order (measured: 0.6 to 0.8 of it from 32 terms on) as long as no result is much
// smaller than what was added: the bound gamma_n * S counts each product alone. So weights and
// input are looked at while they are transformed, and those of which a few elements hold nearly all
// the weight (and infinities and NaN, whose sums are NaN) take the direct path instead.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "pack/stage.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

// Terms below which a sum in order has the smaller error, post-activation inputs included.
constexpr std::int64_t kMinTerms = 32;
// Tiles of a box, and the bytes of their products.
constexpr std::int64_t kMinTiles = 24;
constexpr std::int64_t kMaxTiles = 128;
constexpr std::int64_t kMaxBytes = std::int64_t{5} << 20;

const char* accepts(const Problem& problem) {
  const auto& axis = problem.axis;
  if (!is_float(problem.compute)) return "integers";
  if (axis[1].kernel != 3 || axis[2].kernel != 3) return "the kernel is not 3 x 3";
  if (axis[1].stride != 1 || axis[2].stride != 1) return "the stride is not 1";
  if (axis[0].stride != 1 || axis[0].dilation != 1) return "stride or dilation along the depth";
  if (axis[2].interleave != 1) return "interleaved channels";
  if (problem.in_channels * axis[0].kernel < kMinTerms)
    return "too few input channels: the error would exceed that of a sum in order";
  return nullptr;
}

// Products, the share of tiles that is cut off, the transforms of input and output, and those of
// the weights, once a call. The factors are measured (docs/tuning.md).
double cost_of(const Problem& problem, const Machine& machine, int m) {
  const auto& axis = problem.axis;
  const double points = (m + 2) * (m + 2), area = m * m;
  double tiles = 1;
  for (int a = 1; a < 3; ++a) {
    const std::int64_t out = divide_up(axis[a].out, axis[a].dilation);
    if (out < 3) return std::numeric_limits<double>::infinity();
    tiles *= static_cast<double>(divide_up(out, m) * m) / static_cast<double>(out);
  }
  const double vectors = static_cast<double>(divide_up(problem.out_channels, machine.lanes));
  const double terms = static_cast<double>(problem.in_channels * axis[0].kernel);
  const double multiply = 1.4 * vectors * points / (9 * area);
  const double input = (m == 2 ? 45.0 : 200.0) / (9 * area) / machine.lanes;
  const double output = (m == 2 ? 30.0 : 100.0) * vectors / (9 * area * terms);
  const double pixels =
      static_cast<double>(problem.batch) * static_cast<double>(problem.out_pixels());
  const double weights = (m == 2 ? 13.0 : 46.0) * vectors / pixels;
  return tiles * (multiply + input + output) + weights;
}

// F(4, 3) loses about three bits.
int tile_of(const Problem& problem, const Machine& machine) {
  if (problem.precision == Precision::highest) return 2;
  return cost_of(problem, machine, 4) < cost_of(problem, machine, 2) ? 4 : 2;
}

double cost(const Problem& problem, const Machine& machine) {
  return cost_of(problem, machine, tile_of(problem, machine));
}

// Everything that does not depend on where the arrays are. Sizes in elements.
struct Layout {
  int m = 2;
  std::int64_t points = 16;  // frequencies
  std::int64_t terms = 1;    // input channels times kernel slices
  bool channels_last = false;
  Index3 phases = {1, 1, 1};
  Index3 tiles = {1, 1, 1};  // of a box: depth (not tiled), rows, columns
  Index3 boxes = {1, 1, 1};  // of the largest phase
  std::int64_t slices = 1;   // input slices of a box
  std::int64_t panels_per_task = 1;
  std::int64_t panel_tasks = 1;
  std::int64_t panels_at_once = 1;
  std::int64_t block = 1;  // terms of one kernel call
  // Staged input: rows of `row` positions; planes are split into m phases `split` apart.
  std::int64_t pitch = 1;  // channels last: from one position to the next
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t split = 0;
  std::int64_t patch_elements = 0;
  std::int64_t split_elements = 0;
  std::int64_t frequency = 0;    // from one frequency of V to the next
  std::int64_t m_frequency = 0;  // and of M
  std::int64_t u_frequency = 0;  // and of a panel of weights
  std::int64_t m_elements = 0;
  std::int64_t acc_elements = 0;

  std::int64_t plane() const { return tiles[1] * tiles[2]; }
  std::int64_t tile_count() const { return tiles[0] * plane(); }
  std::int64_t box_count() const { return boxes[0] * boxes[1] * boxes[2]; }
  std::int64_t tasks(const Problem& p) const {
    return p.batch * p.groups * phases[1] * phases[2] * box_count() * panel_tasks;
  }
};

// Outputs of one axis that belong to a phase of its dilation.
std::int64_t phase_outputs(const Axis& axis, std::int64_t phase) {
  return divide_up(axis.out - phase, axis.dilation);
}

// The weights are read once a box, so a box should be large; but as long as its products fit into
// L2 they are neither written to memory further away nor read from it. Whichever moves less.
std::int64_t most_tiles(const Problem& problem, const Layout& l, const Machine& machine) {
  const double in = static_cast<double>(problem.in_channels);
  const double out = static_cast<double>(problem.out_channels);
  const std::int64_t each =
      l.points * (problem.in_channels + problem.out_channels) * machine.element;
  const std::int64_t near = std::min(machine.l2 * 3 / 4 / each, kMaxTiles);
  const std::int64_t one_frequency = problem.in_channels * machine.element;
  const std::int64_t far =
      std::clamp(std::min(kMaxBytes / each, machine.l2 / 3 / one_frequency), kMinTiles, kMaxTiles);
  if (near == 0 || far <= near) return std::max(near, far);
  const double near_traffic = in * out / static_cast<double>(near);
  const double far_traffic = in * out / static_cast<double>(far) + 2 * (in + out);
  return near_traffic <= far_traffic ? near : far;
}

Layout make_layout(const Problem& problem, const Tensor& x, const PanelShape& shape,
                   const Machine& machine) {
  Layout l;
  const auto& axis = problem.axis;
  l.m = tile_of(problem, machine);
  l.points = (l.m + 2) * (l.m + 2);
  l.terms = problem.in_channels * axis[0].kernel;
  l.channels_last = has_unit_channels(problem, x);
  Index3 all = {axis[0].out, 1, 1};
  for (int a = 1; a < 3; ++a) {
    l.phases[a] = std::min(axis[a].dilation, axis[a].out);
    all[a] = divide_up(phase_outputs(axis[a], 0), l.m);
  }

  // Depth first, where slices are shared; then rows and columns for the fewest boxes.
  l.tiles[0] = std::min(all[0], axis[0].kernel == 1 ? std::int64_t{1} : axis[0].kernel + 1);
  l.slices = l.tiles[0] + axis[0].kernel - 1;
  const std::int64_t most = std::max<std::int64_t>(most_tiles(problem, l, machine) / l.slices, 8);
  std::int64_t fewest = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t columns = 1; columns <= all[2]; ++columns) {
    const std::int64_t width = divide_up(all[2], columns);
    if (width > most) continue;
    if (columns > 1 && width < machine.lanes) break;
    const std::int64_t rows = divide_up(all[1], std::min(all[1], most / width));
    if (rows * columns >= fewest) continue;
    fewest = rows * columns;
    l.tiles[2] = width;
    l.tiles[1] = divide_up(all[1], rows);
  }
  if (fewest == std::numeric_limits<std::int64_t>::max()) l.tiles[2] = std::min(all[2], most);
  for (int a = 0; a < 3; ++a) l.boxes[a] = divide_up(all[a], l.tiles[a]);

  const std::int64_t slack = 2 * machine.lanes, line = 64 / machine.element;
  l.panels_per_task = shape.panels();
  const auto count = [&] {
    l.panel_tasks = divide_up(shape.panels(), l.panels_per_task);
    return l.tasks(problem);
  };
  // Boxes stay as they are: what decides about an image may not depend on the threads.
  while (count() < 2 * machine.threads && machine.threads > 1 && count() % machine.threads != 0 &&
         l.panels_per_task > 1)
    l.panels_per_task = divide_up(l.panels_per_task, 2);
  count();
  // Frequencies lie an odd number of lines apart: those of a tile would else meet in a few sets.
  l.m_frequency = l.tile_count() * shape.panel;
  if (l.m_frequency / line % 2 == 0) l.m_frequency += line;
  l.panels_at_once = std::clamp<std::int64_t>(
      kMaxBytes / 2 / (l.points * l.m_frequency * machine.element), 1, l.panels_per_task);
  const std::int64_t longest = std::min<std::int64_t>(
      std::max<std::int64_t>(machine.l1 / 2 / (shape.panel * machine.element), 64), machine.chain);
  l.block = divide_up(l.terms, divide_up(l.terms, longest));

  // Whole vectors are read and written past the last tile, and past the last channel.
  l.rows = l.m * l.tiles[1] + 2;
  l.row = l.m * (l.tiles[2] + 1);
  if (l.channels_last) {
    l.pitch = round_up(problem.in_channels, machine.lanes);
    l.patch_elements = round_up(l.slices * l.rows * l.row * l.pitch + slack, line);
    l.frequency = round_up(l.slices * l.plane() * l.pitch + slack, line);
  } else {
    l.split = round_up(l.tiles[2] + 1 + slack, line);
    l.patch_elements = round_up(l.slices * l.rows * l.row + slack, line);
    l.split_elements = round_up(l.slices * l.rows * l.m * l.split, line);
    l.frequency = round_up(problem.in_channels * l.slices * l.plane() + slack, line);
  }
  if (l.frequency / line % 2 == 0) l.frequency += line;
  l.m_elements = l.points * l.m_frequency * l.panels_at_once;
  l.u_frequency = l.terms * shape.panel + line;
  l.acc_elements = l.tile_count() * l.m * l.m * shape.panel;
  return l;
}

std::int64_t round_to_line(std::int64_t bytes) { return round_up(bytes, 64); }

// What the magnitudes of some numbers say of the error of their sums.
struct Spread {
  double sum = 0;      // of magnitudes
  double squares = 0;  // sum of squares
  double count = 0;    // not 0
  double elements = 0;
};

// Whether the weight lies on more than a few elements; false for NaN, infinities, and where squares
// leave the range. (sum)^2 / squares is the number of equal elements with the same two sums: 0.64 n
// for a normal distribution, 2 n / ln(range) where magnitudes are spread evenly over decades.
template <class T>
bool is_even(const Spread& s, double share_of_elements, double share_of_count) {
  if (s.sum == 0) return true;
  constexpr double kTiny = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  constexpr double kHuge = std::numeric_limits<T>::max() / 4;
  return s.squares > kTiny && s.squares < kHuge && s.sum < kHuge &&
         s.count >= share_of_elements * s.elements &&
         s.sum * s.sum >= share_of_count * s.count * s.squares;
}

template <class T>
class WinogradRun {
 public:
  WinogradRun(const Problem& problem, const Layout& layout, const PanelShape& shape,
              const KernelTable& table, const Operands& operands, char* scratch,
              std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(shape),
        table_(table),
        kernels_(table.set<T>()),
        transforms_(kernels_.winograd[layout.m / 4]),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        interrupt_(interrupt) {}

  static std::int64_t scratch_bytes(const Layout& l) {
    constexpr std::int64_t kElement = sizeof(T);
    return round_to_line(l.patch_elements * kElement) + round_to_line(l.split_elements * kElement) +
           round_to_line(l.points * l.frequency * kElement) +
           round_to_line(l.m_elements * kElement) + 2 * round_to_line(l.acc_elements * kElement) +
           2 * round_to_line(l.tile_count() * std::int64_t{sizeof(std::int32_t)}) +
           round_to_line(l.terms * std::int64_t{sizeof(std::int32_t)});
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const Box box = locate(index);
    if (box.count() == 0) return;  // a phase smaller than the first
    std::atomic_ref<std::uint8_t> unsuitable(operands_.unsuitable[box.tile.image]);
    if (unsuitable.load(std::memory_order_relaxed) != 0) return;
    const Pad pad(layout_, scratch_ + worker * scratch_each_);
    make_tables(box, pad);
    const Spread spread = transform_input(box, pad);
    if (!is_even<T>(spread, 1.0 / 64, 0.15)) {
      unsuitable.store(1, std::memory_order_relaxed);
      return;
    }
    for (std::int64_t p = box.first_panel; p < box.last_panel; p += layout_.panels_at_once) {
      const std::int64_t end = std::min(p + layout_.panels_at_once, box.last_panel);
      multiply(box, p, end, pad, worker);
      if (interrupt_.stop_requested()) return;
      transform_output(box, p, end, pad);
    }
  }

 private:
  struct Box {
    Tile tile;  // in outputs of the phase
    Index3 tiles = {1, 1, 1};
    Index3 phase = {0, 0, 0};
    std::int64_t first_panel = 0;
    std::int64_t last_panel = 0;
    std::int64_t plane() const { return tiles[1] * tiles[2]; }
    std::int64_t count() const { return tiles[0] * plane(); }
  };

  struct Pad {
    T* patch;
    T* split;
    T* v;
    T* m;
    T* acc;
    T* convert;
    std::int32_t* pixel;  // of each tile in V
    std::int32_t* tile;   // of each tile in acc
    std::int32_t* tap;    // of each term in V

    Pad(const Layout& l, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at);
        at += round_to_line(count * std::int64_t{sizeof *to});
      };
      take(patch, l.patch_elements);
      take(split, l.split_elements);
      take(v, l.points * l.frequency);
      take(m, l.m_elements);
      take(acc, l.acc_elements);
      take(convert, l.acc_elements);
      take(pixel, l.tile_count());
      take(tile, l.tile_count());
      take(tap, l.terms);
    }
  };

  Box locate(std::int64_t index) const {
    Box box;
    const auto next = [&](std::int64_t n) {
      const std::int64_t i = index % n;
      index /= n;
      return i;
    };
    box.first_panel = next(layout_.panel_tasks) * layout_.panels_per_task;
    box.last_panel = std::min(box.first_panel + layout_.panels_per_task, shape_.panels());
    Index3 at;
    for (int a = 2; a >= 0; --a) at[a] = next(layout_.boxes[a]) * layout_.tiles[a];
    for (int a = 2; a >= 1; --a) box.phase[a] = next(layout_.phases[a]);
    box.tile.group = next(problem_.groups);
    box.tile.image = index;
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = problem_.axis[a];
      const std::int64_t m = a == 0 ? 1 : layout_.m;
      const std::int64_t out = a == 0 ? axis.out : phase_outputs(axis, box.phase[a]);
      box.tile.origin[a] = std::min(at[a] * m, out);
      box.tile.size[a] = std::min(layout_.tiles[a] * m, out - box.tile.origin[a]);
      box.tiles[a] = divide_up(box.tile.size[a], m);
    }
    return box;
  }

  void make_tables(const Box& box, const Pad& pad) const {
    const std::int64_t plane = layout_.plane(), m = layout_.m;
    const std::int64_t unit = layout_.channels_last ? layout_.pitch : 1;
    std::int64_t i = 0;
    for (std::int64_t d = 0; d < box.tiles[0]; ++d) {
      for (std::int64_t h = 0; h < box.tiles[1]; ++h) {
        for (std::int64_t w = 0; w < box.tiles[2]; ++w, ++i) {
          pad.pixel[i] = static_cast<std::int32_t>((d * plane + h * layout_.tiles[2] + w) * unit);
          pad.tile[i] =
              static_cast<std::int32_t>(((d * box.tiles[1] + h) * m * box.tiles[2] + w) * m);
        }
      }
    }
    const std::int64_t kernel = problem_.axis[0].kernel;
    i = 0;
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
      for (std::int64_t k = 0; k < kernel; ++k)
        pad.tap[i++] =
            static_cast<std::int32_t>(layout_.channels_last ? k * plane * layout_.pitch + c
                                                            : (c * layout_.slices + k) * plane);
    }
  }

  Spread transform_input(const Box& box, const Pad& pad) const {
    Lattice lattice;
    lattice.first[0] = box.tile.origin[0];
    lattice.count = {box.tiles[0] + problem_.axis[0].kernel - 1, layout_.m * box.tiles[1] + 2,
                     layout_.m * (box.tiles[2] + 1)};
    for (int a = 1; a < 3; ++a) {
      lattice.step[a] = problem_.axis[a].dilation;
      lattice.first[a] = box.tile.origin[a] * lattice.step[a] + box.phase[a];
    }
    return layout_.channels_last ? transform_channels_last(box, lattice, pad)
                                 : transform_planes(box, lattice, pad);
  }

  // Lanes are tiles of one row.
  Spread transform_planes(const Box& box, const Lattice& lattice, const Pad& pad) const {
    const Layout& l = layout_;
    Spread spread;
    std::int64_t column[kMaxPoints];
    for (int j = 0; j < l.m + 2; ++j) column[j] = j % l.m * l.split + j / l.m;
    const std::int64_t rows = lattice.count[0] * lattice.count[1], row = lattice.count[2];
    WinogradInputArgs<T> args{};
    args.column = column;
    args.row = l.m * l.split;
    args.blocks = divide_up(box.tiles[2], kernels_.lanes);
    args.frequency = l.frequency;
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
      stage_lattice<T>(table_, problem_, operands_.x, box.tile.image,
                       box.tile.group * problem_.in_channels + c, lattice, pad.patch);
      add_spread(pad.patch, rows * row, spread);
      for (std::int64_t r = 0; r < rows; ++r)
        transforms_.split(
            {pad.patch + r * row, box.tiles[2] + 1, pad.split + r * args.row, l.split});
      for (std::int64_t d = 0; d < lattice.count[0]; ++d) {
        for (std::int64_t h = 0; h < box.tiles[1]; ++h) {
          args.x = pad.split + (d * lattice.count[1] + h * l.m) * args.row;
          args.v = pad.v + (c * l.slices + d) * l.plane() + h * l.tiles[2];
          transforms_.input(args);
        }
      }
    }
    return spread;
  }

  // Lanes are channels of one tile.
  Spread transform_channels_last(const Box& box, const Lattice& lattice, const Pad& pad) const {
    const Layout& l = layout_;
    Spread spread;
    stage_lattice_channels_last<T>(table_, problem_, operands_.x, box.tile.image, box.tile.group,
                                   lattice, l.pitch, pad.patch);
    const std::int64_t row = lattice.count[2] * l.pitch;
    for (std::int64_t r = 0; r < lattice.count[0] * lattice.count[1]; ++r)
      add_spread(pad.patch + r * row, row, spread);
    std::int64_t column[kMaxPoints];
    for (int j = 0; j < l.m + 2; ++j) column[j] = j * l.pitch;
    WinogradInputArgs<T> args{};
    args.column = column;
    args.row = row;
    args.blocks = l.pitch / kernels_.lanes;
    args.frequency = l.frequency;
    for (std::int64_t d = 0; d < lattice.count[0]; ++d) {
      for (std::int64_t h = 0; h < box.tiles[1]; ++h) {
        for (std::int64_t w = 0; w < box.tiles[2]; ++w) {
          args.x = pad.patch + (d * lattice.count[1] + h * l.m) * row + w * l.m * l.pitch;
          args.v = pad.v + (d * l.plane() + h * l.tiles[2] + w) * l.pitch;
          transforms_.input(args);
        }
      }
    }
    return spread;
  }

  void add_spread(const T* x, std::int64_t count, Spread& spread) const {
    spread.elements += static_cast<double>(count);
    T sums[3 * kMaxLanes];
    kernels_.magnitudes({x, count, sums});
    for (int i = 0; i < kernels_.lanes; ++i) {
      spread.sum += static_cast<double>(sums[i]);
      spread.squares += static_cast<double>(sums[kernels_.lanes + i]);
      spread.count += static_cast<double>(sums[2 * kernels_.lanes + i]);
    }
  }

  const T* packed(std::int64_t group, std::int64_t panel, std::int64_t frequency) const {
    return static_cast<const T*>(operands_.packed) +
           ((group * shape_.panels() + panel) * layout_.points + frequency) * layout_.u_frequency;
  }

  void multiply(const Box& box, std::int64_t first, std::int64_t last, const Pad& pad, int worker) {
    const std::int64_t group = box.tile.group, count = box.count();
    for (std::int64_t f = 0; f < layout_.points; ++f) {
      T* m = pad.m + f * layout_.m_frequency;
      for (std::int64_t p = first; p < last; ++p, m += layout_.points * layout_.m_frequency) {
        const std::int64_t width = shape_.width(p);
        const T* const u = packed(group, p, f);
        for (std::int64_t t = 0; t < layout_.terms; t += layout_.block) {
          const std::int64_t terms = std::min(layout_.block, layout_.terms - t);
          // The weights of the next call: this panel's, the next one's, the next frequency's.
          const bool done = t + terms == layout_.terms;
          const T* const next = !done          ? u + (t + terms) * width
                                : p + 1 < last ? packed(group, p + 1, f)
                                               : packed(group, first, (f + 1) % layout_.points);
          kernels_.outer[width / kernels_.lanes - 1](
              {pad.v + f * layout_.frequency, pad.pixel, count, pad.tap + t, terms, u + t * width,
               m, t != 0, false, upcoming(next, terms * width)});
        }
        interrupt_.work_done(worker, layout_.terms * width * count);
      }
      if (interrupt_.stop_requested()) return;
    }
  }

  static Upcoming upcoming(const T* at, std::int64_t elements) {
    constexpr std::int64_t kRun = 512;
    return {reinterpret_cast<const char*>(at), kRun, kRun,
            elements * std::int64_t{sizeof(T)} / kRun};
  }

  void transform_output(const Box& box, std::int64_t first, std::int64_t last, const Pad& pad) {
    Tensor y = operands_.y;
    for (int a = 1; a < 3; ++a) {
      y.data += box.phase[a] * y.axis[a];
      y.axis[a] *= problem_.axis[a].dilation;
    }
    const BoxStore<T> store(problem_, table_, y, operands_.bias);
    const std::int64_t m = layout_.m, count = box.count(), row = m * box.tiles[2];
    for (std::int64_t p = first; p < last; ++p) {
      const std::int64_t width = shape_.width(p);
      transforms_.output({pad.m + (p - first) * layout_.points * layout_.m_frequency,
                          layout_.m_frequency, count, width, pad.tile, pad.acc, row});
      store.store(box.tile, box.tile.group * problem_.out_channels + p * shape_.panel,
                  shape_.channels(p), {pad.acc, width, 1, row, row * m * box.tiles[1]},
                  pad.convert);
    }
  }

  static constexpr int kMaxPoints = 6;
  static constexpr int kMaxLanes = 16;

  const Problem& problem_;
  const Layout& layout_;
  const PanelShape& shape_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const WinogradKernels<T>& transforms_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
};

// Packs and transforms panels of weights, [panel][frequency][terms][width].
template <class T>
class WeightsJob {
 public:
  WeightsJob(const Problem& problem, const Layout& layout, const PanelShape& shape,
             const KernelTable& kernels, const Weights& w, T* to, T* buffer)
      : problem_(problem),
        layout_(layout),
        shape_(shape),
        kernels_(kernels),
        w_(w),
        to_(to),
        buffer_(buffer) {}

  static std::int64_t buffer_elements(const PanelShape& shape) {
    return kTermsAtOnce * 9 * shape.panel;
  }

  void task(std::int64_t index, int worker) noexcept {
    const std::int64_t group = index / shape_.panels(), panel = index % shape_.panels();
    const std::int64_t width = shape_.width(panel), channels = shape_.channels(panel);
    T* const rows = buffer_ + worker * buffer_elements(shape_);
    T* const u = to_ + (group * shape_.panels() + panel) * layout_.points * layout_.u_frequency;
    T sums[2 * kMaxWidth] = {};
    bool whole[kMaxWidth];
    std::fill_n(whole, channels, problem_.algorithm == Algorithm::automatic);
    for (std::int64_t t = 0; t < layout_.terms; t += kTermsAtOnce) {
      const std::int64_t terms = std::min(kTermsAtOnce, layout_.terms - t);
      pack_panel<T>(kernels_, problem_, w_, shape_, group, panel, 9 * t, 9 * terms, rows);
      kernels_.set<T>().winograd[layout_.m / 4].weights(
          {rows, terms, width, u + t * width, layout_.u_frequency, sums});
      for (std::int64_t k = 0; k < channels; ++k)
        whole[k] = whole[k] && are_whole_numbers(rows + k, 9 * terms, width);
    }
    const double terms = static_cast<double>(problem_.terms());
    for (std::int64_t k = 0; k < channels; ++k) {
      if ((whole[k] && sums[k] != 0) ||
          !is_even<T>({sums[k], sums[width + k], terms, terms}, 1, 1.0 / 16))
        suitable_.store(false, std::memory_order_relaxed);
    }
  }

  bool suitable() const { return suitable_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::int64_t kMaxWidth = 64;
  static constexpr std::int64_t kTermsAtOnce = 32;  // packed and transformed in L1

  // With whole numbers for input, too, sums in order are exact up to 2^24; here the quarters of the
  // transforms take two bits of that.
  static bool are_whole_numbers(const T* row, std::int64_t count, std::int64_t step) {
    for (std::int64_t t = 0; t < count; ++t, row += step)
      if (*row != std::rint(*row)) return false;
    return true;
  }

  const Problem& problem_;
  const Layout& layout_;
  const PanelShape& shape_;
  const KernelTable& kernels_;
  const Weights& w_;
  T* const to_;
  T* const buffer_;
  std::atomic<bool> suitable_{true};
};

PanelShape make_shape(const Problem& problem, const Machine& machine) {
  const std::int64_t vectors = divide_up(problem.out_channels, machine.lanes);
  return {problem.out_channels, std::min<std::int64_t>(vectors, machine.out_vecs) * machine.lanes,
          machine.lanes};
}

class WinogradExecution final : public Execution {
 public:
  WinogradExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                    const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        shape_(make_shape(problem, machine)),
        layout_(make_layout(problem, x, shape_, machine)),
        element_(machine.element) {}

  std::int64_t tasks() const override { return layout_.tasks(problem_); }

  std::int64_t packed_bytes() const override {
    return problem_.groups * shape_.panels() * layout_.points * layout_.u_frequency * element_;
  }

  bool packs_like(const Execution& other) const override {
    return layout_.m == static_cast<const WinogradExecution&>(other).layout_.m;
  }

  bool pack(const Weights& w, void* to, int workers) const override {
    return problem_.compute == Compute::f32 ? pack_as<float>(w, to, workers)
                                            : pack_as<double>(w, to, workers);
  }

  std::int64_t scratch_bytes() const override {
    return problem_.compute == Compute::f32 ? WinogradRun<float>::scratch_bytes(layout_)
                                            : WinogradRun<double>::scratch_bytes(layout_);
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (problem_.compute == Compute::f32)
      run_as<float>(operands, scratch, workers, interrupt);
    else
      run_as<double>(operands, scratch, workers, interrupt);
  }

 private:
  template <class T>
  bool pack_as(const Weights& w, void* to, int workers) const {
    const std::int64_t each = WeightsJob<T>::buffer_elements(shape_);
    const std::unique_ptr<T[]> buffer(new T[static_cast<std::size_t>(each * workers)]);
    WeightsJob<T> job(problem_, layout_, shape_, kernels_, w, static_cast<T*>(to), buffer.get());
    parallel_for(
        problem_.groups * shape_.panels(), workers,
        [](void* context, std::int64_t index, int worker) noexcept {
          static_cast<WeightsJob<T>*>(context)->task(index, worker);
        },
        &job);
    return job.suitable();
  }

  template <class T>
  void run_as(const Operands& operands, char* scratch, int workers, Interrupt& interrupt) const {
    WinogradRun<T> run(problem_, layout_, shape_, kernels_, operands, scratch, scratch_bytes(),
                       interrupt);
    parallel_for(
        tasks(), workers,
        [](void* context, std::int64_t index, int worker) noexcept {
          static_cast<WinogradRun<T>*>(context)->task(index, worker);
        },
        &run);
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const PanelShape shape_;
  const Layout layout_;
  const std::int64_t element_;
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const WinogradExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate winograd = {"winograd", "winograd", accepts, cost, nullptr, execute};

}  // namespace fastconv
