#include "algorithms/tile_packing.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

std::uint32_t bits_of(double x) { return std::bit_cast<std::uint32_t>(static_cast<float>(x)); }

// Of weights that a form takes as they lie.
std::int64_t element_of(TileProduct product, bool halves) {
  return product == TileProduct::bytes ? 1 : product == TileProduct::shorts || halves ? 2 : 4;
}

}  // namespace

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

bool tiles_look_at_magnitudes(const Problem& problem, TileProduct product) {
  return !is_integer(product) && (product != TileProduct::one || problem.x_type == DType::bf16);
}

const TileForm& tile_form(const KernelTable& table, const TileLayout& layout) {
  const TileKernels::Kernels& kernels = (*table.tiles)[layout.product];
  return layout.columns ? kernels.columns : kernels.rows;
}

TilePacking::TilePacking(const Problem& problem, const TileLayout& layout,
                         const KernelTable& kernels)
    : problem_(problem), layout_(layout), kernels_(kernels), shape_(tile_panels(problem)) {
  if (!layout_.scattered || offset() == 0) return;
  const auto count = static_cast<std::int64_t>(layout_.step.size());
  zero_.resize(layout_.step.size());
  for (std::int64_t tap = 0; tap < offset_taps(); ++tap)
    for (std::int64_t s = tap; s < count; s += offset_taps())
      order_.push_back(static_cast<std::int32_t>(s));
}

std::int64_t TilePacking::finite_offset() const {
  return round_to_line(problem_.groups * std::int64_t{sizeof(AllowedInput)});
}

std::int64_t TilePacking::offsets_offset() const {
  return finite_offset() + round_to_line(problem_.groups * shape_.panels());
}

std::int64_t TilePacking::panels_offset() const {
  return offsets_offset() +
         round_to_line(offset_taps() * channels() * std::int64_t{sizeof(std::int32_t)});
}

std::int64_t TilePacking::bytes() const {
  return panels_offset() + problem_.groups * shape_.group_width() / kTileRows * vector_bytes();
}

const std::int32_t* TilePacking::offsets(const Operands& operands) const {
  return reinterpret_cast<const std::int32_t*>(static_cast<const char*>(operands.packed) +
                                               offsets_offset());
}

TilePanel TilePacking::panel(const Operands& operands, std::int64_t group,
                             std::int64_t panel) const {
  const char* const packed = static_cast<const char*>(operands.packed);
  const std::int64_t first = group * shape_.group_width() + panel * shape_.panel;
  return {packed + panels_offset() + first / kTileRows * vector_bytes(),
          offsets(operands) + group * problem_.out_channels + panel * shape_.panel, channels(),
          packed[finite_offset() + group * shape_.panels() + panel] != 0};
}

AllowedInput TilePacking::allowed(const Operands& operands, std::int64_t group) const {
  AllowedInput allowed;
  std::memcpy(&allowed,
              static_cast<const char*>(operands.packed) + group * std::int64_t{sizeof allowed},
              sizeof allowed);
  return allowed;
}

// pack(group, panel, where its slabs go, worker): whether it is finite.
template <class Pack>
void TilePacking::for_each_panel(char* to, int workers, Pack pack) const {
  parallel_for(
      problem_.groups * shape_.panels(), workers, [&](std::int64_t index, int worker) noexcept {
        const std::int64_t group = index / shape_.panels();
        const std::int64_t panel = index % shape_.panels();
        const bool finite = pack(
            group, panel,
            to + panels_offset() +
                (group * shape_.group_width() + panel * shape_.panel) / kTileRows * vector_bytes(),
            worker);
        to[finite_offset() + index] = static_cast<char>(finite);
      });
}

// A panel's products with a pixel of nothing but offsets: of all steps, or of those of each tap.
void TilePacking::multiply_offset(const char* panel, std::int64_t count, std::int64_t vectors,
                                  std::int32_t* to, std::int64_t pitch) const {
  alignas(64) char pixel[64];
  std::memset(pixel, offset(), sizeof pixel);
  const std::int32_t place[1] = {0}, same_pixel[16] = {};
  const auto all = static_cast<std::int32_t>(order_.size());
  const std::int32_t each = all / static_cast<std::int32_t>(offset_taps());
  std::int32_t sums[kTileVectors * kTileRows];
  for (std::int32_t first = 0; first < all; first += each, to += pitch) {
    const TileBlock block = {0, 1, first, each, 0};
    const TileBlocks blocks = {&block, 1, same_pixel, order_.data()};
    const TileProductArgs product = {pixel,         0,      place,   1,    1,  zero_.data(),
                                     all,           panel,  vectors, sums, {}, layout_.short_steps,
                                     layout_.words, &blocks};
    tile_form(kernels_, layout_).product(product);
    for (std::int64_t k = 0; k < count; ++k)
      to[k] = static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(sums[k]));
  }
}

