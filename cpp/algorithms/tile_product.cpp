// Products of tiles (kernels/tile_portable.hpp): float32 by parts of bfloat16 on AMX, bfloat16,
// bytes and int16.
//
//   for each task (image, group, box of pixels, range of panels)         in parallel
//     for each slab of input channels
//       stage its patch -> cut (and turn)                                positions of 64 bytes
//     for each panel of 32 output channels
//       for each part of the slabs, mostly one                           its weights from L2
//         pack its weights, where a call uses them once
//         for each run of rows
//           multiply: for each tile of 32 pixels, each slab, each tap    sums in tile registers
//           store, after the last part
//
// Accuracy (TileProduct::six). Cutting is exact; what the six products leave out is below 2^-21 of
// each product, and every sum is rounded as one of float32 is, in shorter chains. That holds as
// long as neither the parts nor their products fall below 2^-126, where tiles flush to zero, and no
// sum overflows: input that might, infinities and NaN take the direct path, box by box. Each
// element is looked at alone, so that neither the threads nor the batch decide.
#include <algorithm>
#include <atomic>
#include <memory>
#include <type_traits>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tile_layout.hpp"
#include "algorithms/tile_packing.hpp"
#include "algorithms/tile_staging.hpp"
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

template <class S>
class TileRunner {
 public:
  using T = Sum<S>;

  TileRunner(const Problem& problem, const TileLayout& layout, const KernelTable& table,
             const Operands& operands, const void* bias, const TilePacking& packing, char* scratch,
             Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(tile_panels(problem)),
        kernels_(tile_form(table, layout)),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_bytes(layout, packing)),
        interrupt_(interrupt),
        staging_(problem, layout, table, operands.x),
        packing_(packing),
        bias_(static_cast<const T*>(bias)),
        store_(problem, table, operands.y, bias) {}

