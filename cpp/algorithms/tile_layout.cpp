#include "algorithms/tile_layout.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "algorithms/candidates.hpp"
#include "algorithms/costs.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMinPixels = 128;       // of a box: weights are read once for each
constexpr std::int64_t kMostRun = 512;         // positions of a run, 64 KB of sums
constexpr std::int64_t kMostStaged = 3 << 19;  // bytes, or as much as so few pixels need,
constexpr double kMostEver = 1 << 23;          // and never more
constexpr std::int64_t kMostSlowRun = 32;      // of emulated tiles: between two looks for Ctrl-C
constexpr std::int64_t kMinTurned = 64;        // output channels: turning costs less than it saves
constexpr std::int64_t kMinOffsets =
    32;  // input channels: sums of offsets cost less than they save
constexpr std::int64_t kMinChannelsLast = 8;  // fewer are turned faster from planes

// What it takes others to widen an integer of the input, from planes or with channels last.
constexpr double kWiden = 0.3, kWidenLast = 1;

// Halves the depth, the height, at last the width.
bool shrink(Index3& box, std::int64_t least) {
  if (box[0] * box[1] * box[2] < 2 * least) return false;
  for (int a = 0; a < 3; ++a) {
    if (box[a] > 1) {
      box[a] = divide_up(box[a], 2);
      return true;
    }
  }
  return false;
}

// What a box stages of one slab and part: not exact above 2^53, where it is only compared.
struct Reach {
  std::array<PatchAxis, 3> axis;

  explicit Reach(const Problem& problem) {
    for (int a = 0; a < 3; ++a)
      axis[a] = PatchAxis::make(problem.axis[a], 0, problem.axis[a].kernel);
  }
  double positions(const Index3& box) const {
    double n = 1;
    for (int a = 0; a < 3; ++a)
      n *= static_cast<double>(box[a] + axis[a].extent) * static_cast<double>(axis[a].phases);
    return n;
  }
};

int staged_size(TileProduct product) {
  return product == TileProduct::bytes ? 1 : product == TileProduct::shorts ? 2 : 4;
}

const TileScheme& scheme_of(TileProduct product) { return kTileSchemes[static_cast<int>(product)]; }

// What a box stages, in bytes: positions, and what they are cut from, a slab at a time.
struct Staged {
  double position;  // of its patch
  double pixel;

  Staged(const Problem& problem, TileProduct product, bool gathered) {
    const TileScheme& scheme = scheme_of(product);
    const std::int64_t channels = problem.in_channels, size = staged_size(product);
    const auto cut = [&](std::int64_t n) {
      return 64.0 * scheme.parts * static_cast<double>(divide_up(n, scheme.channels));
    };
    position = static_cast<double>(size * channels);
    pixel = 0;
    if (gathered) {
      pixel = cut(problem.terms());
    } else {
      position = static_cast<double>(size * std::min<std::int64_t>(channels, scheme.channels)) +
                 cut(channels);
    }
  }
  double bytes(const Reach& reach, const Index3& box) const {
    return reach.positions(box) * position + pixel * static_cast<double>(box[0] * box[1] * box[2]);
  }
};

// The same whatever the threads, since it may decide which elements are looked at.
Index3 choose_box(const Problem& problem, TileProduct product, bool gathered,
                  const Machine& machine) {
  Index3 box;
  for (int a = 0; a < 3; ++a) box[a] = problem.axis[a].out;
  const Reach reach(problem);
  const Staged staged(problem, product, gathered);
  const double budget = static_cast<double>(std::min(machine.l2 * 2 / 5, kMostStaged));
  while (staged.bytes(reach, box) > budget && shrink(box, kMinPixels)) {
  }
  while (staged.bytes(reach, box) > kMostEver && shrink(box, 1)) {
  }
  for (int a = 0; a < 3; ++a)
    box[a] = divide_up(problem.axis[a].out, divide_up(problem.axis[a].out, box[a]));
  if (box[2] < problem.axis[2].out)
    box[2] = std::min(round_up(box[2], kTileRows), problem.axis[2].out);
  return box;
}

