// Products of tiles (kernels/tile_portable.hpp): float32 by parts of bfloat16 on AMX, bfloat16 and
// bytes.
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
#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "algorithms/tile_layout.hpp"
#include "core/rounding.hpp"
#include "pack/stage.hpp"
#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// A sum is rounded once for each product of parts, slab and tap, a sum in order once for each
// channel and tap: with fewer channels the latter is the more accurate (3 channels, 5 x 5: by 1.4).
constexpr std::int64_t kMinChannels = 12;

// What precedes the packed weights.
struct TileHeader {
  Extremes allowed;     // of the input
  bool finite = false;  // all weights, so that zeros of the border add nothing
};

std::uint32_t bits_of(double x) { return std::bit_cast<std::uint32_t>(static_cast<float>(x)); }

// Which magnitudes of the input go with those of the weights; false where too few would.
//   least: the smallest part stays above 2^-126, and the smallest product so far above it that what
//          is flushed is nothing beside u * S
//   most:  no sum overflows
bool allow(const Extremes& weights, std::int64_t terms, Extremes& input) {
  input.least = 0;
  input.most = 0x7f7fffffu;
  if (weights.most == 0) return true;
  constexpr double kEveryLeast = 0x1p-40, kEveryMost = 0x1p60;
  const double smallest = std::bit_cast<float>(weights.least + 1);
  const double largest = std::bit_cast<float>(weights.most);
  if (!(largest < 0x1p120) || smallest < 0x1p-103) return false;
  const double least = std::max(0x1p-103, 0x1p-92 / smallest);
  const double most = std::min(0x1p120, 0x1p126 / (largest * static_cast<double>(terms)));
  if (least > kEveryLeast || most < kEveryMost) return false;
  input.least = bits_of(least) - 1;
  input.most = bits_of(most);
  return true;
}

// Where rounding to bfloat16 is what was asked for, anything goes.
bool looks_at_magnitudes(const Problem& problem, TileProduct product) {
  return product != TileProduct::bytes &&
         (product != TileProduct::one || problem.x_type == DType::bf16);
}

std::int32_t offset_of(const Problem& problem) { return problem.x_type == DType::i8 ? 128 : 0; }

const TileForm& form_of(const KernelTable& table, const TileLayout& layout) {
  const TileKernels::Kernels& kernels = (*table.tiles)[layout.product];
  return layout.columns ? kernels.columns : kernels.rows;
}

