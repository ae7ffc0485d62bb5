#include "algorithms/tiled.hpp"

#include <algorithm>

#include "pack/convert.hpp"
#include "pack/stage.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

std::int64_t round_to_line(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Elements of the packed weights of one kernel call.
std::int64_t block_elements(const Tiling& tiling) {
  return tiling.family == Family::rows ? 0 : tiling.panel * tiling.block;
}

// Scratch of one worker: staged input | accumulators | conversion buffer | weights | pixel offsets.
template <class T>
struct Scratchpad {
  T* stage;
  T* acc;
  T* convert;
  T* weights;
  std::int32_t* pixel;

  Scratchpad(const Tiling& tiling, char* at) {
    stage = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.stage_elements * std::int64_t{sizeof(T)});
    acc = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.acc_elements * std::int64_t{sizeof(T)});
    convert = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.panel_elements * std::int64_t{sizeof(T)});
    weights = reinterpret_cast<T*>(at);
    at += round_to_line(block_elements(tiling) * std::int64_t{sizeof(T)});
    pixel = reinterpret_cast<std::int32_t*>(at);
  }
};

template <class T>
class TiledRun {
 public:
  TiledRun(const Problem& problem, const Tiling& tiling, const KernelTable& table,
           const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        tiling_(tiling),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        shape_(panel_shape(problem, tiling, kernels_.lanes)),
        scratch_(scratch),
        scratch_each_(scratch_bytes(tiling, sizeof(T))),
        interrupt_(interrupt),
        plain_output_(output_is_plain()) {}

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    Tile tile;
    const std::int64_t range = index % tiling_.panel_tasks;
    index /= tiling_.panel_tasks;
    for (int a = 2; a >= 0; --a) {
      tile.origin[a] = index % tiling_.boxes[a] * tiling_.box[a];
      tile.size[a] = std::min(tiling_.box[a], problem_.axis[a].out - tile.origin[a]);
      index /= tiling_.boxes[a];
    }
    tile.group = index % problem_.groups;
    tile.image = index / problem_.groups;
    const std::int64_t begin = range * tiling_.panels_per_task;
    const std::int64_t end = std::min(begin + tiling_.panels_per_task, tiling_.panels);
    const Scratchpad<T> pad(tiling_, scratch_ + worker * scratch_each_);

    const bool one_chunk = tiling_.chunks.size() == 1;
    for (const Chunk& chunk : tiling_.chunks) {
      const bool last = &chunk == &tiling_.chunks.back();
      const T* const x = stage(chunk, tile, pad);
      for (std::int64_t panel = begin; panel < end; ++panel) {
        T* const acc = pad.acc + (one_chunk ? 0 : (panel - begin) * tiling_.panel_elements);
        multiply(chunk, tile, panel, x, acc, pad, worker);
        if (interrupt_.stop_requested()) return;
        if (last) store(tile, panel, acc, pad.convert);
      }
    }
  }

 private:
  // The output takes the kernels' own type and needs no step in between.
  bool output_is_plain() const {
    const Tensor& y = operands_.y;
    constexpr std::int64_t kElement = sizeof(T);
    if (!same_storage(problem_.y_type, problem_.compute)) return false;
    if (!is_float(problem_.compute) && problem_.activation != Activation::none) return false;
    return y.channel % kElement == 0 && y.axis[2] % kElement == 0;
  }

  const T* stage(const Chunk& chunk, const Tile& tile, const Scratchpad<T>& pad) const {
    const Tensor& x = operands_.x;
    if (tiling_.staging == Staging::in_place) {
      std::int64_t offset =
          tile.image * x.batch + x.channel_offset(tile.group * problem_.in_channels);
      for (int a = 0; a < 3; ++a) offset += tile.origin[a] * problem_.axis[a].stride * x.axis[a];
      make_pixels(tile,
                  {problem_.axis[0].stride * x.axis[0] / std::int64_t{sizeof(T)},
                   problem_.axis[1].stride * x.axis[1] / std::int64_t{sizeof(T)},
                   problem_.axis[2].stride * x.axis[2] / std::int64_t{sizeof(T)}},
                  pad.pixel);
      return reinterpret_cast<const T*>(x.data + offset);
    }
    if (tiling_.staging == Staging::columns) {
      stage_columns<T>(table_, problem_, x, tile, chunk.first, chunk.terms, tiling_.columns_group,
                       tiling_.columns_pitch, pad.stage);
      if (tiling_.columns_group != 0) make_column_pixels(tile, pad.pixel);
    } else {
      stage_patch<T>(table_, problem_, x, chunk.patch, tile, pad.stage);
      if (tiling_.family == Family::outer) make_pixels(tile, chunk.patch.layout.axis, pad.pixel);
    }
    return pad.stage;
  }

  static void make_pixels(const Tile& tile, const Index3& step, std::int32_t* to) {
    for (std::int64_t d = 0; d < tile.size[0]; ++d)
      for (std::int64_t h = 0; h < tile.size[1]; ++h)
        for (std::int64_t w = 0; w < tile.size[2]; ++w)
          *to++ = static_cast<std::int32_t>(d * step[0] + h * step[1] + w * step[2]);
  }

