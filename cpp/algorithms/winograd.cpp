// Winograd's minimal filtering (kernels/winograd.hpp), fused: the products of a few tiles stay in
// L2 from the transform of the input to the output.
//
//   for each task (image, group, phase of the dilation, box of tiles, range of panels)  in parallel
//     for each input channel:  split columns -> transform                V
//     [frequency][terms][tiles] for each few panels of output channels
//       for each frequency, panel: multiply                              M
//       [frequency][tiles][panel] for each panel: transform back -> store
//
// A term is an input channel and a block of the kernel (winograd_layout.hpp), in 3-D of one kernel
// slice: depth is summed over, not transformed. A dilated layer is one layer for each phase of its
// positions.
//
// Accuracy. The transforms add inputs, and weights, before they are multiplied. The error is below
// that of a sum in order (measured: 0.6 to 0.8 of it from 32 terms on) as long as no result is much
// smaller than what was added: the bound gamma_n * S counts each product alone. So weights and
// input are looked at while they are transformed, and those of which a few elements hold nearly all
// the weight (and infinities and NaN, whose sums are NaN) take the direct path instead.
#include <algorithm>
#include <atomic>
#include <memory>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/winograd_layout.hpp"
#include "algorithms/winograd_weights.hpp"
#include "core/rounding.hpp"
#include "pack/lattice.hpp"
#include "pack/stage.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr int kMaxPoints = 6;  // of one axis
constexpr int kMaxLanes = 16;

