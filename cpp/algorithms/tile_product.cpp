// Products of tiles (kernels/tile_portable.hpp): float32 by parts of bfloat16 on AMX, bfloat16,
// bytes and int16.
//
//   for each task (image, group, box of pixels, range of panels)         in parallel
//     for each slab of input channels
//       stage its patch -> cut (and turn)                                positions of 64 bytes
//     for each panel of 32 output channels                               its weights from L2
//       for each run of rows
//         multiply: for each tile of 32 pixels, each slab, each tap      sums in tile registers
//         store
//
// Accuracy (TileProduct::six). Cutting is exact; what the six products leave out is below 2^-21 of
// each product, and every sum is rounded as one of float32 is, in shorter chains. That holds as
// long as neither the parts nor their products fall below 2^-126, where tiles flush to zero, and no
// sum overflows: input that might, infinities and NaN take the direct path. Each element is looked
// at alone, so that neither the threads nor the batch decide.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tile_layout.hpp"
#include "algorithms/tile_packing.hpp"
#include "core/rounding.hpp"
#include "pack/stage.hpp"
#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// A sum is rounded once for each product of parts, slab and tap, a sum in order once for each
// channel and tap: with fewer channels the latter is the more accurate (3 channels, 5 x 5: by 1.4).
constexpr std::int64_t kMinChannels = 12;

// `S` is what is staged: float, or of integers bytes or int16 (kernels/args.hpp).
template <class S>
using Sum = std::conditional_t<std::is_same_v<S, float>, float, std::int32_t>;

// x holds what is staged, whole elements apart.
template <class S>
bool holds(const Problem& problem, const Tensor& x) {
  constexpr std::int64_t kElement = sizeof(S);
  const bool same =
      std::is_same_v<S, float> ? problem.x_type == DType::f32 : size_of(problem.x_type) == kElement;
  bool whole = x.channel % kElement == 0;
  for (const std::int64_t step : x.axis) whole = whole && step % kElement == 0;
  return same && whole && !problem.complex;
}

template <class S>
class TileRunner {
 public:
  using T = Sum<S>;

  TileRunner(const Problem& problem, const TileLayout& layout, const KernelTable& table,
             const Operands& operands, const void* bias, const char* panels,
             const Extremes& allowed, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(tile_panels(problem)),
        table_(table),
        kernels_(tile_form(table, layout)),
        operands_(operands),
        panels_(panels),
        allowed_(allowed),
        scratch_(scratch),
        scratch_each_(scratch_bytes(layout)),
        interrupt_(interrupt),
        store_(problem, table, operands.y, bias),
        reading_(choose_reading()) {}

  static std::int64_t scratch_bytes(const TileLayout& l) {
    return round_to_line(l.patch_elements * std::int64_t{sizeof(S)}) +
           round_to_line(l.staged_bytes) +
           2 * round_to_line(l.acc_elements * std::int64_t{sizeof(T)}) +
           round_to_line(l.most_offsets() * std::int64_t{sizeof(std::int32_t)});
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const PanelTasks::Task task = layout_.tasks.task(index);
    index = task.box;
    Tile tile;
    for (int a = 2; a >= 0; --a) {
      tile.origin[a] = index % layout_.boxes[a] * layout_.box[a];
      tile.size[a] = std::min(layout_.box[a], problem_.axis[a].out - tile.origin[a]);
      index /= layout_.boxes[a];
    }
    tile.group = index % problem_.groups;
    tile.image = index / problem_.groups;
    std::atomic_ref<std::uint8_t> unsuitable(operands_.unsuitable[tile.image]);
    if (unsuitable.load(std::memory_order_relaxed) != 0) return;
    const Pad pad(layout_, scratch_ + worker * scratch_each_);
    if (!stage(tile, pad)) return unsuitable.store(1, std::memory_order_relaxed);
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      const bool more = p + 1 < task.last_panel;
      for_each_run(tile, [&](const Index3& at) {
        if (!interrupt_.stop_requested()) make_run(tile, p, at, more, pad, worker);
      });
    }
  }

 private:
  // Where positions are cut from: a patch, x itself, or x row by row with the border around it.
  enum class Reading : std::uint8_t { patch, in_place, rows };

  struct Pad {
    S* patch;
    char* staged;
    T* acc;
    T* convert;
    std::int32_t* tile;