  void make_column_pixels(const Tile& tile, std::int32_t* to) const {
    const std::int64_t pixels = tile.size[0] * tile.size[1] * tile.size[2];
    for (std::int64_t p = 0; p < pixels; ++p)
      to[p] = static_cast<std::int32_t>(p / tiling_.columns_group * tiling_.columns_pitch +
                                        p % tiling_.columns_group);
  }

  const T* packed_panel(std::int64_t group, std::int64_t panel) const {
    return static_cast<const T*>(operands_.packed) +
           (group * shape_.group_width() + panel * shape_.panel) * problem_.terms();
  }

  void multiply(const Chunk& chunk, const Tile& tile, std::int64_t panel, const T* x, T* acc,
                const Scratchpad<T>& pad, int worker) {
    const std::int64_t width = shape_.width(panel);
    const std::int64_t pixels = tile.size[0] * tile.size[1] * tile.size[2];
    if (tiling_.family == Family::rows) {
      multiply_rows(chunk, tile, x, packed_panel(tile.group, panel), acc);
      interrupt_.work_done(worker, chunk.terms * pixels);
      return;
    }
    for (std::int64_t t = 0; t < chunk.terms; t += tiling_.block) {
      const std::int64_t terms = std::min(tiling_.block, chunk.terms - t);
      const std::int64_t first = chunk.first + t;
      const bool accumulate = first != 0;
      const std::int32_t* const tap = tiling_.tap.data() + first;
      const T* w = pad.weights;
      if (operands_.packed != nullptr) {
        w = packed_panel(tile.group, panel) + first * width;
      } else {
        pack_panel<T>(table_, problem_, *operands_.weights, shape_, tile.group, panel, first, terms,
                      pad.weights);
      }
      if (tiling_.family == Family::outer) {
        const bool columns = tiling_.columns_group != 0;
        kernels_.outer[width / kernels_.lanes - 1]({x, pad.pixel, pixels, tap, terms, w, acc,
                                                    accumulate, columns,
                                                    upcoming(tile.group, panel, chunk, t + terms)});
      } else {
        multiply_lanes(chunk, tile, x, {nullptr, 0, tap, terms, w, nullptr, 0, accumulate}, acc,
                       width);
      }
      interrupt_.work_done(worker, terms * width * pixels);
      if (interrupt_.stop_requested()) return;
    }
  }

  // The weights of the call that follows the one that ends with term `t` of a chunk.
  Upcoming upcoming(std::int64_t group, std::int64_t panel, const Chunk& chunk,
                    std::int64_t t) const {
    if (t == chunk.terms) {
      // The next panel; after the last one whatever follows.
      if (++panel == tiling_.panels) return {};
      t = 0;
    }
    const std::int64_t terms = std::min(tiling_.block, chunk.terms - t);
    const std::int64_t first = chunk.first + t;
    constexpr std::int64_t kElement = sizeof(T);
    if (operands_.packed != nullptr) {
      constexpr std::int64_t kRun = 512;
      const T* const w = packed_panel(group, panel) + first * shape_.width(panel);
      const std::int64_t bytes = terms * shape_.width(panel) * kElement;
      return {reinterpret_cast<const char*>(w), kRun, kRun, bytes / kRun};
    }
    const Weights& w = *operands_.weights;
    const std::int64_t channel = group * problem_.out_channels + panel * shape_.panel;
    return {w.data + channel * w.out + first * kElement, w.out, terms * kElement,
            shape_.channels(panel)};
  }

  void multiply_lanes(const Chunk& chunk, const Tile& tile, const T* x, LanesArgs<T> args, T* acc,
                      std::int64_t width) const {
    const auto kernel = kernels_.pixel_lanes[width - 1];
    const LanesRows rows = lanes_rows(tiling_, tile.size, kernels_.lanes);
    args.acc_pitch = rows.total;
    const auto run = [&](std::int64_t from, std::int64_t to, std::int64_t pixels) {
      args.x = x + from;
      args.acc = acc + to;
      args.pixels = pixels;
      kernel(args);
    };
    if (tiling_.staging == Staging::columns)
      return run(0, 0, tile.size[0] * tile.size[1] * tile.size[2]);
    const Index3& step = chunk.patch.layout.axis;
    for (std::int64_t d = 0; d < tile.size[0]; ++d) {
      if (tiling_.flat) {
        run(d * step[0], d * rows.slice, (tile.size[1] - 1) * rows.row + tile.size[2]);
      } else {
        for (std::int64_t h = 0; h < tile.size[1]; ++h)
          run(d * step[0] + h * step[1], d * rows.slice + h * rows.row, tile.size[2]);
      }
    }
  }

