#include "algorithms/tile_packing.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// What precedes the packed weights.
struct TileHeader {
  Extremes allowed;  // of the input
  bool finite = true;
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

}  // namespace

bool tiles_look_at_magnitudes(const Problem& problem, TileProduct product) {
  return !is_integer(product) && (product != TileProduct::one || problem.x_type == DType::bf16);
}

const TileForm& tile_form(const KernelTable& table, const TileLayout& layout) {
  const TileKernels::Kernels& kernels = (*table.tiles)[layout.product];
  return layout.columns ? kernels.columns : kernels.rows;
}

TilePacking::TilePacking(const Problem& problem, const TileLayout& layout,
                         const KernelTable& kernels)
    : problem_(problem), layout_(layout), kernels_(kernels), shape_(tile_panels(problem)) {}

std::int64_t TilePacking::panels_offset() const {
  return 64 + round_to_line(offsets() * std::int64_t{sizeof(std::int32_t)});
}

std::int64_t TilePacking::bytes() const {
  return panels_offset() + problem_.groups * shape_.group_width() / kTileRows * vector_bytes();
}

const char* TilePacking::panels(const Operands& operands) const {
  return static_cast<const char*>(operands.packed) + panels_offset();
}

Extremes TilePacking::allowed(const Operands& operands) const {
  TileHeader header;
  std::memcpy(&header, operands.packed, sizeof header);
  return header.allowed;
}

bool TilePacking::finite(const Operands& operands) const {
  TileHeader header;
  std::memcpy(&header, operands.packed, sizeof header);
  return header.finite;
}

// pack(group, panel, where its slabs go, worker)
template <class Pack>
void TilePacking::for_each_panel(char* to, int workers, Pack pack) const {
  parallel_for(
      problem_.groups * shape_.panels(), workers, [&](std::int64_t index, int worker) noexcept {
        const std::int64_t group = index / shape_.panels();
        const std::int64_t panel = index % shape_.panels();
        pack(group, panel,
             to + panels_offset() +
                 (group * shape_.group_width() + panel * shape_.panel) / kTileRows * vector_bytes(),
             worker);
      });
}

// pack(first term, channels, where they go)
template <class Pack>
void TilePacking::for_each_slab(std::int64_t panel, char* at, Pack pack) const {
  const std::int64_t taps = tile_taps(), slab = layout_.scheme.channels;
  for (std::int64_t c = 0; c < tile_channels(); c += slab) {
    pack(c * taps, std::min(slab, tile_channels() - c), at);
    at += taps * layout_.scheme.parts * (shape_.width(panel) / kTileRows) * kTileBytes;
  }
}

// What reads a pixel of nothing but offsets: all steps, or those of a tap and then of the next.
struct TilePacking::OffsetSteps {
  std::int64_t taps;
  std::vector<std::int32_t> zero, order;
};

TilePacking::OffsetSteps TilePacking::offset_steps() const {
  OffsetSteps steps{layout_.offset_by_taps ? problem_.taps() : 1, {}, {}};
  if (!layout_.scattered || offset() == 0) return steps;
  const auto count = static_cast<std::int64_t>(layout_.step.size());
  steps.zero.resize(layout_.step.size());
  for (std::int64_t tap = 0; tap < steps.taps; ++tap)
    for (std::int64_t s = tap; s < count; s += steps.taps)
      steps.order.push_back(static_cast<std::int32_t>(s));
  return steps;
}

// The products of a panel with such a pixel.
void TilePacking::multiply_offset(const OffsetSteps& steps, const char* panel, std::int64_t first,
                                  std::int64_t count, std::int64_t vectors,
                                  std::int32_t* to) const {
  alignas(64) char pixel[64];
  std::memset(pixel, offset(), sizeof pixel);
  const std::int32_t place[1] = {0}, same_pixel[16] = {};
  const auto all = static_cast<std::int32_t>(steps.order.size());
  const std::int32_t each = all / static_cast<std::int32_t>(steps.taps);
  std::int32_t sums[kTileVectors * kTileRows];
  for (std::int64_t tap = 0; tap < steps.taps; ++tap) {
    const TileBlock block = {0, 1, static_cast<std::int32_t>(tap) * each, each, 0};
    const TileBlocks blocks = {&block, 1, same_pixel, steps.order.data()};
    const TileProductArgs product = {pixel,         0,      place,   1,    1,  steps.zero.data(),
                                     all,           panel,  vectors, sums, {}, layout_.short_steps,
                                     layout_.words, &blocks};
    tile_form(kernels_, layout_).product(product);
    for (std::int64_t k = 0; k < count; ++k)
      to[tap * channels() + first + k] =
          static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(sums[k]));
  }
}