    Pad(const TileLayout& l, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at);
        at += round_to_line(count * std::int64_t{sizeof *to});
      };
      take(patch, l.patch_elements);
      take(staged, l.staged_bytes);
      take(acc, l.acc_elements);
      take(convert, l.acc_elements);
      take(tile, l.most_offsets());
    }
  };

  // False where an element is too large or too small to be cut.
  bool stage(const Tile& tile, const Pad& pad) const {
    Extremes extremes;
    Patch patch = layout_.patch;
    const std::int64_t channels = layout_.scheme.channels;
    for (std::int64_t s = 0; s < layout_.slabs; ++s) {
      char* const to = pad.staged + s * layout_.slab_bytes();
      if (layout_.gathered) {
        patch.channels = problem_.in_channels;
        if (s == 0) stage_patch<S>(table_, problem_, operands_.x, patch, tile, pad.patch);
        cut(tile, patch, pad.patch, s * channels, to, &extremes);
      } else {
        patch.first_channel = s * channels;
        patch.channels = std::min<std::int64_t>(channels, problem_.in_channels - s * channels);
        if (reading_ == Reading::in_place) {
          cut_in_place(tile, patch, to, &extremes);
        } else if (reading_ == Reading::rows) {
          cut_rows(tile, patch, to, &extremes);
        } else {
          // The last boxes do not fill their patch.
          if (tile.size != layout_.box)
            std::memset(pad.patch, 0, static_cast<std::size_t>(layout_.patch_elements) * sizeof(S));
          stage_patch<S>(table_, problem_, operands_.x, patch, tile, pad.patch);
          cut(tile, patch, pad.patch, 0, to, &extremes);
        }
      }
      if (tiles_look_at_magnitudes(problem_, layout_.product) &&
          (extremes.least < allowed_.least || extremes.most > allowed_.most))
        return false;
    }
    return true;
  }

  Reading choose_reading() const {
    const Tensor& x = operands_.x;
    constexpr std::int64_t kElement = sizeof(S);
    if (layout_.gathered || !holds<S>(problem_, x)) return Reading::patch;
    for (const Axis& a : problem_.axis)
      if (a.stride != 1) return Reading::patch;
    if (!layout_.columns) {
      const bool lies = x.axis[2] == kElement || x.channel == kElement;
      const bool plain = !problem_.padded() || problem_.border == Border::constant;
      return lies && plain ? Reading::rows : Reading::patch;
    }
    // Whole rows of planes. Tiles that run from row to row read them as one.
    const bool follows = !layout_.run.flat || x.axis[1] == layout_.row_pitch() * kElement;
    return follows && x.axis[2] == kElement && !problem_.padded() ? Reading::in_place
                                                                  : Reading::patch;
  }

  const S* first_channel(const Tile& tile, const Patch& patch) const {
    const Tensor& x = operands_.x;
    return reinterpret_cast<const S*>(
        x.data + tile.image * x.batch +
        x.channel_offset(tile.group * problem_.in_channels + patch.first_channel));
  }

  void cut_in_place(const Tile& tile, const Patch& patch, char* to, Extremes* extremes) const {
    constexpr std::int64_t kElement = sizeof(S);
    const Tensor& x = operands_.x;
    Patch lies = patch;
    lies.layout.axis = {x.axis[0] / kElement, x.axis[1] / kElement, 1};
    lies.layout.channel = x.channel / kElement;
    const S* from = first_channel(tile, patch);
    for (int a = 0; a < 3; ++a) from += tile.origin[a] * lies.layout.axis[a];
    cut(tile, lies, from, 0, to, extremes);
  }

  // The positions of a patch, with a border of one value, without the patch.
  void cut_rows(const Tile& tile, const Patch& patch, char* to, Extremes* extremes) const {
    constexpr std::int64_t kElement = sizeof(S);
    const Tensor& x = operands_.x;
    const auto& [depth, height, width] = problem_.axis;
    TilePositionsArgs args{nullptr,
                           x.axis[2] / kElement,
                           x.channel / kElement,
                           0,
                           patch.channels,
                           nullptr,
                           layout_.part_bytes(),
                           tile_offset(problem_, layout_.product),
                           extremes};
    if (args.channel != 1) args.position = 1;
    const BorderPosition border(*this, patch.channels, extremes);
    const auto fill = [&](std::int64_t position, std::int64_t count) {
      for (int s = 0; s < layout_.scheme.parts; ++s)
        for (std::int64_t p = position; p < position + count; ++p)
          std::memcpy(to + s * layout_.part_bytes() + p * 64, border.bytes + s * 64, 64);
    };
    // Positions [inside, beyond) of a row lie in x.
    const std::int64_t count = tile.size[2] + patch.axis[2].extent;
    const std::int64_t from = tile.origin[2] - width.lo;
    const std::int64_t inside = std::clamp<std::int64_t>(-from, 0, count);
    const std::int64_t beyond = std::clamp<std::int64_t>(width.in - from, inside, count);
    for (std::int64_t d = 0; d < tile.size[0] + patch.axis[0].extent; ++d) {
      const std::int64_t slice = tile.origin[0] - depth.lo + d;
      for (std::int64_t h = 0; h < tile.size[1] + patch.axis[1].extent; ++h) {
        const std::int64_t line = tile.origin[1] - height.lo + h;
        const std::int64_t row = d * layout_.slice_pitch() + h * layout_.row_pitch();
        if (slice < 0 || slice >= depth.in || line < 0 || line >= height.in || beyond == inside) {
          fill(row, count);
          continue;
        }
        fill(row, inside);
        args.from = first_channel(tile, patch) +
                    (slice * x.axis[0] + line * x.axis[1] + (from + inside) * x.axis[2]) / kElement;
        args.to = to + (row + inside) * 64;
        args.positions = beyond - inside;
        kernels_.positions(args);
        fill(row + beyond, count - beyond);
      }
    }
  }

  // One position of the border, as it is cut.
  struct BorderPosition {
    char bytes[3 * 64];

    BorderPosition(const TileRunner& run, std::int64_t channels, Extremes* extremes) {
      if (!run.problem_.padded()) return;
      S fill[64];
      for (S& value : fill) {
        if constexpr (std::is_same_v<S, float>)
          value = run.problem_.fill[0].f32;
        else
          value = static_cast<S>(run.problem_.fill[0].i32);
      }
      run.kernels_.positions({fill, 64, 1, 1, channels, bytes, 64,
                              tile_offset(run.problem_, run.layout_.product), extremes});
    }
  };

  void cut(const Tile& tile, const Patch& patch, const S* from, std::int64_t first_term, char* to,
           Extremes* extremes) const {
    const Index3& step = patch.layout.axis;
    TilePositionsArgs args{
        from,           step[2], patch.layout.channel, 0,
        patch.channels, to,      layout_.part_bytes(), tile_offset(problem_, layout_.product),
        extremes};
    if (layout_.gathered) {
      args.term = layout_.term.data() + first_term;
      args.channels =
          std::min<std::int64_t>(layout_.scheme.channels, problem_.terms() - first_term);
    } else if (!layout_.columns) {
      args.positions = patch.layout.phase / step[2];
      for (const PatchAxis& a : patch.axis) args.positions *= a.phases;
      return kernels_.positions(args);
    }
    for_each_run(tile, [&](const Index3& at) {
      const Index3 size = size_of_run(tile, at);
      const S* row = from + at[0] * step[0] + at[1] * step[1] + at[2];
      args.to = to + layout_.run_at(at) * layout_.most_tiles * kTileBytes;
      // Tiles do not run from row to row, where a row may end within one.
      const std::int64_t rows = layout_.run.flat ? 1 : size[1];
      args.positions = layout_.run.flat ? (size[1] - 1) * step[1] + size[2] : size[2];
      for (std::int64_t h = 0; h < rows; ++h, row += step[1]) {
        args.from = row;
        kernels_.positions(args);
        args.to += divide_up(size[2], kTileRows) * kTileBytes;
      }
    });
  }

  template <class Visit>
  void for_each_run(const Tile& tile, Visit visit) const {
    Index3 at;
    for (at[0] = 0; at[0] < tile.size[0]; ++at[0])
      for (at[1] = 0; at[1] < tile.size[1]; at[1] += layout_.run.rows)
        for (at[2] = 0; at[2] < tile.size[2]; at[2] += layout_.run.width) visit(at);
  }

  Index3 size_of_run(const Tile& tile, const Index3& at) const {
    return {1, std::min(layout_.run.rows, tile.size[1] - at[1]),
            std::min(layout_.run.width, tile.size[2] - at[2])};
  }

  void make_run(const Tile& tile, std::int64_t panel, const Index3& at, bool more, const Pad& pad,
                int worker) {
    const TileRun& run = layout_.run;
    Tile part = tile;
    part.size = size_of_run(tile, at);
    for (int a = 0; a < 3; ++a) part.origin[a] += at[a];
    const std::int64_t pitch = layout_.row_pitch();
    const TileRun whole = {part.size[1], part.size[2], run.flat, run.packed};
    const std::int64_t count = whole.tiles(part.size[1], pitch);
    const std::int64_t pixels = run.packed ? part.size[1] * part.size[2] : count * kTileRows;
    place_tiles(part.size, at, count, pad.tile);
    const std::int64_t width = shape_.width(panel);
    const char* const w = weights(tile.group, panel);
    // The weights that follow, a share of them with each run.
    Upcoming next;
    if (more) {
      const std::int64_t bytes = panel_bytes(panel + 1);
      const std::int64_t share = round_to_line(divide_up(bytes, layout_.run_count()));
      const std::int64_t from = std::min(bytes, layout_.run_at(at) * share);
      next.at = weights(tile.group, panel + 1) + from;
      next.bytes = std::min(share, bytes - from);
    }
    kernels_.product({pad.staged, layout_.part_bytes(), pad.tile, count, pixels,
                      layout_.step.data(), static_cast<std::int64_t>(layout_.step.size()), w,
                      width / kTileRows, pad.acc, next, layout_.short_steps, layout_.words});
    const std::int64_t row = run.packed ? part.size[2]
                             : run.flat ? pitch
                                        : round_up(part.size[2], kTileRows);
    BoxAccumulators<T> acc{pad.acc, width, 1, row, 0};
    if (layout_.columns) acc = {pad.acc, 1, count * kTileRows, row, 0};
    store_.store(part, tile.group * problem_.out_channels + panel * shape_.panel,
                 shape_.channels(panel), acc, pad.convert);
    interrupt_.work_done(worker, count * kTileRows * width * problem_.terms());
  }

  // Where the tiles of a run begin in what is staged, or where each of their pixels lies.
  void place_tiles(const Index3& size, const Index3& at, std::int64_t count,
                   std::int32_t* to) const {
    std::int32_t* const end = to + (layout_.scattered ? count * kTileRows : count);
    if (layout_.tiles_of_runs()) {
      std::int64_t first = layout_.run_at(at) * layout_.most_tiles;
      const std::int64_t step = layout_.columns || layout_.scattered ? 1 : kTileRows;
      if (!layout_.columns) first *= kTileRows;
      for (; to != end; first += step) *to++ = static_cast<std::int32_t>(first);
      return;
    }
    const std::int64_t pitch = layout_.row_pitch(), step = layout_.scattered ? 1 : kTileRows;
    std::int64_t row = at[0] * layout_.slice_pitch() + at[1] * pitch + at[2];
    std::int64_t length = size[2];
    if (!layout_.run.packed)
      length = layout_.run.flat ? count * kTileRows : round_up(size[2], kTileRows);
    for (std::int64_t h = 0; h < size[1] && to != end; ++h, row += pitch)
      for (std::int64_t w = 0; w < length; w += step) *to++ = static_cast<std::int32_t>(row + w);
    // The last tile is filled up with a pixel that is there.
    for (; to != end; ++to) *to = to[-1];
  }

  std::int64_t panel_bytes(std::int64_t panel) const {
    return static_cast<std::int64_t>(layout_.step.size()) * layout_.scheme.parts *
           (shape_.width(panel) / kTileRows) * kTileBytes;
  }
  const char* weights(std::int64_t group, std::int64_t panel) const {
    const std::int64_t vector =
        static_cast<std::int64_t>(layout_.step.size()) * layout_.scheme.parts * kTileBytes;
    return panels_ + (group * shape_.group_width() + panel * shape_.panel) / kTileRows * vector;
  }

  const Problem& problem_;
  const TileLayout& layout_;
  const PanelShape shape_;
  const KernelTable& table_;
  const TileForm& kernels_;
  const Operands& operands_;
  const char* const panels_;
  const Extremes allowed_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const BoxStore<T> store_;
  const Reading reading_;
};