// Rows of a box of `height` x `width` outputs, `pitch` positions apart, in as few tiles as can be.
TileRun choose_run(std::int64_t height, std::int64_t width, std::int64_t pitch, bool packed,
                   std::int64_t most = kMostRun) {
  TileRun best;
  best.width = width;
  best.packed = packed;
  if (width > most) {
    best.width = round_up(divide_up(width, divide_up(width, most)), kTileRows);
    return best;
  }
  if (packed) {
    best.rows =
        divide_up(height, divide_up(height, std::clamp<std::int64_t>(most / width, 1, height)));
    return best;
  }
  best.rows = std::clamp<std::int64_t>(most / round_up(width, kTileRows), 1, height);
  std::int64_t least = best.tiles_of_all(height, pitch);
  for (std::int64_t rows = 2; rows <= height && rows * pitch <= most + pitch; ++rows) {
    const TileRun run = {rows, width, true, false};
    const std::int64_t tiles = run.tiles_of_all(height, pitch);
    if (tiles > least) continue;
    best = run;
    least = tiles;
  }
  return best;
}

// The fill value comes in the compute type and may be more than the input's type can hold.
bool border_has_type(const Problem& problem, TileProduct product) {
  if (!problem.padded() || problem.border != Border::constant) return true;
  for (const Scalar& fill : problem.fill) {
    const auto bits = static_cast<std::uint32_t>(fill.i32);
    if (product == TileProduct::shorts) {
      if (fill.i32 != static_cast<std::int16_t>(fill.i32)) return false;
      continue;
    }
    switch (problem.x_type) {
      case DType::u8:
        if (fill.i32 < 0 || fill.i32 > 255) return false;
        break;
      case DType::i8:
        if (fill.i32 < -128 || fill.i32 > 127) return false;
        break;
      case DType::bf16:
        if ((bits & 0xffffu) != 0) return false;
        break;
      default:  // float16, of the exponents that are surely its own
        if (fill.f32 != 0 && ((bits & 0x1fffu) != 0 || (bits & 0x7fffffffu) < 0x39000000u ||
                              (bits & 0x7fffffffu) >= 0x47000000u))
          return false;
    }
  }
  return true;
}

// Words of a position that a kernel multiplies for each output: dot products leave out what is
// nothing but zeros.
std::int64_t words_of(std::int64_t channels, TileProduct product, bool scattered) {
  const std::int64_t side = scheme_of(product).channels / 16;
  return scattered ? divide_up(channels, side) : 16 * divide_up(channels, 16 * side);
}

// In cycles, for sixteen output pixels: sixteen output channels multiply a word by dot products, or
// sixteen words by AMX, in sixteen. A term of integers is gathered in one, of floats in some for
// each part; a word of a position is cut in eight, an element staged in a fifth of one. No rate
// comes in, so that AMX and the plain loops sum floats in one order.
bool gathers(const Problem& problem, TileProduct product, bool scattered) {
  const TileScheme& scheme = scheme_of(product);
  if (problem.taps() == 1 || problem.in_channels >= scheme.channels) return false;
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const double word = scattered ? 16 : scheme.turns;
  const double panels = real(divide_up(problem.out_channels, kTileRows));
  const double term = is_integer(product) ? 1 : 2 + 2 * scheme.parts;
  const std::int64_t words = words_of(problem.in_channels, product, scattered);
  double cut = 20 + 8 * real(words) * scheme.parts;
  double staged = 3 * real(problem.in_channels);  // what is gathered from
  for (const Axis& a : problem.axis) {
    cut *= real(std::min(a.stride, a.kernel));
    staged *= real(std::min(a.stride, a.kernel));
  }
  const double apart = cut + word * panels * real(problem.taps() * words);
  const double gathered = word * panels * real(words_of(problem.terms(), product, scattered)) +
                          term * real(problem.terms()) + staged + 20;
  return gathered < 0.9 * apart;
}