template <class T>
class TileRunner {
 public:
  TileRunner(const Problem& problem, const TileLayout& layout, const KernelTable& table,
             const Operands& operands, const void* bias, const char* panels,
             const TileHeader& header, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(tile_panels(problem)),
        table_(table),
        kernels_(form_of(table, layout)),
        operands_(operands),
        panels_(panels),
        allowed_(header.allowed),
        leaves_slices_out_(header.finite && has_zero_border(problem)),
        scratch_(scratch),
        scratch_each_(scratch_bytes(layout)),
        interrupt_(interrupt),
        store_(problem, table, operands.y, bias),
        in_place_(lies_as_a_patch()) {}

  static std::int64_t scratch_bytes(const TileLayout& l) {
    return round_to_line(l.patch_elements * std::int64_t{sizeof(T)}) +
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
  struct Pad {
    T* patch;
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
    for (std::int64_t s = 0; s < layout_.slabs; ++s) {
      patch.first_channel = s * layout_.scheme.channels;
      patch.channels = std::min<std::int64_t>(layout_.scheme.channels,
                                              problem_.in_channels - patch.first_channel);
      char* const to = pad.staged + s * layout_.slab_bytes();
      if (in_place_) {
        cut_in_place(tile, patch, to, &extremes);
      } else {
        // The last boxes do not fill their patch.
        if (tile.size != layout_.box)
          std::memset(pad.patch, 0, static_cast<std::size_t>(layout_.patch_elements) * sizeof(T));
        stage_patch<T>(table_, problem_, operands_.x, patch, tile, pad.patch);
        cut(tile, patch, pad.patch, to, &extremes);
      }
      if (looks_at_magnitudes(problem_, layout_.product) &&
          (extremes.least < allowed_.least || extremes.most > allowed_.most))
        return false;
    }
    return true;
  }

  // Whole rows of planes, as they lie in x.
  bool lies_as_a_patch() const {
    const Tensor& x = operands_.x;
    if (!layout_.columns || problem_.complex || !can_read_in_place(problem_, x)) return false;
    for (const Axis& a : problem_.axis)
      if (a.stride != 1) return false;
    constexpr std::int64_t kElement = sizeof(T);
    // Tiles that run from row to row read them as one.
    const bool follows = !layout_.run.flat || x.axis[1] == layout_.row_pitch() * kElement;
    return follows && x.axis[2] == kElement;
  }

  void cut_in_place(const Tile& tile, const Patch& patch, char* to, Extremes* extremes) const {
    constexpr std::int64_t kElement = sizeof(T);
    const Tensor& x = operands_.x;
    Patch lies = patch;
    lies.layout.axis = {x.axis[0] / kElement, x.axis[1] / kElement, 1};
    lies.layout.channel = x.channel / kElement;
    const char* from = x.data + tile.image * x.batch +
                       x.channel_offset(tile.group * problem_.in_channels + patch.first_channel);
    for (int a = 0; a < 3; ++a) from += tile.origin[a] * x.axis[a];
    cut(tile, lies, reinterpret_cast<const T*>(from), to, extremes);
  }

  void cut(const Tile& tile, const Patch& patch, const T* from, char* to,
           Extremes* extremes) const {
    const Index3& step = patch.layout.axis;
    TilePositionsArgs args{from,           step[2], patch.layout.channel, 0,
                           patch.channels, to,      layout_.part_bytes(), offset_of(problem_),
                           extremes};
    if (!layout_.columns) {
      args.positions = patch.layout.phase / step[2];
      for (const PatchAxis& a : patch.axis) args.positions *= a.phases;
      return kernels_.positions(args);
    }
    for_each_run(tile, [&](const Index3& at) {
      const Index3 size = size_of_run(tile, at);
      args.from = from + at[0] * step[0] + at[1] * step[1] + at[2];
      args.to = to + layout_.run_at(at) * layout_.most_tiles * kTileBytes;
      // Tiles do not run from row to row, where a row may end within one.
      const std::int64_t rows = layout_.run.flat ? 1 : size[1];
      args.positions = layout_.run.flat ? (size[1] - 1) * step[1] + size[2] : size[2];
      for (std::int64_t h = 0; h < rows; ++h) {
        kernels_.positions(args);
        args.from = static_cast<const T*>(args.from) + step[1];
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
    const TapSpan slices = seen_slices_of(part.origin[0]);
    const std::int64_t of_slice =
        static_cast<std::int64_t>(layout_.step.size()) / problem_.axis[0].kernel;
    kernels_.product({pad.staged, layout_.part_bytes(), pad.tile, count, pixels,
                      layout_.step.data() + slices.first * of_slice, slices.count() * of_slice,
                      w + slices.first * of_slice * layout_.scheme.parts * (width / kTileRows) *
                              kTileBytes,
                      width / kTileRows, pad.acc, next});
    const std::int64_t row = run.packed ? part.size[2]
                             : run.flat ? pitch
                                        : round_up(part.size[2], kTileRows);
    BoxAccumulators<T> acc{pad.acc, width, 1, row, 0};
    if (layout_.columns) acc = {pad.acc, 1, count * kTileRows, row, 0};
    store_.store(part, tile.group * problem_.out_channels + panel * shape_.panel,
                 shape_.channels(panel), acc, pad.convert);
    interrupt_.work_done(worker, count * kTileRows * width * problem_.terms());
  }

  // Kernel slices that lie inside of the input, for outputs of one depth; all, where none does.
  TapSpan seen_slices_of(std::int64_t depth) const {
    const Axis& axis = problem_.axis[0];
    const TapSpan all = {0, axis.kernel};
    if (!leaves_slices_out_) return all;
    TapSpan seen = {axis.kernel, 0};
    for (std::int64_t k = 0; k < axis.kernel; ++k) {
      const TapSpan outputs = seeing_outputs(axis, k);
      if (depth < outputs.first || depth >= outputs.last) continue;
      seen = {std::min(seen.first, k), k + 1};
    }
    return seen.first < seen.last ? seen : all;
  }

  // Where the tiles of a run begin in what is staged, or where each of their pixels lies.
  void place_tiles(const Index3& size, const Index3& at, std::int64_t count,
                   std::int32_t* to) const {
    std::int32_t* const end = to + (layout_.scattered ? count * kTileRows : count);
    if (layout_.columns) {
      std::int64_t first = layout_.run_at(at) * layout_.most_tiles;
      while (to != end) *to++ = static_cast<std::int32_t>(first++);
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
  const bool leaves_slices_out_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const BoxStore<T> store_;
  const bool in_place_;
};

// Packed weights: header | for bytes what the offset of the input adds to each output | panels
class TileExecution final : public Execution {
 public:
  TileExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        shape_(tile_panels(problem)),
        layout_(make_tile_layout(problem, x, machine)) {}

  std::int64_t tasks() const override { return layout_.tasks.count(); }

  std::int64_t packed_bytes() const override {
    return panels_offset() + problem_.groups * shape_.group_width() / kTileRows * vector_bytes();
  }

  bool packs_like(const Execution& other) const override {
    const TileLayout& l = static_cast<const TileExecution&>(other).layout_;
    return layout_.product == l.product && layout_.columns == l.columns;
  }

  bool pack(const Weights& w, void* to, int workers) const override {
    return problem_.compute == Compute::f32
               ? pack_as<float>(w, static_cast<char*>(to), workers)
               : pack_as<std::int32_t>(w, static_cast<char*>(to), workers);
  }

  std::int64_t scratch_bytes() const override {
    return TileRunner<float>::scratch_bytes(layout_);  // of either type
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (problem_.compute == Compute::f32) {
      run_as<float>(operands, operands.bias, scratch, workers, interrupt);
    } else if (offset_of(problem_) == 0) {
      run_as<std::int32_t>(operands, operands.bias, scratch, workers, interrupt);
    } else {
      const std::vector<std::int32_t> bias = offset_bias(operands);
      run_as<std::int32_t>(operands, bias.data(), scratch, workers, interrupt);
    }
  }

 private:
  std::int64_t channels() const { return problem_.groups * problem_.out_channels; }
  std::int64_t vector_bytes() const {
    return static_cast<std::int64_t>(layout_.step.size()) * layout_.scheme.parts * kTileBytes;
  }
  std::int64_t panels_offset() const {
    return 64 + (offset_of(problem_) != 0
                     ? round_to_line(channels() * std::int64_t{sizeof(std::int32_t)})
                     : 0);
  }

  template <class T>
  bool pack_as(const Weights& w, char* to, int workers) const {
    const std::int64_t taps = problem_.taps(), slab_terms = layout_.scheme.channels * taps;
    const std::int64_t each = slab_terms * shape_.panel;
    const std::unique_ptr<T[]> rows(new T[static_cast<std::size_t>(each * workers)]);
    const std::int64_t depth = problem_.axis[0].kernel, of_slice = taps / depth;
    const std::int64_t cut_bytes =
        depth == 1 ? 0 : taps * layout_.scheme.parts * kTileVectors * kTileBytes;
    const std::unique_ptr<char[]> cut(new char[static_cast<std::size_t>(cut_bytes * workers)]);
    std::vector<Extremes> extremes(static_cast<std::size_t>(workers));
    const auto pack_one = form_of(kernels_, layout_).weights;
    parallel_for(
        problem_.groups * shape_.panels(), workers, [&](std::int64_t index, int worker) noexcept {
          const std::int64_t group = index / shape_.panels(), panel = index % shape_.panels();
          const std::int64_t width = shape_.width(panel), vectors = width / kTileRows;
          T* const buffer = rows.get() + worker * each;
          char* at =
              to + panels_offset() +
              (group * shape_.group_width() + panel * shape_.panel) / kTileRows * vector_bytes();
          std::uint32_t sums[kTileVectors * kTileRows] = {};
          for (std::int64_t c = 0; c < problem_.in_channels; c += layout_.scheme.channels) {
            const std::int64_t count =
                std::min<std::int64_t>(layout_.scheme.channels, problem_.in_channels - c);
            pack_panel<T>(kernels_, problem_, w, shape_, group, panel, c * taps, count * taps,
                          buffer);
            Extremes* const seen = &extremes[static_cast<std::size_t>(worker)];
            const std::int64_t bytes = of_slice * layout_.scheme.parts * vectors * kTileBytes;
            if (depth == 1) {
              pack_one({buffer, count, taps, vectors, at, seen});
            } else {
              // Kernel slices lie apart, those of all slabs one after the other.
              char* const slab = cut.get() + worker * cut_bytes;
              pack_one({buffer, count, taps, vectors, slab, seen});
              for (std::int64_t d = 0; d < depth; ++d)
                std::memcpy(at + d * layout_.slabs * bytes, slab + d * bytes,
                            static_cast<std::size_t>(bytes));
            }
            at += bytes;
            if (offset_of(problem_) != 0)
              for (std::int64_t i = 0; i < count * taps * width; ++i)
                sums[i % width] += static_cast<std::uint32_t>(static_cast<std::int32_t>(buffer[i]));
          }
          if (offset_of(problem_) == 0) return;
          auto* const offsets = reinterpret_cast<std::int32_t*>(to + 64) +
                                group * problem_.out_channels + panel * shape_.panel;
          for (std::int64_t k = 0; k < shape_.channels(panel); ++k)
            offsets[k] = static_cast<std::int32_t>(
                0u - sums[k] * static_cast<std::uint32_t>(offset_of(problem_)));
        });
    Extremes all;
    for (const Extremes& e : extremes) {
      all.least = std::min(all.least, e.least);
      all.most = std::max(all.most, e.most);
    }
    TileHeader header;
    const bool suits = !looks_at_magnitudes(problem_, layout_.product) ||
                       allow(all, problem_.terms(), header.allowed);
    constexpr std::uint32_t kInfinity = 0x7f800000u;
    header.finite = layout_.product != TileProduct::bytes && all.most < kInfinity;
    std::memcpy(to, &header, sizeof header);
    return suits;
  }

  // Where the input is signed, tiles take x + 128: sums have 128 times the weights' sum too much.
  std::vector<std::int32_t> offset_bias(const Operands& operands) const {
    std::vector<std::int32_t> bias(static_cast<std::size_t>(channels()));
    std::memcpy(bias.data(), static_cast<const char*>(operands.packed) + 64,
                bias.size() * sizeof(std::int32_t));
    if (operands.bias != nullptr) {
      const auto* const given = static_cast<const std::uint32_t*>(operands.bias);
      for (std::size_t k = 0; k < bias.size(); ++k)
        bias[k] = static_cast<std::int32_t>(static_cast<std::uint32_t>(bias[k]) + given[k]);
    }
    return bias;
  }

  template <class T>
  void run_as(const Operands& operands, const void* bias, char* scratch, int workers,
              Interrupt& interrupt) const {
    TileHeader header;
    std::memcpy(&header, operands.packed, sizeof header);
    TileRunner<T> run(problem_, layout_, kernels_, operands, bias,
                      static_cast<const char*>(operands.packed) + panels_offset(), header, scratch,
                      interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const PanelShape shape_;
  const TileLayout layout_;
};

constexpr const char* kTooLarge = "the input of one output is too large to be staged whole";

const char* accepts_split(const Problem& problem) {
  TileProduct product;
  if (problem.compute != Compute::f32 || !choose_tile_product(problem, product))
    return "only float32, float16 and bfloat16 are split";
  if ((product == TileProduct::six || product == TileProduct::four) &&
      problem.in_channels < kMinChannels)
    return "too few input channels: the error would exceed that of a sum in order";
  return tiles_fit(problem, product) ? nullptr : kTooLarge;
}

const char* accepts_bytes(const Problem& problem) {
  TileProduct product;
  if (!choose_tile_product(problem, product) || product != TileProduct::bytes)
    return "only for 8-bit input, borders included, and int8 weights, summed in int32";
  return tiles_fit(problem, product) ? nullptr : kTooLarge;
}

bool is_emulated(const Problem& problem, const Machine& machine) {
  TileProduct product;
  choose_tile_product(problem, product);
  return machine.tile_rate[static_cast<int>(product)] == 0;
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const TileExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate amx_split = {"amx_split", "tile_product", accepts_split, tile_cost,
                             nullptr,     execute,        nullptr,       is_emulated};
const Candidate byte_dots = {"direct", "byte_dots", accepts_bytes, tile_cost,
                             nullptr,  execute,     nullptr,       is_emulated};

}  // namespace fastconv