class TileExecution final : public Execution {
 public:
  TileExecution(const Problem& problem, TileProduct product, const Tensor& x,
                const KernelTable& kernels, const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        layout_(make_tile_layout(problem, product, x, machine)),
        packing_(problem_, layout_, kernels) {}

  std::int64_t tasks() const override { return layout_.tasks.count(); }

  std::int64_t packed_bytes() const override { return packing_.bytes(); }

  bool packs_like(const Execution& other) const override {
    const TileLayout& l = static_cast<const TileExecution&>(other).layout_;
    return layout_.product == l.product && layout_.columns == l.columns &&
           layout_.gathered == l.gathered;
  }

  bool pack(const Weights& w, void* to, int workers) const override {
    return packing_.pack(w, static_cast<char*>(to), workers);
  }

  std::int64_t scratch_bytes() const override {
    switch (layout_.product) {
      case TileProduct::bytes:
        return TileRunner<std::uint8_t>::scratch_bytes(layout_);
      case TileProduct::shorts:
        return TileRunner<std::int16_t>::scratch_bytes(layout_);
      default:
        return TileRunner<float>::scratch_bytes(layout_);
    }
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (layout_.product == TileProduct::shorts) {
      run_as<std::int16_t>(operands, operands.bias, scratch, workers, interrupt);
    } else if (layout_.product != TileProduct::bytes) {
      run_as<float>(operands, operands.bias, scratch, workers, interrupt);
    } else if (tile_offset(problem_, layout_.product) == 0) {
      run_as<std::uint8_t>(operands, operands.bias, scratch, workers, interrupt);
    } else {
      const std::vector<std::int32_t> bias = packing_.offset_bias(operands);
      run_as<std::uint8_t>(operands, bias.data(), scratch, workers, interrupt);
    }
  }

 private:
  template <class S>
  void run_as(const Operands& operands, const void* bias, char* scratch, int workers,
              Interrupt& interrupt) const {
    TileRunner<S> run(problem_, layout_, kernels_, operands, bias, packing_.panels(operands),
                      packing_.allowed(operands), scratch, interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const TileLayout layout_;
  const TilePacking packing_;
};

constexpr const char* kTooLarge = "the input of one output is too large to be staged whole";

const char* accepts_split(const Problem& problem) {
  TileProduct product;
  if (!choose_float_product(problem, product))
    return "only float32, float16 and bfloat16 are split";
  if ((product == TileProduct::six || product == TileProduct::four) &&
      problem.in_channels < kMinChannels)
    return "too few input channels: the error would exceed that of a sum in order";
  return tiles_fit(problem, product) ? nullptr : kTooLarge;
}

const char* accepts_bytes(const Problem& problem) {
  if (!takes_integers(problem, TileProduct::bytes))
    return "only for 8-bit input, borders included, and int8 weights, summed in int32";
  return tiles_fit(problem, TileProduct::bytes) ? nullptr : kTooLarge;
}

const char* accepts_shorts(const Problem& problem) {
  if (!takes_integers(problem, TileProduct::shorts))
    return "only for int16 and 8-bit input, borders included, and weights, summed in int32";
  return tiles_fit(problem, TileProduct::shorts) ? nullptr : kTooLarge;
}

TileProduct float_product(const Problem& problem) {
  TileProduct product = TileProduct::six;
  choose_float_product(problem, product);
  return product;
}
constexpr TileProduct bytes_product(const Problem&) { return TileProduct::bytes; }
constexpr TileProduct shorts_product(const Problem&) { return TileProduct::shorts; }

// Of products that `Product` chooses.
template <TileProduct (*Product)(const Problem&)>
constexpr Candidate tiles(const char* name, const char* kernel,
                          const char* (*accepts)(const Problem&)) {
  return {name,
          kernel,
          accepts,
          [](const Problem& problem, const Machine& machine) {
            return tile_cost(problem, Product(problem), machine);
          },
          nullptr,
          [](const Problem& problem, const Tensor& x, const KernelTable& kernels,
             const Machine& machine) -> std::unique_ptr<const Execution> {
            return std::make_unique<const TileExecution>(problem, Product(problem), x, kernels,
                                                         machine);
          },
          nullptr,
          [](const Problem& problem, const Machine& machine) {
            return machine.tile_rate[static_cast<int>(Product(problem))] == 0;
          }};
}

}  // namespace

const Candidate amx_split = tiles<float_product>("amx_split", "tile_product", accepts_split);
const Candidate byte_dots = tiles<bytes_product>("direct", "byte_dots", accepts_bytes);
const Candidate short_dots = tiles<shorts_product>("direct", "short_dots", accepts_shorts);

}  // namespace fastconv