void TilePacking::sum_offset(const std::uint8_t* from, std::int64_t pitch, std::int64_t count,
                             std::int32_t* to) const {
  for (std::int64_t k = 0; k < count; ++k) {
    std::uint32_t sum = 0;
    for (std::int64_t t = 0; t < problem_.terms(); ++t)
      sum += static_cast<std::uint32_t>(static_cast<std::int8_t>(from[k * pitch + t]));
    to[k] = static_cast<std::int32_t>(0u - sum * static_cast<std::uint32_t>(offset()));
  }
}

// The rows of all terms of a panel, as its form takes them.
void TilePacking::pack_rows(const void* from, std::int64_t pitch, bool halves, std::int64_t panel,
                            std::int64_t first, std::int64_t last, char* to,
                            Extremes* extremes) const {
  const TileForm& form = tile_form(kernels_, layout_);
  const bool at_once = form.row_weights != nullptr;
  const auto pack = at_once ? form.row_weights : form.weights;
  const std::int64_t taps = tile_taps(), slab = layout_.scheme.channels;
  const std::int64_t element = element_of(layout_.product, halves);
  const std::int64_t each = at_once ? last - first : 1;
  for (std::int64_t s = first; s < last; s += each, to += taps * panel_step(panel))
    pack({static_cast<const char*>(from) + s * slab * taps * element,
          std::min(each * slab, tile_channels() - s * slab), taps, shape_.width(panel) / kTileRows,
          to, extremes, shape_.channels(panel), pitch, halves});
}

template <class S>
bool TilePacking::pack_integers(const Weights& w, char* to, int workers) const {
  const std::int64_t terms = problem_.terms();
  const bool runs = terms_are_runs(problem_, w), dense = takes_rows(w);
  // Rows of a panel, and one before it is narrowed.
  const std::size_t each = dense ? 0 : static_cast<std::size_t>(terms * shape_.panel);
  const std::unique_ptr<S[]> rows(new S[each * static_cast<std::size_t>(workers)]);
  const std::unique_ptr<std::int32_t[]> wide(
      new std::int32_t[dense ? 0 : static_cast<std::size_t>(terms * workers)]);
  auto* const offsets = reinterpret_cast<std::int32_t*>(to + offsets_offset());
  for_each_panel(to, workers, [&](std::int64_t group, std::int64_t panel, char* at, int worker) {
    const std::int64_t first = group * problem_.out_channels + panel * shape_.panel;
    const std::int64_t count = shape_.channels(panel);
    const S* from = reinterpret_cast<const S*>(w.data + first * w.out);
    std::int64_t pitch = w.out / std::int64_t{sizeof(S)};
    if (!dense) {
      S* const narrow = rows.get() + static_cast<std::size_t>(worker) * each;
      std::int32_t* const row = wide.get() + worker * terms;
      for (std::int64_t k = 0; k < count; ++k) {
        S* const to_row = narrow + k * terms;
        if (runs && w.type == DType::i8) {
          const auto* const bytes =
              reinterpret_cast<const std::int8_t*>(w.data + (first + k) * w.out);
          for (std::int64_t t = 0; t < terms; ++t) to_row[t] = static_cast<S>(bytes[t]);
          continue;
        }
        gather_weights<std::int32_t>(kernels_, problem_, w, first + k, 0, terms, row);
        for (std::int64_t t = 0; t < terms; ++t) to_row[t] = static_cast<S>(row[t]);
      }
      from = narrow;
      pitch = terms;
    }
    pack_rows(from, pitch, false, panel, 0, layout_.slabs, at, nullptr);
    if (offset() == 0) return true;
    if (layout_.scattered)
      multiply_offset(at, count, shape_.width(panel) / kTileRows, offsets + first, channels());
    else
      sum_offset(reinterpret_cast<const std::uint8_t*>(from), pitch, count, offsets + first);
    return true;
  });
  return true;
}