template <class T>
class WinogradRun {
 public:
  WinogradRun(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
              const KernelTable& table, const Operands& operands, char* scratch,
              std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(shape),
        table_(table),
        kernels_(table.set<T>()),
        transforms_(kernels_.winograd[static_cast<int>(layout.tile)]),
        operands_(operands),
        last_panel_(shape.panels() - 1),
        last_width_(shape.width(last_panel_)),
        rows_lie_dense_(packs() && is_dense(problem, *operands.weights)),
        scratch_(scratch),
        scratch_each_(scratch_each),
        interrupt_(interrupt) {}

  // `rows`: elements for the weights of a panel on their way, or 0 where all are packed before.
  static std::int64_t scratch_bytes(const WinogradLayout& l, std::int64_t rows) {
    constexpr std::int64_t kElement = sizeof(T);
    return round_to_line(l.patch_elements * kElement) + round_to_line(l.split_elements * kElement) +
           round_to_line(l.points() * l.frequency * kElement) +
           round_to_line(l.m_elements * kElement) + 2 * round_to_line(l.acc_elements * kElement) +
           2 * round_to_line(l.tile_count() * std::int64_t{sizeof(std::int32_t)}) +
           2 * round_to_line(l.slices * l.patch_rows * std::int64_t{sizeof(std::int64_t)}) +
           (rows > 0 ? round_to_line(rows * kElement) + round_to_line(l.part_elements * kElement)
                     : 0);
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
    const double terms = static_cast<double>(problem_.terms());
    if (!is_even<T>(spread, 1.0 / 64, 0.15) ||
        terms * equal_elements(spread) < kMinEqualTerms * spread.elements) {
      unsuitable.store(1, std::memory_order_relaxed);
      return;
    }
    const std::int64_t at_once = packs() ? 1 : layout_.panels_at_once;
    for (std::int64_t p = box.first_panel; p < box.last_panel; p += at_once) {
      const std::int64_t end = std::min(p + at_once, box.last_panel);
      if (!packs()) {
        multiply(box, {p, end, 0, problem_.in_channels}, pad, worker);
      } else if (!pack_and_multiply(box, p, pad, worker)) {
        unsuitable.store(1, std::memory_order_relaxed);
        return;
      }
      if (interrupt_.stop_requested()) return;
      transform_output(box, p, end, pad);
    }
  }

 private:
  using InputKernel = void (*)(const WinogradInputArgs<T>&);

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
    std::int32_t* pixel;   // of each tile in V
    std::int32_t* tile;    // of each tile in acc
    std::int64_t* offset;  // of the rows of a channel
    const T** rows;
    T* u;  // of one panel
    T* weight_rows;

    Pad(const WinogradLayout& l, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at);
        at += round_to_line(count * std::int64_t{sizeof *to});
      };
      take(patch, l.patch_elements);
      take(split, l.split_elements);
      take(v, l.points() * l.frequency);
      take(m, l.m_elements);
      take(acc, l.acc_elements);
      take(convert, l.acc_elements);
      take(pixel, l.tile_count());
      take(tile, l.tile_count());
      take(offset, l.slices * l.patch_rows);
      take(rows, l.slices * l.patch_rows);
      take(u, l.part_elements);
      take(weight_rows, 0);
    }
  };

  Box locate(std::int64_t index) const {
    Box box;
    const auto next = [&](std::int64_t n) {
      const std::int64_t i = index % n;
      index /= n;
      return i;
    };
    const PanelTasks::Task task = layout_.tasks.task(index);
    box.first_panel = task.first_panel;
    box.last_panel = task.last_panel;
    index = task.box;
    Index3 at;
    for (int a = 2; a >= 0; --a) at[a] = next(layout_.boxes[a]);
    for (int a = 2; a >= 1; --a) box.phase[a] = next(layout_.phases[a]);
    box.tile.group = next(problem_.groups);
    box.tile.image = index;
    const std::int64_t outputs[3] = {1, layout_.rows.tile.outputs, layout_.columns.tile.outputs};
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = problem_.axis[a];
      const std::int64_t out = a == 0 ? axis.out : phase_outputs(axis, box.phase[a]);
      const std::int64_t end = std::min(layout_.first_tile(a, at[a] + 1) * outputs[a], out);
      box.tile.origin[a] = std::min(layout_.first_tile(a, at[a]) * outputs[a], out);
      box.tile.size[a] = end - box.tile.origin[a];
      box.tiles[a] = divide_up(box.tile.size[a], outputs[a]);
    }
    return box;
  }

  void make_tables(const Box& box, const Pad& pad) const {
    const std::int64_t unit = layout_.channels_last ? layout_.pitch : 1;
    const std::int64_t down = layout_.rows.tile.outputs, across = layout_.columns.tile.outputs;
    std::int64_t i = 0;
    for (std::int64_t d = 0; d < box.tiles[0]; ++d) {
      for (std::int64_t h = 0; h < box.tiles[1]; ++h) {
        for (std::int64_t w = 0; w < box.tiles[2]; ++w, ++i) {
          pad.pixel[i] = static_cast<std::int32_t>(
              (d * layout_.grid() + h * layout_.grid_columns() + w) * unit);
          pad.tile[i] = static_cast<std::int32_t>(
              ((d * box.tiles[1] + h) * down * box.tiles[2] + w) * across);
        }
      }
    }
  }

  Spread transform_input(const Box& box, const Pad& pad) const {
    Lattice lattice;
    lattice.first[0] = box.tile.origin[0];
    lattice.count = {box.tiles[0] + problem_.axis[0].kernel - 1,
                     layout_.rows.positions(box.tiles[1]), layout_.columns.positions(box.tiles[2])};
    for (int a = 1; a < 3; ++a) {
      lattice.step[a] = problem_.axis[a].dilation;
      lattice.first[a] =
          box.tile.origin[a] * problem_.axis[a].stride * lattice.step[a] + box.phase[a];
    }
    return layout_.channels_last ? transform_channels_last(box, lattice, pad)
                                 : transform_planes(box, lattice, pad);
  }

  // Lanes are tiles of one row.
  Spread transform_planes(const Box& box, const Lattice& lattice, const Pad& pad) const {
    const WinogradLayout& l = layout_;
    Spread spread;
    const std::int64_t step = l.columns.step(), row = step * l.split;
    const std::int64_t rows = lattice.count[0] * lattice.count[1];
    const auto split = kernels_.split[step];
    const std::int64_t first = box.tile.group * problem_.in_channels;
    locate_rows(problem_, operands_.x, box.tile.image, lattice, pad.offset);
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
      if (c + kAhead < problem_.in_channels)
        prefetch_rows(problem_, operands_.x, lattice, pad.offset, first + c + kAhead);
      lattice_rows<T>(table_, problem_, operands_.x, lattice, pad.offset, first + c, pad.patch,
                      pad.rows);
      T sums[3 * kMaxLanes] = {};
      for (std::int64_t r = 0; r < rows; ++r)
        split({pad.rows[r], lattice.count[2], pad.split + r * row, l.split, sums});
      add_spread(sums, rows * lattice.count[2], spread);
      for_each_lattice([&](std::int64_t q) { return q * row; },
                       [&](std::int64_t q) { return q % step * l.split + q / step; },
                       [&](std::int64_t index, InputKernel kernel, WinogradInputArgs<T>& args) {
                         args.blocks =
                             divide_up(box.tiles[2] + l.columns.most_shift, kernels_.lanes);
                         for (std::int64_t d = 0; d < lattice.count[0]; ++d) {
                           for (std::int64_t h = 0; h < box.tiles[1] + l.rows.most_shift; ++h) {
                             args.x = pad.split + (d * lattice.count[1] + h * l.rows.step()) * row;
                             args.v = pad.v + index * l.lattice + (c * l.slices + d) * l.grid() +
                                      h * l.grid_columns();
                             kernel(args);
                           }
                         }
                       });
    }
    return spread;
  }

  // Lanes are channels of one tile. No more rows are staged than a row of tiles reads, in a ring:
  // all of a box would leave L2.
  Spread transform_channels_last(const Box& box, const Lattice& lattice, const Pad& pad) const {
    const WinogradLayout& l = layout_;
    Spread spread;
    const std::int64_t row = lattice.count[2] * l.pitch, ring = l.patch_rows;
    T sums[3 * kMaxLanes] = {};
    Lattice line = lattice;
    line.count[0] = line.count[1] = 1;
    for (std::int64_t d = 0; d < lattice.count[0]; ++d) {
      line.first[0] = lattice.first[0] + d * lattice.step[0];
      std::int64_t staged = 0;
      for (std::int64_t h = 0; h < box.tiles[1] + l.rows.most_shift; ++h) {
        const std::int64_t top = h * l.rows.step();
        for (; staged < top + ring; ++staged) {
          T* const to = pad.patch + staged % ring * row;
          line.first[1] = lattice.first[1] + staged * lattice.step[1];
          stage_lattice_channels_last<T>(table_, problem_, operands_.x, box.tile.image,
                                         box.tile.group, line, l.pitch, to);
          kernels_.magnitudes({to, row, sums});
        }
        for_each_lattice([&](std::int64_t q) { return (top + q) % ring * row; },
                         [&](std::int64_t q) { return q * l.pitch; },
                         [&](std::int64_t index, InputKernel kernel, WinogradInputArgs<T>& args) {
                           args.blocks = l.pitch / kernels_.lanes;
                           args.v = pad.v + index * l.lattice +
                                    (d * l.grid() + h * l.grid_columns()) * l.pitch;
                           args.x = pad.patch;
                           for (std::int64_t w = 0; w < box.tiles[2] + l.columns.most_shift; ++w) {
                             kernel(args);
                             args.x += l.columns.step() * l.pitch;
                             args.v += l.pitch;
                           }
                         });
      }
    }
    // Without what fills up a position's vectors.
    const std::int64_t positions = lattice.count[0] * lattice.count[1] * lattice.count[2];
    add_spread(sums, positions * problem_.in_channels, spread);
    return spread;
  }

  // Calls run(index, kernel, arguments) for each transformed input; row(q) and column(q) are where
  // row and column q of the staged one lie.
  template <class Row, class Column, class Run>
  void for_each_lattice(Row row, Column column, Run run) const {
    const WinogradAxis &rows = layout_.rows, &columns = layout_.columns;
    std::int64_t index = 0, row_at[kMaxPoints], column_at[kMaxPoints];
    WinogradInputArgs<T> args{};
    args.row = row_at;
    args.column = column_at;
    args.frequency = layout_.frequency;
    for (const WinogradLattice& h : rows.lattices) {
      for (int i = 0; i < rows.reads(h); ++i) row_at[i] = row(h.offset + i * rows.stride);
      for (const WinogradLattice& w : columns.lattices) {
        for (int j = 0; j < columns.reads(w); ++j)
          column_at[j] = column(w.offset + j * columns.stride);
        run(index++, transforms_.input[h.narrow][w.narrow], args);
      }
    }
  }

  void add_spread(const T* sums, std::int64_t count, Spread& spread) const {
    spread.elements += static_cast<double>(count);
    for (int i = 0; i < kernels_.lanes; ++i) {
      spread.sum += static_cast<double>(sums[i]);
      spread.squares += static_cast<double>(sums[kernels_.lanes + i]);
      spread.count += static_cast<double>(sums[2 * kernels_.lanes + i]);
    }
  }

  bool packs() const { return operands_.packed == nullptr; }
  std::int64_t width(std::int64_t panel) const {
    return panel == last_panel_ ? last_width_ : shape_.panel;
  }

  // Products of which M takes the sum: some panels, and some channels of all blocks.
  struct Part {
    std::int64_t first_panel, last_panel;
    std::int64_t first_channel, channels;
  };

  // False where the weights of this panel do not suit the algorithm.
  bool pack_and_multiply(const Box& box, std::int64_t panel, const Pad& pad, int worker) {
    WinogradPanel<T> weights(problem_, layout_, shape_, table_, *operands_.weights, box.tile.group,
                             panel);
    for (std::int64_t c = 0; c < problem_.in_channels; c += layout_.part) {
      const std::int64_t count = std::min(layout_.part, problem_.in_channels - c);
      weights.transform(c, count, layout_.part_frequency.data(), pad.weight_rows, pad.u);
      multiply(box, {panel, panel + 1, c, count}, pad, worker);
      if (interrupt_.stop_requested()) break;
    }
    return interrupt_.stop_requested() || weights.suits();
  }

  // From the first channel that is multiplied.
  const T* weights(const Pad& pad, std::int64_t group, std::int64_t panel,
                   std::int64_t frequency) const {
    const auto f = static_cast<std::size_t>(frequency);
    if (packs()) return pad.u + layout_.part_frequency[f];
    return static_cast<const T*>(operands_.packed) +
           (group * shape_.panels() + panel) * layout_.u_panel + layout_.u_frequency[f];
  }

  struct Depths {
    std::int64_t begin, end;
  };

  // Kernel slices [first, last) that output `depth` of a box sees: those that lie in a border of
  // zeros add nothing (the weights are finite, or would not be here).
  struct Slices {
    std::int64_t first, last;
    bool operator==(const Slices&) const = default;
  };
  Slices slices_of(const Box& box, std::int64_t depth) const {
    const Axis& axis = problem_.axis[0];
    const Slices all = {0, axis.kernel};
    if (problem_.border != Border::constant || problem_.complex ||
        scalar_as<T>(problem_.fill[0]) != T(0))
      return all;
    const std::int64_t start = box.tile.origin[0] + depth - axis.lo;
    const Slices inside = {std::clamp<std::int64_t>(-start, 0, axis.kernel),
                           std::clamp<std::int64_t>(axis.in - start, 0, axis.kernel)};
    return inside.first < inside.last ? inside : all;
  }

  void multiply(const Box& box, const Part& part, const Pad& pad, int worker) {
    for (std::int64_t f = 0; f < layout_.points(); ++f) {
      T* m = pad.m + f * layout_.m_frequency;
      for (std::int64_t p = part.first_panel; p < part.last_panel; ++p) {
        const Upcoming next =
            packs() ? upcoming_rows(box, part, f) : upcoming(box, part, f, p, pad);
        for (std::int64_t d = 0; d < box.tiles[0];) {
          const Slices slices = slices_of(box, d);
          std::int64_t end = d + 1;
          while (end < box.tiles[0] && slices_of(box, end) == slices) ++end;
          multiply_slices(box, part, f, p, {d, end}, slices, next, pad, m);
          d = end;
        }
        m += layout_.points() * layout_.m_frequency;
        interrupt_.work_done(worker, layout_.terms_of(f).blocks * part.channels *
                                         problem_.axis[0].kernel * width(p) * box.count());
      }
      if (interrupt_.stop_requested()) return;
    }
  }

  // Tiles of some depths of one frequency and panel; `next` is what follows.
  void multiply_slices(const Box& box, const Part& part, std::int64_t f, std::int64_t panel,
                       const Depths& depths, const Slices& slices, const Upcoming& next,
                       const Pad& pad, T* m) const {
    const WinogradLayout::Terms& terms = layout_.terms_of(f);
    const std::int64_t width = this->width(panel), plane = box.plane();
    const std::int64_t first = depths.begin * plane, count = (depths.end - depths.begin) * plane;
    // Some channels of the only slice and block, or all of those that are seen.
    const bool all = part.channels == problem_.in_channels;
    const std::int64_t from = all ? slices.first * terms.slice : part.first_channel;
    const std::int64_t to = all ? slices.last * terms.slice : from + part.channels;
    const std::int64_t step = layout_.chain(to - from);
    const T* const u = weights(pad, box.tile.group, panel, f) - (all ? 0 : from * width);
    for (std::int64_t t = from; t < to; t += step) {
      const std::int64_t chain = std::min(step, to - t);
      const bool last = t + chain == to;
      kernels_.outer[width / kernels_.lanes - 1](
          {pad.v + f * layout_.frequency, pad.pixel + first, count, terms.tap.data() + t, chain,
           u + t * width, m + first * width, t != (all ? from : 0), false,
           last ? next : ahead(u + (t + chain) * width, chain * width)});
    }
  }

  // Packed weights that follow those of a frequency and panel.
  Upcoming upcoming(const Box& box, const Part& part, std::int64_t f, std::int64_t panel,
                    const Pad& pad) const {
    const bool same = panel + 1 < part.last_panel;
    const T* const next =
        same ? weights(pad, box.tile.group, panel + 1, f)
             : weights(pad, box.tile.group, part.first_panel, f + 1 < layout_.points() ? f + 1 : 0);
    return ahead(next, layout_.chain(layout_.terms_of(f).slice) * width(panel));
  }

  // A share of the weights that are packed next, as they lie.
  Upcoming upcoming_rows(const Box& box, const Part& part, std::int64_t f) const {
    const Weights& w = *operands_.weights;
    if (!rows_lie_dense_) return {};
    std::int64_t panel = part.first_panel, channel = part.first_channel + part.channels;
    if (channel == problem_.in_channels) {
      channel = 0;
      if (++panel == box.last_panel) return {};
    }
    const std::int64_t count = std::min(layout_.part, problem_.in_channels - channel);
    const std::int64_t rows = shape_.channels(panel), points = layout_.points();
    const std::int64_t first = rows * f / points, last = rows * (f + 1) / points;
    const std::int64_t row = box.tile.group * problem_.out_channels + panel * shape_.panel + first;
    const std::int64_t bytes = problem_.taps() * std::int64_t{sizeof(T)};
    return {w.data + row * w.out + channel * bytes, w.out, count * bytes, last - first};
  }

  static Upcoming ahead(const T* at, std::int64_t elements) {
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
    const std::int64_t down = layout_.rows.tile.outputs;
    const std::int64_t count = box.count(), row = layout_.columns.tile.outputs * box.tiles[2];
    for (std::int64_t p = first; p < last; ++p) {
      const std::int64_t width = shape_.width(p);
      transforms_.output({pad.m + (p - first) * layout_.points() * layout_.m_frequency,
                          layout_.m_frequency, count, width, pad.tile, pad.acc, row});
      store.store(box.tile, box.tile.group * problem_.out_channels + p * shape_.panel,
                  shape_.channels(p), {pad.acc, width, 1, row, row * down * box.tiles[1]},
                  pad.convert);
    }
  }

  static constexpr std::int64_t kAhead = 2;  // channels whose rows are asked for

  const Problem& problem_;
  const WinogradLayout& layout_;
  const PanelShape& shape_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const WinogradKernels<T>& transforms_;
  const Operands& operands_;
  const std::int64_t last_panel_, last_width_;
  const bool rows_lie_dense_;  // of the weights that are packed
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
};