// Dot products take any number of pixels as rows. As columns they come in tiles of sixteen, and
// strides are staged first; but nothing is turned, neither on the way in nor out.
bool positions_are_columns(const Problem& problem, bool gathered, bool dots) {
  if (problem.channels_last) return false;
  if (gathered || problem.taps() != 1) return gathered;
  if (!dots || problem.out_channels < kMinTurned) return true;
  const std::int64_t pixels = problem.axis[1].out * problem.axis[2].out;
  return problem.axis[2].stride == 1 && round_up(pixels, kTileRows) * 20 <= pixels * 21;
}

class Builder {
 public:
  Builder(const Problem& problem, TileProduct product, const Tensor& x, const Machine& machine)
      : problem_(problem),
        machine_(machine),
        at_once_(machine.tile_scattered[static_cast<int>(product)]),
        dots_(at_once_ != 0) {
    layout_.product = product;
    layout_.scheme = scheme_of(product);
    layout_.gathered = gathers(problem, product, dots_);
    const std::int64_t channels = layout_.gathered ? problem.terms() : problem.in_channels;
    layout_.slabs = divide_up(channels, layout_.scheme.channels);
    layout_.words =
        words_of(channels - (layout_.slabs - 1) * layout_.scheme.channels, product, dots_);
    layout_.columns = positions_are_columns(problem, layout_.gathered, dots_);
    channels_last_ = !layout_.tiles_of_runs() && has_unit_channels(problem, x) &&
                     problem.in_channels >= kMinChannelsLast;
    for (int a = 0; a < 3; ++a)
      layout_.patch.axis[a] = PatchAxis::make(problem.axis[a], 0, problem.axis[a].kernel);
  }

  TileLayout build() {
    choose_boxes();
    lay_out_patch();
    list_steps();
    choose_parts();
    list_blocks();
    finish();
    return std::move(layout_);
  }

 private:
  std::int64_t phases() const {
    return layout_.patch.axis[0].phases * layout_.patch.axis[1].phases *
           layout_.patch.axis[2].phases;
  }

  void choose_boxes() {
    layout_.box = choose_box(problem_, layout_.product, layout_.gathered, machine_);
    for (int a = 0; a < 3; ++a) layout_.boxes[a] = divide_up(problem_.axis[a].out, layout_.box[a]);
  }

  void lay_out_patch() {
    PatchLayout& patch = layout_.patch.layout;
    const std::int64_t line = 64 / staged_size(layout_.product);
    for (int a = 0; a < 3; ++a) patch.length[a] = layout_.box[a] + layout_.patch.axis[a].extent;
    patch.axis[2] = channels_last_ ? layout_.scheme.channels : 1;
    patch.axis[1] = patch.length[2] * patch.axis[2];
    patch.axis[0] = patch.length[1] * patch.axis[1];
    patch.phase = patch.length[0] * patch.axis[0];
    // An odd number of lines from plane to plane, and from part to part: powers of two would meet
    // in a few sets of the cache.
    const std::int64_t plane = (divide_up(patch.phase * phases(), line) | 1) * line;
    patch.channel = channels_last_ ? 1 : plane;
    const std::int64_t channels =
        layout_.gathered ? problem_.in_channels
                         : std::min<std::int64_t>(problem_.in_channels, layout_.scheme.channels);
    layout_.patch_elements = (channels_last_ ? plane : plane * channels) + 2 * line;
    const bool slow = machine_.tile_rate[static_cast<int>(layout_.product)] == 0;
    layout_.run = choose_run(layout_.box[1], layout_.box[2], layout_.row_pitch(),
                             dots_ && !layout_.tiles_of_runs(), slow ? kMostSlowRun : kMostRun);
    layout_.dots = dots_;
    layout_.scattered = dots_ && !layout_.columns;
    layout_.most_tiles = layout_.run.tiles(layout_.run.rows, layout_.row_pitch());
    layout_.places = (patch.phase / patch.axis[2] * phases()) | 1;
    if (layout_.tiles_of_runs())
      layout_.places = layout_.run_count() * layout_.most_tiles * (layout_.columns ? 1 : kTileRows);
  }