bool TilePacking::pack_floats(const Weights& w, char* to, int workers) const {
  const std::unique_ptr<float[]> rooms(new float[static_cast<std::size_t>(room() * workers)]);
  const std::int64_t panels = shape_.panels();
  std::vector<Extremes> extremes(static_cast<std::size_t>(problem_.groups * panels));
  for_each_panel(to, workers, [&](std::int64_t group, std::int64_t panel, char* at, int worker) {
    Extremes& of_panel = extremes[static_cast<std::size_t>(group * panels + panel)];
    pack_slabs(w, group, panel, 0, layout_.slabs, rooms.get() + worker * room(), at, &of_panel);
    return all_finite(of_panel);
  });
  bool any = false;
  for (std::int64_t group = 0; group < problem_.groups; ++group) {
    Extremes all;
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const Extremes& e = extremes[static_cast<std::size_t>(group * panels + panel)];
      all.least = std::min(all.least, e.least);
      all.most = std::max(all.most, e.most);
    }
    AllowedInput allowed;
    allowed.some = !tiles_look_at_magnitudes(problem_, layout_.product) ||
                   allow(all, problem_.terms(), allowed.magnitudes);
    any = any || allowed.some;
    std::memcpy(to + group * std::int64_t{sizeof allowed}, &allowed, sizeof allowed);
  }
  return any;
}

bool TilePacking::pack(const Weights& w, void* to, int workers) const {
  switch (layout_.product) {
    case TileProduct::bytes:
      return pack_integers<std::uint8_t>(w, static_cast<char*>(to), workers);
    case TileProduct::shorts:
      return pack_integers<std::int16_t>(w, static_cast<char*>(to), workers);
    default:
      return pack_floats(w, static_cast<char*>(to), workers);
  }
}

// Whether the form reads them where they lie.
bool TilePacking::takes_rows(const Weights& w) const {
  const bool halves = w.type == DType::bf16;
  const std::int64_t element = element_of(layout_.product, halves);
  if (is_integer(layout_.product))
    return terms_are_runs(problem_, w) && size_of(w.type) == element && w.out % element == 0;
  if (tile_form(kernels_, layout_).row_weights == nullptr || tile_taps() > kMostTileRowTaps)
    return false;
  // Of rows of floats the form does not tell all magnitudes.
  if (halves) return terms_are_runs(problem_, w) && w.out % element == 0;
  return is_dense(problem_, w) && !tiles_look_at_magnitudes(problem_, layout_.product);
}

bool TilePacking::packs_slabs(const Weights& w) const {
  return !is_integer(layout_.product) || takes_rows(w);
}

std::int64_t TilePacking::room() const {
  return is_integer(layout_.product) ? 0 : layout_.scheme.channels * tile_taps() * shape_.panel;
}

void TilePacking::pack_slabs(const Weights& w, std::int64_t group, std::int64_t panel,
                             std::int64_t first, std::int64_t last, float* room, char* to,
                             Extremes* extremes) const {
  if (takes_rows(w)) {
    const std::int64_t channel = group * problem_.out_channels + panel * shape_.panel;
    const bool halves = w.type == DType::bf16;
    return pack_rows(w.data + channel * w.out, w.out / element_of(layout_.product, halves), halves,
                     panel, first, last, to, extremes);
  }
  const std::int64_t taps = tile_taps(), slab = layout_.scheme.channels;
  for (std::int64_t s = first; s < last; ++s, to += taps * panel_step(panel)) {
    const std::int64_t count = std::min(slab, tile_channels() - s * slab);
    pack_panel<float>(kernels_, problem_, w, shape_, group, panel, s * slab * taps, count * taps,
                      room);
    tile_form(kernels_, layout_)
        .weights({room, count, taps, shape_.width(panel) / kTileRows, to, extremes});
  }
}

void TilePacking::pack_offsets(const Weights& w, std::int64_t group, std::int64_t panel,
                               const char* packed, std::int32_t* to) const {
  const std::int64_t channel = group * problem_.out_channels + panel * shape_.panel;
  const std::int64_t count = shape_.channels(panel);
  if (layout_.scattered)
    return multiply_offset(packed, count, shape_.width(panel) / kTileRows, to, shape_.panel);
  sum_offset(reinterpret_cast<const std::uint8_t*>(w.data + channel * w.out), w.out, count, to);
}

std::vector<std::int32_t> TilePacking::offset_bias(const Operands& operands) const {
  const std::int32_t* const from = offsets(operands);
  std::vector<std::int32_t> bias(from, from + channels());
  if (operands.bias != nullptr) {
    const auto* const given = static_cast<const std::uint32_t*>(operands.bias);
    for (std::size_t k = 0; k < bias.size(); ++k)
      bias[k] = static_cast<std::int32_t>(static_cast<std::uint32_t>(bias[k]) + given[k]);
  }
  return bias;
}

}  // namespace fastconv