class WinogradExecution final : public Execution {
 public:
  WinogradExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                    const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        shape_(winograd_panels(problem, machine)),
        layout_(make_winograd_layout(problem, x, shape_, machine)),
        element_(machine.element),
        packs_as_it_runs_(!problem.keeps_weights && packed_bytes() > machine.l2 &&
                          layout_.all_boxes(problem) <=
                              (packed_bytes() > std::int64_t{Scratch::kMostCached} ? 4 : 1)) {}

  std::int64_t tasks() const override { return layout_.tasks.count(); }

  std::int64_t packed_bytes() const override {
    return problem_.groups * shape_.panels() * layout_.u_panel * element_;
  }

  bool packs_like(const Execution& other) const override {
    return layout_.tile == static_cast<const WinogradExecution&>(other).layout_.tile;
  }

  // Weights that a call uses once and that are larger than L2 are multiplied a panel at a time,
  // while they are near; and so are those that would need fresh memory in each call, whose pages
  // cost more than packing again for a few boxes. Those that do not suit are then found too late,
  // as an image is.
  bool reads_in_place(const Weights& /*w*/) const override { return packs_as_it_runs_; }

  bool pack(const Weights& w, void* to, int workers, Interrupt& /*interrupt*/) const override {
    return pack_winograd(problem_, layout_, shape_, kernels_, w, to, workers);
  }

  std::int64_t scratch_bytes() const override {
    const std::int64_t rows = packs_as_it_runs_ ? WinogradPanel<float>::rows_elements(problem_) : 0;
    return problem_.compute == Compute::f32 ? WinogradRun<float>::scratch_bytes(layout_, rows)
                                            : WinogradRun<double>::scratch_bytes(layout_, rows);
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
  void run_as(const Operands& operands, char* scratch, int workers, Interrupt& interrupt) const {
    WinogradRun<T> run(problem_, layout_, shape_, kernels_, operands, scratch, scratch_bytes(),
                       interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const PanelShape shape_;
  const WinogradLayout layout_;
  const std::int64_t element_;
  const bool packs_as_it_runs_;
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const WinogradExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate winograd = {Algorithm::winograd, "winograd", winograd_accepts,
                            winograd_cost,       nullptr,    execute};

}  // namespace fastconv