template <class S>
bool TilePacking::pack_integers(const Weights& w, char* to, int workers) const {
  const std::int64_t terms = problem_.terms();
  constexpr std::int64_t kElement = sizeof(S);
  const bool runs = terms_are_runs(problem_, w);
  const bool dense = runs && size_of(w.type) == kElement && w.out % kElement == 0;
  // Rows of a panel, and one before it is narrowed.
  const std::size_t each = dense ? 0 : static_cast<std::size_t>(terms * shape_.panel);
  const std::unique_ptr<S[]> rows(new S[each * static_cast<std::size_t>(workers)]);
  const std::unique_ptr<std::int32_t[]> wide(
      new std::int32_t[dense ? 0 : static_cast<std::size_t>(terms * workers)]);
  const auto pack_one = tile_form(kernels_, layout_).weights;
  const OffsetSteps offset_pixel = offset_steps();
  for_each_panel(to, workers, [&](std::int64_t group, std::int64_t panel, char* at, int worker) {
    const std::int64_t first = group * problem_.out_channels + panel * shape_.panel;
    const std::int64_t count = shape_.channels(panel);
    const S* from = reinterpret_cast<const S*>(w.data + first * w.out);
    std::int64_t pitch = w.out / kElement;
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
    for_each_slab(panel, at, [&](std::int64_t term, std::int64_t slab_channels, char* slab) {
      pack_one({from + term, slab_channels, tile_taps(), shape_.width(panel) / kTileRows, slab,
                nullptr, count, pitch});
    });
    if (offset() == 0) return;
    if (layout_.scattered)
      return multiply_offset(offset_pixel, at, first, count, shape_.width(panel) / kTileRows,
                             reinterpret_cast<std::int32_t*>(to + 64));
    auto* const offsets = reinterpret_cast<std::int32_t*>(to + 64) + first;
    for (std::int64_t k = 0; k < count; ++k) {
      std::uint32_t sum = 0;
      for (std::int64_t t = 0; t < terms; ++t)
        sum += static_cast<std::uint32_t>(static_cast<std::int8_t>(from[k * pitch + t]));
      offsets[k] = static_cast<std::int32_t>(0u - sum * static_cast<std::uint32_t>(offset()));
    }
  });
  const TileHeader header;
  std::memcpy(to, &header, sizeof header);
  return true;
}

bool TilePacking::pack_floats(const Weights& w, char* to, int workers) const {
  const std::int64_t taps = tile_taps();
  const std::int64_t each = layout_.scheme.channels * taps * shape_.panel;
  const std::unique_ptr<float[]> rows(new float[static_cast<std::size_t>(each * workers)]);
  std::vector<Extremes> extremes(static_cast<std::size_t>(workers));
  const auto pack_one = tile_form(kernels_, layout_).weights;
  for_each_panel(to, workers, [&](std::int64_t group, std::int64_t panel, char* at, int worker) {
    float* const buffer = rows.get() + worker * each;
    for_each_slab(panel, at, [&](std::int64_t term, std::int64_t slab_channels, char* slab) {
      pack_panel<float>(kernels_, problem_, w, shape_, group, panel, term, slab_channels * taps,
                        buffer);
      pack_one({buffer, slab_channels, taps, shape_.width(panel) / kTileRows, slab,
                &extremes[static_cast<std::size_t>(worker)]});
    });
  });
  Extremes all;
  for (const Extremes& e : extremes) {
    all.least = std::min(all.least, e.least);
    all.most = std::max(all.most, e.most);
  }
  TileHeader header;
  header.finite = all.most < 0x7f800000u;
  const bool suits = !tiles_look_at_magnitudes(problem_, layout_.product) ||
                     allow(all, problem_.terms(), header.allowed);
  std::memcpy(to, &header, sizeof header);
  return suits;
}

bool TilePacking::pack(const Weights& w, char* to, int workers) const {
  switch (layout_.product) {
    case TileProduct::bytes:
      return pack_integers<std::uint8_t>(w, to, workers);
    case TileProduct::shorts:
      return pack_integers<std::int16_t>(w, to, workers);
    default:
      return pack_floats(w, to, workers);
  }
}

std::vector<std::int32_t> TilePacking::offset_bias(const Operands& operands) const {
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

void TilePacking::add_offsets(const Operands& operands, const std::vector<std::int32_t>& taps,
                              std::int64_t channel, std::int64_t count, std::int32_t* to) const {
  const auto* const offsets =
      reinterpret_cast<const std::int32_t*>(static_cast<const char*>(operands.packed) + 64);
  for (const std::int32_t tap : taps) {
    const std::int32_t* const from = offsets + tap * channels() + channel;
    for (std::int64_t k = 0; k < count; ++k)
      to[k] = static_cast<std::int32_t>(static_cast<std::uint32_t>(to[k]) +
                                        static_cast<std::uint32_t>(from[k]));
  }
}

}  // namespace fastconv
