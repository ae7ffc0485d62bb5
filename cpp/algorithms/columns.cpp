// Direct convolution with output pixels in the lanes and many output channels: the input is copied
// a panel of pixels at a time, weights are read where they lie (kernels/column_product.hpp).
//
//   for each task (image, group, panels of pixels, range of output channels)      in parallel
//     for each chunk of the reduction          256 terms or so, whole input channels
//       stage the rows that the panels see     not where a pointwise layer is read from x itself
//       for each panel (3 or 4 vectors)        or some of them
//         gather its columns                   [terms][pixels], in L1 and L2
//         for each range of rows               all; of weights beyond L2, 96 KB
//           multiply, output channels of it    adds to y, the last chunk with bias and ReLU
//
// Where L2 does not hold the sums of a task but the columns of all chunks (gathers_all), a range of
// rows takes them all before the next (by_rows): its sums are near until they are complete.
//
//   picture    |  panel  |  panel  |  panel  | rest
//              | 4 vect. | 4 vect. | 3 vect. | one pixel: by dot products
//
// How an output is summed depends on the layer alone: neither on threads nor on the batch.
#include <algorithm>
#include <cstring>
#include <memory>

#include "algorithms/candidates.hpp"
#include "algorithms/columns_gather.hpp"
#include "algorithms/columns_layout.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "pack/square.hpp"
#include "pack/stage.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostTaps = 256;  // of one input channel, which a chunk holds whole