  template <class Put>
  void for_each_tap(Put put) const {
    const auto& [pd, ph, pw] = layout_.patch.axis;
    for (std::int64_t i = 0; i < pd.k1; ++i)
      for (std::int64_t j = 0; j < ph.k1; ++j)
        for (std::int64_t k = 0; k < pw.k1; ++k) put(layout_.patch.offset(0, i, j, k));
  }

  void list_steps() {
    layout_.short_steps = layout_.gathered ? 1 : problem_.taps();
    for (std::int64_t s = 0; s < layout_.slabs; ++s) {
      const std::int64_t first = s * layout_.scheme.parts * layout_.places;
      const auto put = [&](std::int64_t tap) {
        layout_.step.push_back(
            static_cast<std::int32_t>(first + tap / layout_.patch.layout.axis[2]));
      };
      if (layout_.gathered)
        put(0);
      else
        for_each_tap(put);
    }
    for (std::int64_t c = 0; layout_.gathered && c < problem_.in_channels; ++c)
      for_each_tap([&](std::int64_t tap) {
        layout_.term.push_back(static_cast<std::int32_t>(c * layout_.patch.layout.channel + tap));
      });
  }

  // Sums of integers may lie in the output, where none goes on (TileProductArgs), and half as many
  // weights are near: those stay whole.
  void choose_parts() {
    const std::int64_t boxes = layout_.boxes[0] * layout_.boxes[1] * layout_.boxes[2];
    const std::int64_t offset = tile_offset(problem_, layout_.product);
    layout_.packs_as_it_runs =
        !problem_.keeps_weights && problem_.batch * boxes == 1 && (offset == 0 || dots_);
    const PanelShape shape = tile_panels(problem_);
    const std::int64_t vectors = problem_.groups * shape.group_width() / kTileRows;
    layout_.weights_are_near = static_cast<std::int64_t>(layout_.step.size()) *
                                   layout_.scheme.parts * kTileBytes * vectors <=
                               machine_.l2 / 4;
    layout_.slabs_at_once = layout_.slabs;
    if (is_integer(layout_.product)) return;
    const std::int64_t width = std::min<std::int64_t>(round_up(problem_.out_channels, kTileRows),
                                                      kTileVectors * kTileRows);
    const std::int64_t packed = layout_.steps_of_slab() * layout_.scheme.parts * 64 * width;
    const std::int64_t next =
        layout_.packs_as_it_runs
            ? layout_.steps_of_slab() * layout_.scheme.channels * width * size_of(problem_.w_type)
            : packed;
    const std::int64_t left =
        std::max(machine_.l2 * 3 / 4 - layout_.slabs * layout_.slab_bytes(), machine_.l2 / 8);
    const std::int64_t at_once = std::clamp<std::int64_t>(left / (packed + next), 1, layout_.slabs);
    layout_.slabs_at_once = divide_up(layout_.slabs, divide_up(layout_.slabs, at_once));
  }

  void list_blocks() {
    if (!layout_.run.packed) return;
    const bool has_offset = tile_offset(problem_, layout_.product) != 0;
    TileBlockLists::Shape shape = {
        layout_.box,
        layout_.run.rows,
        layout_.run.width,
        layout_.row_pitch(),
        layout_.slabs,
        layout_.slabs_at_once,
        words_of(problem_.in_channels, layout_.product, true),
        at_once_,
        border_adds_nothing(problem_) && (!has_offset || problem_.in_channels >= kMinOffsets)};
    layout_.offset_by_taps = has_offset && shape.skips;
    layout_.blocks = TileBlockLists(problem_, shape);
    if (!shape.skips || is_integer(layout_.product)) return;
    shape.skips = false;
    layout_.all_taps = TileBlockLists(problem_, shape);
  }