  void multiply_rows(const Chunk& chunk, const Tile& tile, const T* x, const T* w, T* acc) const {
    const LanesRows rows = lanes_rows(tiling_, tile.size, kernels_.lanes);
    const Index3& step = chunk.patch.layout.axis;
    constexpr std::int64_t kRows = KernelSet<T>::kStencilRows;
    for (std::int64_t d = 0; d < tile.size[0]; ++d) {
      for (std::int64_t h = 0; h < tile.size[1]; h += kRows) {
        const std::int64_t count = std::min(kRows, tile.size[1] - h);
        for (std::int64_t r = chunk.first_run; r < chunk.first_run + chunk.runs; ++r) {
          const GroupRun& run = tiling_.runs[static_cast<std::size_t>(r)];
          kernels_.row_stencil[count - 1](
              {x + d * step[0] + h * step[1], step[1], tiling_.groups.data() + run.first,
               run.groups, tiling_.column.data() + chunk.first_column, w, tile.size[2],
               acc + d * rows.slice + h * rows.row, rows.row, r != 0});
        }
      }
    }
  }

  void store(const Tile& tile, std::int64_t panel, const T* acc, T* convert) const {
    const std::int64_t width = shape_.width(panel);
    StoreArgs<T> args{};
    args.channels = shape_.channels(panel);
    args.activation = is_float(problem_.compute) ? problem_.activation : Activation::none;
    std::int64_t row = tile.size[2], slice = tile.size[1] * tile.size[2];
    if (tiling_.family == Family::outer) {
      args.acc_pixel = width;
      args.acc_channel = 1;
    } else {
      const LanesRows rows = lanes_rows(tiling_, tile.size, kernels_.lanes);
      args.acc_pixel = 1;
      args.acc_channel = rows.total;
      row = rows.row;
      slice = rows.slice;
    }
    const std::int64_t channel = tile.group * problem_.out_channels + panel * shape_.panel;
    if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;

    // Rows that follow each other both in the accumulators and in the output are stored as one.
    const Tensor& y = operands_.y;
    Index3 count = tile.size;
    if (row == count[2] && y.axis[1] == count[2] * y.axis[2]) {
      count[2] *= count[1];
      count[1] = 1;
    }
    args.pixels = count[2];
    for (std::int64_t d = 0; d < count[0]; ++d) {
      for (std::int64_t h = 0; h < count[1]; ++h) {
        args.acc = acc + (d * slice + h * row) * args.acc_pixel;
        store_row(args, channel,
                  y.data + tile.image * y.batch + (tile.origin[0] + d) * y.axis[0] +
                      (tile.origin[1] + h) * y.axis[1] + tile.origin[2] * y.axis[2],
                  convert);
      }
    }
  }

  // One row of pixels, all channels of the panel; `to` is the row's first pixel in channel 0.
  void store_row(StoreArgs<T> args, std::int64_t channel, char* to, T* convert) const {
    const Tensor& y = operands_.y;
    constexpr std::int64_t kElement = sizeof(T);
    const bool along_pixels = y.axis[2] == kElement;
    const bool along_channels = args.acc_channel == 1 && has_unit_output_channels();
    if (plain_output_ && ((along_pixels && !problem_.complex) || along_channels)) {
      args.out = reinterpret_cast<T*>(to + y.channel_offset(channel));
      args.out_pixel = y.axis[2] / kElement;
      args.out_channel = problem_.complex ? 1 : y.channel / kElement;
      kernels_.store(args);
      return;
    }
    args.out = convert;
    args.out_pixel = 1;
    args.out_channel = args.pixels;
    kernels_.store(args);
    for (std::int64_t c = 0; c < args.channels; ++c)
      write_row<T>(table_, problem_.y_type, convert + c * args.pixels,
                   to + y.channel_offset(channel + c), y.axis[2], args.pixels, problem_.activation);
  }

  bool has_unit_output_channels() const {
    const std::int64_t element = sizeof(T);
    if (!problem_.complex) return operands_.y.channel == element;
    return operands_.y.part == element && operands_.y.channel == 2 * element;
  }

  const Problem& problem_;
  const Tiling& tiling_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  const PanelShape shape_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const bool plain_output_;
};

template <class T>
void run_as(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
            const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  TiledRun<T> run(problem, tiling, kernels, operands, scratch, interrupt);
  parallel_for(
      tiling.tasks(problem), workers,
      [](void* context, std::int64_t index, int worker) noexcept {
        static_cast<TiledRun<T>*>(context)->task(index, worker);
      },
      &run);
}

}  // namespace

PanelShape panel_shape(const Problem& problem, const Tiling& tiling, int lanes) {
  return {problem.out_channels, tiling.panel, tiling.family == Family::outer ? lanes : 1};
}

std::int64_t scratch_bytes(const Tiling& tiling, int element) {
  return round_to_line(tiling.stage_elements * element) +
         round_to_line(tiling.acc_elements * element) +
         round_to_line(tiling.panel_elements * element) +
         round_to_line(block_elements(tiling) * element) +
         round_to_line(tiling.pixels() * std::int64_t{sizeof(std::int32_t)});
}

void run_tiled(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
               const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  switch (problem.compute) {
    case Compute::f32:
      return run_as<float>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::f64:
      return run_as<double>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::i32:
      return run_as<std::int32_t>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::i64:
      return run_as<std::int64_t>(problem, tiling, kernels, operands, scratch, workers, interrupt);
  }
}

}  // namespace fastconv