template <class T>
class ColumnRun {
 public:
  ColumnRun(const Problem& problem, const ColumnLayout& layout, const KernelTable& table,
            const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        gather_(problem, layout, kernels_, operands),
        plain_(output_is_plain()),
        rows_follow_(output_rows_follow()),
        store_(problem, table, operands.y, operands.bias),
        w_(problem, operands) {}

  static std::int64_t scratch_elements(const ColumnLayout& l) {
    return l.patch_elements + l.gathered() * (panels_elements(l) + l.rest_elements) +
           l.sums_elements + l.convert_elements;
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    Task task = make_task(index);
    if (operands_.flagged != nullptr && !operands_.flagged->take(task.tile)) return;
    T* at = reinterpret_cast<T*>(scratch_) + worker * scratch_elements(layout_);
    task.patch = at;
    task.columns = at += layout_.patch_elements;
    task.rest = at += layout_.gathered() * panels_elements(layout_);
    task.sums = at += layout_.gathered() * layout_.rest_elements;
    task.convert = at + layout_.sums_elements;

    // The next task is likely this thread's, or another's, which finds its input in L3.
    const bool more = index + 1 < layout_.tasks(problem_);
    const Task following = make_task(more ? index + 1 : index);
    if (layout_.gathers_all) return by_rows(task, more ? &following : nullptr, worker);
    for (std::size_t i = 0; i < layout_.chunks.size(); ++i) {
      const ColumnChunk& chunk = layout_.chunks[i];
      const bool last_chunk = i + 1 == layout_.chunks.size();
      const ColumnChunk& next_chunk = layout_.chunks[last_chunk ? 0 : i + 1];
      const Task* const next = !last_chunk ? &task : more ? &following : nullptr;
      if (layout_.source == ColumnSource::patch)
        stage_patch<T>(table_, problem_, operands_.x, chunk.patch, task.tile, task.patch);
      for (std::int64_t first = task.first_panel; first < task.last_panel;
           first += layout_.panels_at_once) {
        const std::int64_t end = std::min(first + layout_.panels_at_once, task.last_panel);
        gather_.panels(task, chunk, first, end);
        const Following upcoming = end < task.last_panel ? Following{&task, &chunk, end}
                                   : next != nullptr
                                       ? Following{next, &next_chunk, next->first_panel}
                                       : Following{};
        for (std::int64_t row = 0; row < task.rows; row += layout_.rows_at_once) {
          const std::int64_t rows = std::min(layout_.rows_at_once, task.rows - row);
          for (std::int64_t panel = first, count = 1; panel < end; panel += count) {
            count = panels_of_call(panel, end);
            multiply(task, chunk, {first, end, panel, count, row, rows}, upcoming, worker);
            if (interrupt_.stop_requested()) return;
          }
        }
      }
    }
  }

 private:
  using Task = ColumnTask<T>;

  // Panels that are gathered after those at hand, if any are.
  struct Following {
    const Task* task = nullptr;
    const ColumnChunk* chunk = nullptr;
    std::int64_t panel = 0;
  };

  // Panels [panel, panel + count) of those gathered, [first, end), and rows of the task.
  struct Call {
    std::int64_t first;
    std::int64_t end;
    std::int64_t panel;
    std::int64_t count;
    std::int64_t row;
    std::int64_t rows;
  };

  static std::int64_t panels_elements(const ColumnLayout& l) {
    return l.panels_at_once * l.column_elements;
  }

  // All is gathered first; then a part of the rows takes all chunks before the next.
  void by_rows(const Task& task, const Task* following, int worker) {
    const std::int64_t first = task.first_panel, end = task.last_panel;
    const auto of_chunk = [&](Task part, std::size_t i) {
      part.columns += static_cast<std::int64_t>(i) * panels_elements(layout_);
      part.rest += static_cast<std::int64_t>(i) * layout_.rest_elements;
      return part;
    };
    for (std::size_t i = 0; i < layout_.chunks.size(); ++i) {
      const ColumnChunk& chunk = layout_.chunks[i];
      if (layout_.source == ColumnSource::patch)
        stage_patch<T>(table_, problem_, operands_.x, chunk.patch, task.tile, task.patch);
      gather_.panels(of_chunk(task, i), chunk, first, end);
    }
    for (std::int64_t row = 0; row < task.rows; row += layout_.rows_at_once) {
      Task part = task;
      part.row += row;
      part.rows = std::min(layout_.rows_at_once, task.rows - row);
      Task next_part = part;
      next_part.row += part.rows;
      next_part.rows = std::min(layout_.rows_at_once, task.rows - row - part.rows);
      for (std::size_t i = 0; i < layout_.chunks.size(); ++i) {
        const bool last_chunk = i + 1 == layout_.chunks.size();
        const ColumnChunk& next_chunk = layout_.chunks[last_chunk ? 0 : i + 1];
        // What follows asks for weights alone, unless it is another task.
        const Following upcoming = !last_chunk          ? Following{&part, &next_chunk, end}
                                   : next_part.rows > 0 ? Following{&next_part, &next_chunk, end}
                                   : following != nullptr
                                       ? Following{following, &next_chunk, following->first_panel}
                                       : Following{};
        for (std::int64_t panel = first, count = 1; panel < end; panel += count) {
          count = panels_of_call(panel, end);
          multiply(of_chunk(part, i), layout_.chunks[i], {first, end, panel, count, 0, part.rows},
                   upcoming, worker);
          if (interrupt_.stop_requested()) return;
        }
      }
    }
  }

  Task make_task(std::int64_t index) const {
    Task task;
    const std::int64_t range = index % layout_.row_tasks;
    index /= layout_.row_tasks;
    const std::int64_t part = index % layout_.panel_tasks;
    index /= layout_.panel_tasks;
    task.first_panel = part * layout_.panels_per_task;
    task.last_panel = std::min(task.first_panel + layout_.panels_per_task, layout_.panels.total());
    task.first_pixel = layout_.first_pixel(part);
    task.tile = rows_of(problem_, task.first_pixel, layout_.last_pixel(part));
    task.tile.group = index % problem_.groups;
    task.tile.image = index / problem_.groups;
    task.row = range * layout_.rows_per_task;
    task.rows = std::min(layout_.rows_per_task, problem_.out_channels - task.row);
    return task;
  }

  // What a call of `terms` terms asks for on behalf of a later gathering from x.
  Ahead panels_ahead(const Task& task, const ColumnChunk& chunk, std::int64_t panel,
                     std::int64_t panel_count, std::int64_t terms) const {
    const ColumnPanels& panels = layout_.panels;
    if (panel >= task.last_panel || layout_.source == ColumnSource::picked) return {};
    const std::int64_t begin = panels.first(panel);
    const std::int64_t end = panels.first(std::min(panel + panel_count, task.last_panel));
    const std::int64_t from = gather_.offset_in_x(begin);
    if (layout_.source == ColumnSource::turned) {
      const std::int64_t lines = chunk.terms * std::int64_t{sizeof(T)} / 64 + 1;
      const std::int64_t count = std::min(lines, std::max<std::int64_t>(terms / 2, 1));
      return {gather_.channel_of(task, chunk) + from,
              64,
              count,
              divide_up(lines, count),
              layout_.pixel_pitch,
              end - begin};
    }
    const std::int64_t bytes = gather_.offset_in_x(end - 1) - from;
    if (end == begin || bytes < 0) return {};
    const std::int64_t count = std::max<std::int64_t>(terms / 2, 1);
    return {gather_.channel_of(task, chunk) + from,
            operands_.x.channel,
            count,
            divide_up(chunk.terms, count),
            64,
            bytes / 64 + 1};
  }

  // What the first rows ask for: as many panels of those that are gathered next.
  Ahead columns_ahead(const Call& call, const Task& task, const ColumnChunk& chunk,
                      const Following& next) const {
    if (!layout_.asks_for_x || call.row != 0 || next.task == nullptr ||
        next.panel == next.task->last_panel)
      return {};
    if (layout_.source != ColumnSource::patch)
      return panels_ahead(*next.task, *next.chunk, next.panel + call.panel - call.first, call.count,
                          chunk.terms);
    if (next.task == &task && next.chunk == &chunk) return {};  // the patch is here
    return patch_ahead(*next.task, *next.chunk, call.panel - task.first_panel,
                       task.last_panel - task.first_panel, chunk.terms);
  }

  // The weights of the next rows, where a call takes but some: for each tile a line of each row.
  Ahead weights_ahead(const Call& call, const Task& task, const ColumnChunk& chunk,
                      const Following& next) const {
    if (layout_.rows_at_once >= layout_.rows_per_task) return {};
    const std::int64_t row = call.row + call.rows;
    if (row < task.rows) return weights_from(row, call, task, chunk);
    return next.task == nullptr ? Ahead{} : weights_from(0, call, *next.task, *next.chunk);
  }

  Ahead weights_from(std::int64_t row, const Call& call, const Task& task,
                     const ColumnChunk& chunk) const {
    const std::int64_t lines = chunk.terms * std::int64_t{sizeof(T)} / 64 + 1;
    const std::int64_t calls = call.end - call.first, before = call.panel - call.first;
    const std::int64_t begin = lines * before / calls;
    const std::int64_t channel = task.tile.group * problem_.out_channels + task.row + row;
    const std::int64_t rows = std::min(layout_.rows_at_once, task.rows - row);
    const std::int64_t count = std::min(rows, std::max<std::int64_t>(chunk.terms / 2, 1));
    return {reinterpret_cast<const char*>(w_.row(channel) + chunk.first) + 64 * begin,
            w_.pitch * std::int64_t{sizeof(T)},
            count,
            divide_up(rows, count),
            64,
            lines * (before + call.count) / calls - begin};
  }

  // On behalf of a later patch: its share of channels, of several calls this one.
  Ahead patch_ahead(const Task& task, const ColumnChunk& chunk, std::int64_t call,
                    std::int64_t calls, std::int64_t terms) const {
    const Tensor& x = operands_.x;
    const auto& [depth, height, width] = problem_.axis;
    if (depth.in > 1 || x.axis[1] <= 0 || x.axis[1] > 4 * width.in * std::int64_t{sizeof(T)})
      return {};
    const std::int64_t top = task.tile.origin[1] * height.stride - height.lo;
    const std::int64_t bottom = top + height.seen_by(task.tile.size[1]);
    const std::int64_t from = std::clamp<std::int64_t>(top, 0, height.in);
    const std::int64_t bytes = (std::clamp<std::int64_t>(bottom, 0, height.in) - from) * x.axis[1];
    if (bytes <= 0) return {};
    const std::int64_t lines = bytes / 64 + 1;
    const std::int64_t count = std::min(lines, std::max<std::int64_t>(terms / 2, 1));
    const std::int64_t begin = chunk.patch.channels * call / calls;
    return {gather_.channel_of(task, chunk) + begin * x.channel + from * x.axis[1],
            64,
            count,
            divide_up(lines, count),
            x.channel,
            chunk.patch.channels * (call + 1) / calls - begin};
  }

  // The kernel writes y itself: its own type, planes dense, nothing but bias and ReLU.
  bool output_is_plain() const {
    constexpr std::int64_t kElement = sizeof(T);
    const Tensor& y = operands_.y;
    if (!same_storage(problem_.y_type, problem_.compute) || y.channel % kElement != 0) return false;
    if (problem_.activation != Activation::none && problem_.activation != Activation::relu)
      return false;
    std::int64_t expected = kElement;
    for (int a = 2; a >= 0; --a) {
      if (problem_.axis[a].out > 1 && y.axis[a] != expected) return false;
      expected *= problem_.axis[a].out;
    }
    return true;
  }

  // Whole ones of one width, of those gathered up to `gathered`, which a kernel call multiplies in
  // turn.
  std::int64_t panels_of_call(std::int64_t panel, std::int64_t gathered) const {
    if (layout_.panels_in_turn == 1) return 1;
    const ColumnPanels& panels = layout_.panels;
    const std::int64_t width = panels.width[panels.kind(panel)];
    const std::int64_t end = std::min(panel + layout_.panels_in_turn, gathered);
    std::int64_t last = panel;
    while (last < end && panels.kind(last) == panels.kind(panel) &&
           panels.first(last + 1) - panels.first(last) == width)
      ++last;
    if (last == panels.total() && panels.rest != 0) --last;  // which is followed by the rest
    return std::max<std::int64_t>(last - panel, 1);
  }

  void multiply(const Task& task, const ColumnChunk& chunk, const Call& call,
                const Following& upcoming, int worker) {
    const ColumnPanels& panels = layout_.panels;
    const int kind = panels.kind(call.panel);
    const std::int64_t first = panels.first(call.panel);
    const std::int64_t group = task.tile.group * problem_.out_channels + task.row;
    const std::int64_t channel = group + call.row;
    const bool last = &chunk == &layout_.chunks.back();
    ColumnArgs<T> args{};
    args.x = task.columns + (call.panel - call.first) * layout_.column_elements;
    args.terms = chunk.terms;
    args.w = w_.row(channel) + chunk.first;
    args.w_pitch = w_.pitch;
    args.rows = call.rows;
    args.pixels = panels.first(call.panel + 1) - first;
    args.panels = call.count;
    args.panel_pitch = layout_.column_elements;
    args.rest = task.rest;
    args.rest_pitch = layout_.rest_pitch;
    args.rest_pixels = call.panel + call.count == panels.total() ? panels.rest : 0;
    if (layout_.source == ColumnSource::turned) {
      args.rest_pitch = layout_.pixel_pitch / std::int64_t{sizeof(T)};
      args.rest = gather_.first_of_x(task, chunk, first) + args.pixels * args.rest_pitch;
    }
    args.accumulate = chunk.first != 0;
    args.ahead = columns_ahead(call, task, chunk, upcoming);
    args.w_lines = weights_ahead(call, task, chunk, upcoming);
    if (plain_) {
      const Tensor& y = operands_.y;
      args.out =
          reinterpret_cast<T*>(y.data + task.tile.image * y.batch + channel * y.channel) + first;
      args.out_pitch = y.channel / std::int64_t{sizeof(T)};
      args.relu = last && problem_.activation == Activation::relu;
      if (last && operands_.bias != nullptr)
        args.bias = static_cast<const T*>(operands_.bias) + channel;
    } else {
      args.out = task.sums + call.row * layout_.sums_pitch + (first - task.first_pixel);
      args.out_pitch = layout_.sums_pitch;
    }
    kernels_.column_product[kind](args);
    const std::int64_t pixels = call.count * args.pixels + args.rest_pixels;
    if (!plain_ && last && call.row + call.rows == task.rows) store(task, group, first, pixels);
    interrupt_.work_done(worker, chunk.terms * call.rows * pixels);
  }

  // Channels last, all pixels one pitch apart, nothing to be converted: no row ends a run of them.
  // (The store turns more than four channels without `convert`.)
  bool output_rows_follow() const {
    const Tensor& y = operands_.y;
    const auto& [depth, height, width] = problem_.axis;
    constexpr std::int64_t kElement = sizeof(T);
    return y.channel == kElement && y.axis[2] % kElement == 0 && takes_whole_sums(problem_) &&
           (layout_.gathers_all ||
            (problem_.out_channels - 1) % layout_.rows_per_task >= kSquare) &&
           (height.out == 1 || y.axis[1] == width.out * y.axis[2]) &&
           (depth.out == 1 || y.axis[0] == height.out * width.out * y.axis[2]);
  }

  // Pixels [first, first + count), a row at a time.
  void store(const Task& task, std::int64_t channel, std::int64_t first, std::int64_t count) const {
    const std::int64_t height = problem_.axis[1].out, width = problem_.axis[2].out;
    for (std::int64_t p = first; p < first + count;) {
      Tile tile = task.tile;
      tile.origin = {p / width / height, p / width % height, p % width};
      tile.size = {1, 1, first + count - p};
      if (!rows_follow_) tile.size[2] = std::min(width - tile.origin[2], tile.size[2]);
      const BoxAccumulators<T> from{task.sums + (p - task.first_pixel), 1, layout_.sums_pitch, 0,
                                    0};
      store_.store(tile, channel, task.rows, from, task.convert);
      p += tile.size[2];
    }
  }

  const Problem& problem_;
  const ColumnLayout& layout_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const ColumnGather<T> gather_;
  const bool plain_;
  const bool rows_follow_;
  const BoxStore<T> store_;
  const WeightRows<T> w_;
};

class ColumnExecution final : public Execution {
 public:
  ColumnExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                  const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        layout_(make_column_layout(problem_, x, machine)),
        element_(machine.element) {}