  void finish() {
    const std::int64_t boxes = layout_.boxes[0] * layout_.boxes[1] * layout_.boxes[2];
    layout_.tasks = PanelTasks::make(problem_.batch * problem_.groups * boxes,
                                     tile_panels(problem_).panels(), machine_.threads);
    layout_.acc_elements = layout_.most_tiles * kTileRows * kTileVectors * kTileRows;
    // The last tile may begin with the last position.
    layout_.staged_bytes = layout_.slabs * layout_.slab_bytes() + (kTileRows - 1) * 64;
  }

  const Problem& problem_;
  const Machine& machine_;
  const int at_once_;
  const bool dots_;
  bool channels_last_ = false;
  TileLayout layout_;
};

}  // namespace

std::int64_t TileRun::tiles(std::int64_t count, std::int64_t pitch) const {
  if (packed) return divide_up(count * width, kTileRows);
  if (flat) return divide_up((count - 1) * pitch + width, kTileRows);
  return count * divide_up(width, kTileRows);
}

std::int64_t TileRun::tiles_of_all(std::int64_t height, std::int64_t pitch) const {
  const std::int64_t left = height % rows;
  return height / rows * tiles(rows, pitch) + (left != 0 ? tiles(left, pitch) : 0);
}

std::int64_t TileLayout::run_at(const Index3& output) const {
  return (output[0] * divide_up(box[1], run.rows) + output[1] / run.rows) *
             divide_up(box[2], run.width) +
         output[2] / run.width;
}

std::int32_t tile_offset(const Problem& problem, TileProduct product) {
  return product == TileProduct::bytes && problem.x_type == DType::i8 ? 128 : 0;
}

bool takes_integers(const Problem& problem, TileProduct product) {
  const auto is_narrow = [](DType type) {
    return type == DType::u8 || type == DType::i8 || type == DType::i16;
  };
  if (problem.compute != Compute::i32 || problem.complex || !border_has_type(problem, product))
    return false;
  if (product == TileProduct::shorts) return is_narrow(problem.x_type) && is_narrow(problem.w_type);
  return (problem.x_type == DType::u8 || problem.x_type == DType::i8) &&
         problem.w_type == DType::i8;
}

namespace {

// Input, border and weights.
bool all_have_type(const Problem& problem, DType type) {
  return problem.x_type == type && problem.w_type == type &&
         border_has_type(problem, TileProduct::one);
}

}  // namespace

bool choose_float_product(const Problem& problem, TileProduct& product) {
  if (problem.compute != Compute::f32) return false;
  const bool halves = problem.x_type == DType::f16 || problem.w_type == DType::f16;
  if (all_have_type(problem, DType::bf16) || (problem.precision == Precision::medium && !halves)) {
    product = TileProduct::one;
  } else if (problem.precision != Precision::highest) {
    product = TileProduct::three;
  } else {
    product = all_have_type(problem, DType::f16) ? TileProduct::four : TileProduct::six;
  }
  return true;
}

TileProduct float_product(const Problem& problem, const Machine& machine) {
  TileProduct product = TileProduct::six;
  choose_float_product(problem, product);
  const auto rate = [&](TileProduct p) { return machine.tile_rate[static_cast<int>(p)]; };
  const bool parts_alone = rate(product) > 0 && rate(TileProduct::halves) == 0;
  return all_have_type(problem, DType::f16) && !parts_alone ? TileProduct::halves : product;
}

bool tiles_fit(const Problem& problem, TileProduct product) {
  const Reach reach(problem);
  return Staged(problem, product, false).bytes(reach, {1, 1, 1}) <= kMostEver &&
         Staged(problem, product, true).bytes(reach, {1, 1, 1}) <= kMostEver;
}