  static std::int64_t scratch_bytes(const TileLayout& l, const TilePacking& packing) {
    return Pad(l, packing, nullptr).bytes;
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const PanelTasks::Task task = layout_.tasks.task(index);
    const Tile tile = tile_of_box(problem_, layout_.box, layout_.boxes, task.box);
    std::atomic_ref<std::uint8_t> unsuitable(operands_.unsuitable[task.box]);
    if (unsuitable.load(std::memory_order_relaxed) != 0) return;
    const Pad pad(layout_, packing_, scratch_ + worker * scratch_each_);
    const AllowedInput allowed = packs() || is_integer(layout_.product)
                                     ? AllowedInput{}
                                     : packing_.allowed(operands_, tile.group);
    Extremes of_input;
    if (!allowed.some ||
        !staging_.stage(tile, pad.patch, pad.staged, allowed.magnitudes, &of_input))
      return unsuitable.store(1, std::memory_order_relaxed);
    for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
      const bool more = p + 1 < task.last_panel;
      if (!packs())
        multiply_panel(tile, p, packing_.panel(operands_, tile.group, p), more, pad, worker);
      else if (!pack_and_multiply(tile, p, of_input, more, pad, worker))
        return unsuitable.store(1, std::memory_order_relaxed);
      if (interrupt_.stop_requested()) return;
    }
  }

 private:
  struct Pad {
    S* patch;
    char* staged;
    T* acc;
    T* convert;
    std::int32_t* tile;
    std::int32_t* begin;
    // Of weights that are packed as they are multiplied.
    char* weights;
    float* room;
    std::int32_t* offsets;
    std::int64_t bytes = 0;

    Pad(const TileLayout& l, const TilePacking& packing, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(
            reinterpret_cast<std::uintptr_t>(at) + static_cast<std::uintptr_t>(bytes));
        bytes += round_to_line(count * std::int64_t{sizeof *to});
      };
      const bool packs = l.packs_as_it_runs;
      take(patch, l.patch_elements);
      take(staged, l.staged_bytes);
      take(acc, l.acc_elements * (l.parts() > 1 ? l.run_count() : 1));
      take(convert, l.acc_elements);
      take(tile, l.most_offsets());
      take(begin, l.most_begun());
      take(weights, packs ? l.slabs_at_once * l.steps_of_slab() * packing.panel_step(0) : 0);
      take(room, packs ? packing.room() : 0);
      take(offsets, packs ? packing.offset_taps() * kTileVectors * kTileRows : 0);
    }
  };

  // Slabs [first, last) of a panel.
  struct Part {
    std::int64_t index, first, last;
  };
  Part part(std::int64_t index) const {
    const std::int64_t first = index * layout_.slabs_at_once;
    return {index, first, std::min(first + layout_.slabs_at_once, layout_.slabs)};
  }

  bool packs() const { return operands_.packed == nullptr; }

  void multiply_panel(const Tile& tile, std::int64_t panel, const TilePanel& weights, bool more,
                      const Pad& pad, int worker) {
    for (std::int64_t i = 0; i < layout_.parts(); ++i)
      multiply_part(tile, panel, part(i), weights, more, pad, worker);
  }

  void multiply_part(const Tile& tile, std::int64_t panel, const Part& slabs,
                     const TilePanel& weights, bool more, const Pad& pad, int worker) {
    layout_.for_each_run(tile.size, [&](const Index3& at) {
      if (!interrupt_.stop_requested())
        make_run(tile, panel, slabs, weights, at, more, pad, worker);
    });
  }

  // False where the magnitudes of the input do not go with those of this panel.
  bool pack_and_multiply(const Tile& tile, std::int64_t panel, const Extremes& of_input, bool more,
                         const Pad& pad, int worker) {
    const Weights& w = *operands_.weights;
    const std::int64_t step = packing_.panel_step(panel);
    Extremes of_weights, allowed;
    bool finite = true;
    for (std::int64_t i = 0; i < layout_.parts();) {
      const Part slabs = part(i);
      packing_.pack_slabs(w, tile.group, panel, slabs.first, slabs.last, pad.room, pad.weights,
                          &of_weights);
      if (tiles_look_at_magnitudes(problem_, layout_.product) &&
          !(allow(of_weights, problem_.terms(), allowed) && within(of_input, allowed)))
        return false;
      if (finite && !is_integer(layout_.product) && !all_finite(of_weights)) {
        // The parts before have left out taps that these weights may not leave out.
        finite = false;
        if (i > 0) {
          i = 0;
          continue;
        }
      }
      if (packing_.offset_taps() > 0)
        packing_.pack_offsets(w, tile.group, panel, pad.weights, pad.offsets);
      const std::int64_t first = slabs.first * layout_.steps_of_slab();
      multiply_part(
          tile, panel, slabs,
          {behind(pad.weights, first * step), pad.offsets, kTileVectors * kTileRows, finite}, more,
          pad, worker);
      if (interrupt_.stop_requested()) break;
      ++i;
    }
    return true;
  }

  // Where the first step of a panel would lie. Kernels count from there, and read what is there.
  static const char* behind(const char* at, std::int64_t bytes) {
    return reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(at) -
                                         static_cast<std::uintptr_t>(bytes));
  }
  static const char* ahead(const char* at, std::int64_t bytes) {
    return reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(at) +
                                         static_cast<std::uintptr_t>(bytes));
  }

  void make_run(const Tile& tile, std::int64_t panel, const Part& slabs, const TilePanel& weights,
                const Index3& at, bool more, const Pad& pad, int worker) {
    const TileRun& run = layout_.run;
    Tile part = tile;
    part.size = layout_.size_of_run(tile.size, at);
    for (int a = 0; a < 3; ++a) part.origin[a] += at[a];
    const std::int64_t pitch = layout_.row_pitch();
    const TileRun whole = {part.size[1], part.size[2], run.flat, run.packed};
    const std::int64_t count = whole.tiles(part.size[1], pitch);
    const std::int64_t pixels = run.packed ? part.size[1] * part.size[2] : count * kTileRows;
    const char* x = pad.staged;
    const std::int32_t* places = pad.tile;
    const std::int64_t channel = tile.group * problem_.out_channels + panel * shape_.panel;
    const std::int64_t channels = shape_.channels(panel), width = shape_.width(panel);
    TileBlocks blocks{};
    const TileBlockList* list = nullptr;
    const std::int64_t each = layout_.steps_of_slab();
    std::int64_t first = slabs.first * each, steps = (slabs.last - slabs.first) * each;
    const bool last = slabs.last == layout_.slabs;
    if (run.packed) {
      const bool all = !weights.finite && border_adds_nothing(problem_);
      list = &(all ? layout_.all_taps : layout_.blocks).at(part.origin);
      x += 64 * (at[0] * layout_.slice_pitch() + at[1] * pitch + at[2]);
      places = list->place.data();
      // Those of this part say which of all steps they take.
      blocks = list->view(slabs.index, layout_.parts());
      first = 0;
      steps = layout_.slabs * each;
    } else {
      place_tiles(part.size, at, count, pad.tile);
    }
    T* const sums =
        layout_.parts() > 1 ? pad.acc + layout_.run_at(at) * layout_.acc_elements : pad.acc;
    TileProductArgs product = {x,
                               layout_.part_bytes(),
                               places,
                               count,
                               pixels,
                               layout_.step.data() + first,
                               steps,
                               ahead(weights.steps, first * packing_.panel_step(panel)),
                               width / kTileRows,
                               sums,
                               upcoming(tile.group, panel, slabs, weights, at, more),
                               last || run.packed ? layout_.short_steps : 0,
                               layout_.words,
                               run.packed ? &blocks : nullptr};
    product.accumulate = slabs.first > 0;
    const std::int64_t row = run.packed ? part.size[2]
                             : run.flat ? pitch
                                        : round_up(part.size[2], kTileRows);
    const bool stored = last && store_by_kernel(part, channel, channels == width, row, product);
    if constexpr (!std::is_same_v<T, float>) {
      const T* const bias = stored ? bias_ : nullptr;
      const bool offset = layout_.offset_by_taps || (packs() && packing_.offset_taps() > 0);
      if (offset || (list != nullptr && bias != nullptr))
        product.begin =
            begin_of(list, offset ? &weights : nullptr, channel, channels, width, bias, pad.begin);
      else if (bias != nullptr)
        product.begin = bias + channel;
    }
    kernels_.product(product);
    if (last && !stored) {
      BoxAccumulators<T> acc{sums, width, 1, row, 0};
      if (layout_.columns) acc = {sums, 1, count * kTileRows, row, 0};
      store_.store(part, channel, channels, acc, pad.convert);
    }
    interrupt_.work_done(worker, count * kTileRows * width * problem_.terms() *
                                     (slabs.last - slabs.first) / layout_.slabs);
  }

  // A share of what is read after this part of a panel: packed weights, or rows of the caller's.
  Upcoming upcoming(std::int64_t group, std::int64_t panel, const Part& slabs,
                    const TilePanel& weights, const Index3& at, bool more) const {
    const bool same = slabs.last < layout_.slabs;
    if ((!same && !more) || (!packs() && layout_.weights_are_near)) return {};
    const Part next = part(same ? slabs.index + 1 : 0);
    if (!same) ++panel;
    const std::int64_t run = layout_.run_at(at), runs = layout_.run_count();
    if (packs()) {
      const Weights& w = *operands_.weights;
      if (!terms_are_runs(problem_, w)) return {};
      const std::int64_t rows = shape_.channels(panel);
      const std::int64_t begin = rows * run / runs, end = rows * (run + 1) / runs;
      const std::int64_t row = group * problem_.out_channels + panel * shape_.panel + begin;
      const std::int64_t slab = layout_.scheme.channels * layout_.steps_of_slab() * size_of(w.type);
      const std::int64_t all = problem_.terms() * size_of(w.type);
      return {w.data + row * w.out + next.first * slab, w.out,
              std::min(next.last * slab, all) - next.first * slab, end - begin};
    }
    const TilePanel of = same ? weights : packing_.panel(operands_, group, panel);
    const std::int64_t slab = layout_.steps_of_slab() * packing_.panel_step(panel);
    const std::int64_t bytes = (next.last - next.first) * slab;
    const std::int64_t share = round_to_line(divide_up(bytes, runs));
    const std::int64_t from = std::min(bytes, run * share);
    return {of.steps + next.first * slab + from, 0, std::min(share, bytes - from), 1};
  }

  // What sums of each kind of blocks begin with: what the offset of the input takes from them, if
  // that is not in the bias, and the bias if they are to be stored as they are.
  const std::int32_t* begin_of(const TileBlockList* list, const TilePanel* offsets,
                               std::int64_t channel, std::int64_t channels, std::int64_t width,
                               const void* bias, std::int32_t* to) const {
    const auto add = [&](const std::int32_t* from) {
      for (std::int64_t k = 0; k < channels; ++k)
        to[k] = static_cast<std::int32_t>(static_cast<std::uint32_t>(to[k]) +
                                          static_cast<std::uint32_t>(from[k]));
    };
    const std::int32_t* const begin = to;
    const std::size_t kinds = list == nullptr ? 1 : list->kind.size();
    for (std::size_t kind = 0; kind < kinds; ++kind, to += width) {
      std::fill(to, to + width, 0);
      if (offsets != nullptr && layout_.offset_by_taps)
        for (const std::int32_t tap : list->kind[kind])
          add(offsets->offsets + tap * offsets->pitch);
      else if (offsets != nullptr)
        add(offsets->offsets);
      if (bias != nullptr) add(static_cast<const std::int32_t*>(bias) + channel);
    }
    return begin;
  }

  // Dot products of integers go from registers to the output where that lies as sums do, `row`
  // pixels from one row to the next.
  bool store_by_kernel(const Tile& part, std::int64_t channel, bool whole, std::int64_t row,
                       TileProductArgs& product) const {
    if (std::is_same_v<T, float> || !layout_.dots || !whole) return false;
    if (layout_.columns) {
      const bool follows =
          part.size[1] == 1 || (row == part.size[2] && store_.row_offset(0, 1) == row);
      if (!follows || part.size[1] * part.size[2] % kTileRows != 0 || !store_.takes_pixels())
        return false;
      product.pitch = store_.channel_pitch() * std::int64_t{sizeof(T)};
    } else {
      if (!layout_.run.packed || !store_.takes_channels(part)) return false;
      product.pitch = store_.pixel_pitch() * std::int64_t{sizeof(T)};
    }
    product.acc = store_.first_pixel(part, channel);
    return true;
  }

  // Where the tiles of a run begin in what is staged, or where each of their pixels lies; not of
  // packed ones.
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
    const std::int64_t length = layout_.run.flat ? count * kTileRows : round_up(size[2], kTileRows);
    for (std::int64_t h = 0; h < size[1] && to != end; ++h, row += pitch)
      for (std::int64_t w = 0; w < length; w += step) *to++ = static_cast<std::int32_t>(row + w);
    // The last tile is filled up with a pixel that is there.
    for (; to != end; ++to) *to = to[-1];
  }

  const Problem& problem_;
  const TileLayout& layout_;
  const PanelShape shape_;
  const TileForm& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const TileStaging<S> staging_;
  const TilePacking& packing_;
  const T* const bias_;
  const BoxStore<T> store_;
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

  OutputGrid grid() const override {
    Index3 out;
    for (int a = 0; a < 3; ++a) out[a] = problem_.axis[a].out;
    return {layout_.box, layout_.boxes, out,
            problem_.groups * layout_.boxes[0] * layout_.boxes[1] * layout_.boxes[2]};
  }

  std::int64_t packed_bytes() const override { return packing_.bytes(); }

  bool packs_like(const Execution& other) const override {
    const TileLayout& l = static_cast<const TileExecution&>(other).layout_;
    return layout_.product == l.product && layout_.columns == l.columns &&
           layout_.gathered == l.gathered && layout_.offset_by_taps == l.offset_by_taps;
  }

  // Weights that serve one box are multiplied while they are near, a part of a panel at a time.
  bool reads_in_place(const Weights& w) const override {
    return layout_.packs_as_it_runs && packing_.packs_slabs(w);
  }

  bool pack(const Weights& w, void* to, int workers, Interrupt& /*interrupt*/) const override {
    return packing_.pack(w, to, workers);
  }

  std::int64_t scratch_bytes() const override {
    switch (layout_.product) {
      case TileProduct::bytes:
        return TileRunner<std::uint8_t>::scratch_bytes(layout_, packing_);
      case TileProduct::shorts:
        return TileRunner<std::int16_t>::scratch_bytes(layout_, packing_);
      default:
        return TileRunner<float>::scratch_bytes(layout_, packing_);
    }
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (layout_.product == TileProduct::shorts) {
      run_as<std::int16_t>(operands, operands.bias, scratch, workers, interrupt);
    } else if (layout_.product != TileProduct::bytes) {
      run_as<float>(operands, operands.bias, scratch, workers, interrupt);
    } else if (tile_offset(problem_, layout_.product) == 0 || layout_.offset_by_taps ||
               operands.packed == nullptr) {
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
    TileRunner<S> run(problem_, layout_, kernels_, operands, bias, packing_, scratch, interrupt);
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

constexpr TileProduct bytes_product(const Problem&, const Machine&) { return TileProduct::bytes; }
constexpr TileProduct shorts_product(const Problem&, const Machine&) { return TileProduct::shorts; }

// Of products that `Product` chooses.
template <TileProduct (*Product)(const Problem&, const Machine&)>
constexpr Candidate tiles(Algorithm algorithm, const char* kernel,
                          const char* (*accepts)(const Problem&)) {
  return {algorithm,
          kernel,
          accepts,
          [](const Problem& problem, const Machine& machine) {
            return tile_cost(problem, Product(problem, machine), machine);
          },
          nullptr,
          [](const Problem& problem, const Tensor& x, const KernelTable& kernels,
             const Machine& machine) -> std::unique_ptr<const Execution> {
            return std::make_unique<const TileExecution>(problem, Product(problem, machine), x,
                                                         kernels, machine);
          },
          nullptr,
          [](const Problem& problem, const Machine& machine) {
            return machine.tile_rate[static_cast<int>(Product(problem, machine))] == 0;
          }};
}

}  // namespace

const Candidate amx_split =
    tiles<float_product>(Algorithm::amx_split, "tile_product", accepts_split);
const Candidate byte_dots = tiles<bytes_product>(Algorithm::direct, "byte_dots", accepts_bytes);
const Candidate short_dots = tiles<shorts_product>(Algorithm::direct, "short_dots", accepts_shorts);

}  // namespace fastconv