  std::int64_t tasks() const override { return layout_.tasks(problem_); }

  // One channel behind the other, its terms side by side.
  std::int64_t packed_bytes() const override {
    return packed_elements(problem_, rows()) * element_;
  }
  bool packs_like(const Execution&) const override { return true; }
  bool reads_in_place(const Weights& w) const override { return is_dense(problem_, w); }

  bool pack(const Weights& w, void* to, int workers, Interrupt& /*interrupt*/) const override {
    if (problem_.compute == Compute::f32) {
      pack_as<float>(w, to, workers);
    } else {
      pack_as<double>(w, to, workers);
    }
    return true;
  }

  std::int64_t scratch_bytes() const override {
    return ColumnRun<float>::scratch_elements(layout_) * element_;
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (problem_.compute == Compute::f32) {
      run_as<float>(operands, scratch, workers, interrupt);
    } else {
      run_as<double>(operands, scratch, workers, interrupt);
    }
  }

 private:
  PanelShape rows() const { return {problem_.out_channels, 1, 1}; }

  // Output channels that lie side by side, as in weights of (height, width, in, out), are read so,
  // some at a time, and turned.
  template <class T>
  void turn_channels(const Weights& w, void* to, int workers) const {
    constexpr std::int64_t kMost = 64;
    const PanelShape shape = {problem_.out_channels, kMost, 1};
    const std::int64_t terms = problem_.terms();
    parallel_for(problem_.groups * shape.panels(), workers, [&](std::int64_t index, int) noexcept {
      const std::int64_t group = index / shape.panels(), panel = index % shape.panels();
      const std::int64_t channels = shape.channels(panel);
      T* const rows = static_cast<T*>(to) + (group * problem_.out_channels + panel * kMost) * terms;
      T block[kMost * kMost];
      for (std::int64_t first = 0; first < terms; first += kMost) {
        const std::int64_t count = std::min(kMost, terms - first);
        pack_panel<T>(kernels_, problem_, w, shape, group, panel, first, count, block);
        kernels_.set<T>().store({block, channels, 1, count, channels, rows + first, 1, terms,
                                 nullptr, Activation::none});
      }
    });
  }