PanelShape tile_panels(const Problem& problem) {
  return {problem.out_channels, kTileVectors * kTileRows, kTileRows};
}

// Products with what is computed in vain, staging, and the weights, once a call; in multiply-adds
// of a vector, two of which take a cycle. Staging: sixteen channels of sixteen positions are turned
// and cut in 160 cycles, of bytes in 40.
double tile_cost(const Problem& problem, TileProduct product, const Machine& machine) {
  const TileScheme& scheme = scheme_of(product);
  const auto& [depth, height, width] = problem.axis;
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const bool dots = machine.tile_scattered[static_cast<int>(product)] != 0;
  const bool gathered = gathers(problem, product, dots);
  const Index3 box = choose_box(problem, product, gathered, machine);
  const Reach reach(problem);
  double positions = reach.positions(box);
  const double words = gathered
                           ? real(words_of(problem.terms(), product, dots))
                           : real(problem.taps() * words_of(problem.in_channels, product, dots));
  for (int a = 0; a < 3; ++a) positions *= real(divide_up(problem.axis[a].out, box[a]));
  const std::int64_t pitch = box[2] + reach.axis[2].extent;
  const bool columns = positions_are_columns(problem, gathered, dots);
  const bool packed = !columns && !gathered && dots;
  const TileRun run = choose_run(height.out, width.out, pitch, packed);
  const std::int64_t segments = divide_up(width.out, run.width);
  const std::int64_t tiles = depth.out * segments * run.tiles_of_all(height.out, pitch);
  const double pixels = real(problem.out_pixels()), terms = real(problem.terms());
  const double vectors = real(round_up(problem.out_channels, kTileRows)) / machine.lanes;
  const double rate = std::max(machine.tile_rate[static_cast<int>(product)], 0.01);
  const double made = packed ? border_adds_nothing(problem) ? share_seen(problem) : 1
                             : real(tiles * kTileRows) / pixels;
  const double multiply = vectors / rate * words * scheme.channels / 16 / terms * made;
  const double element = is_integer(product) ? 0.3 : 1.0;
  // Where bytes do as well, pairs of int16 are not the cheaper for being fewer in a position.
  const bool bytes_do =
      product == TileProduct::shorts && takes_integers(problem, TileProduct::bytes);
  const int granule = scheme_of(bytes_do ? TileProduct::bytes : product).channels;
  const double channels = real(round_up(problem.in_channels, granule));
  double staging =
      (columns ? 0.25 : 0.4) * (1 + scheme.parts) * positions * channels / (pixels * terms);
  if (gathered) staging = 0.25 * (1 + scheme.parts) * real(tiles * kTileRows) / pixels;
  staging *= element * 16 / machine.lanes;
  // Of dot products, whose sums are stored in a pass of their own, that is what counts; 1 -> 16
  // channels, 2 x 2, are slower by a half than outer_product's own stores.
  const double last = dots ? kLanesPass : kOuterStore;
  const double each = problem.channels_last ? last : columns ? kLanesPass : kOuterTranspose;
  const double store = each * vectors / terms;
  // Rows of the caller's that are cut as they lie, or by way of panels.
  const double packing = is_integer(product) || product == TileProduct::one ? 9 : 14;
  const double weights = problem.keeps_weights ? 0.0 : packing * element * vectors / pixels;
  // All others widen narrow integers first.
  double widening = 0;
  if (is_integer(product) && size_of(problem.x_type) == staged_size(product)) {
    widening = (problem.channels_last ? kWidenLast : kWiden) / (pixels * real(problem.taps()));
    for (const Axis& a : problem.axis)
      widening *= real(std::min(a.in, a.out * std::min(a.stride, a.kernel)));
  }
  return multiply + staging + store + weights - widening;
}

TileLayout make_tile_layout(const Problem& problem, TileProduct product, const Tensor& x,
                            const Machine& machine) {
  return Builder(problem, product, x, machine).build();
}

}  // namespace fastconv