  template <class T>
  void pack_as(const Weights& w, void* to, int workers) const {
    const std::int64_t channels = problem_.out_channels, terms = problem_.terms();
    if (!is_dense(problem_, w) && w.out == element_ && same_storage(w.type, problem_.compute))
      return turn_channels<T>(w, to, workers);
    parallel_for(problem_.groups * channels, workers, [&](std::int64_t index, int) noexcept {
      T* const row = static_cast<T*>(to) + index * terms;
      if (is_dense(problem_, w)) {
        std::memcpy(row, w.data + index * w.out, static_cast<std::size_t>(terms) * sizeof(T));
      } else {
        pack_panel<T>(kernels_, problem_, w, rows(), index / channels, index % channels, 0, terms,
                      row);
      }
    });
  }

  template <class T>
  void run_as(const Operands& operands, char* scratch, int workers, Interrupt& interrupt) const {
    ColumnRun<T> run(problem_, layout_, kernels_, operands, scratch, interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const ColumnLayout layout_;
  const std::int64_t element_;
};

const char* accepts(const Problem& problem) {
  if (!is_float(problem.compute)) return "integers";
  if (problem.complex) return "complex numbers";
  if (problem.taps() > kMostTaps) return "many taps";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  return nullptr;
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const ColumnExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate columns = {
    Algorithm::direct,
    "column_product",
    accepts,
    columns_cost,
    nullptr,
    execute,
    columns_suit,
    [](const Problem&, const Machine& machine) { return machine.column_vecs[0] == 0; }};

}  // namespace fastconv
