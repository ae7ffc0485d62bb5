// tiles.hpp: products of tiles, with operands as a layer has them: 256 -> 32 channels, 3 x 3, seven
// rows of 56 pixels, positions and weights in L2.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.hpp"
#include "peak.hpp"

namespace fastconv::bench {

#if defined(__x86_64__) && defined(__GNUC__)
// Four tile products a turn, operands from L1, on random data, which slows the clock as real data
// do.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16")
#endif
inline void amx_turns(std::int64_t turns, void* /*to*/) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  alignas(64) static std::uint16_t data[4][512];
  std::mt19937 generator(1);
  for (auto& tile : data)
    for (std::uint16_t& x : tile) x = static_cast<std::uint16_t>(generator() & 0xbfff);
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  for (std::int64_t t = 0; t < turns; ++t) {
    _tile_loadd(4, data[0], 64);
    _tile_loadd(5, data[1], 64);
    _tile_loadd(6, data[2], 64);
    _tile_loadd(7, data[3], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

// Multiplications and additions a second of whole float32 or byte products.
inline double tile_peak(const KernelTable& table, TileProduct p) {
  const double bytes = p == TileProduct::bytes ? 2 : 1;
  const double share = bytes / kTileSchemes[static_cast<int>(p)].turns;
#if defined(__x86_64__) && defined(__GNUC__)
  if (std::strcmp(table.name, "amx") == 0)
    return share * Peak{&amx_turns, 4 * 16 * 16 * 32}.operations_per_second();
#endif
  // A dot product has the time of a multiply-add, and as many more products as its elements are
  // narrower.
  return 2 * share * peak_of<float>(table.name).operations_per_second();
}

class TileLayer {
 public:
  TileLayer(const KernelTable& table, TileProduct p)
      : kernels_((*table.tiles)[p].rows), scheme_(kTileSchemes[static_cast<int>(p)]), product_(p) {
    slabs_ = kChannels / scheme_.channels;
    std::mt19937 generator(1);
    // Small numbers, as they are staged.
    const std::size_t size = p == TileProduct::bytes ? 1 : p == TileProduct::shorts ? 2 : 4;
    const auto fill = [&](std::vector<char>& v, std::int64_t n) {
      v.resize(static_cast<std::size_t>(n) * size);
      for (std::size_t i = 0; i < v.size(); i += size) {
        const auto integer = static_cast<std::int32_t>(generator() % 9) - 4;
        const auto real = static_cast<float>(integer);
        std::memcpy(v.data() + i, is_integer(p) ? static_cast<const void*>(&integer) : &real, size);
      }
    };
    std::vector<char> plane, filters;
    x_.resize(static_cast<std::size_t>(slabs_ * slab_bytes() + 15 * 64 + 64));
    w_.resize(static_cast<std::size_t>(slabs_ * kTaps * scheme_.parts * 2 * kTileBytes));
    Extremes extremes;
    for (std::int64_t s = 0; s < slabs_; ++s) {
      fill(plane, scheme_.channels * kPositions);
      fill(filters, scheme_.channels * kTaps * 32);
      kernels_.positions({plane.data(), 1, kPositions, kPositions, scheme_.channels,
                          x() + s * slab_bytes(), kPositions * 64,
                          p == TileProduct::bytes ? 128 : 0, &extremes});
      kernels_.weights({filters.data(), scheme_.channels, kTaps, 2,
                        w_.data() + s * kTaps * scheme_.parts * 2 * kTileBytes, &extremes, 32,
                        scheme_.channels * kTaps});
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
          step_.push_back(
              static_cast<std::int32_t>(s * scheme_.parts * kPositions + i * kPitch + j));
    }
    for (std::int32_t t = 0; t < kTiles; ++t) tile_.push_back(16 * t);
    for (std::int32_t p = 0; p < 16 * kTiles; ++p) pixel_.push_back(p);
    acc_.resize(kTiles * 16 * 32);
  }

  void run() { kernels_.product(args(kTiles, kernels_.scattered != 0)); }

  // Of the first two tiles: small integers are exact in any order.
  bool is_right() {
    tiles_portable[product_].rows.product(args(2, false));
    const std::vector<float> expected(acc_.begin(), acc_.begin() + 2 * 16 * 32);
    kernels_.product(args(2, kernels_.scattered != 0));
    return std::memcmp(expected.data(), acc_.data(), expected.size() * sizeof(float)) == 0;
  }

  double operations() const { return 2.0 * kTiles * 16 * 32 * kChannels * kTaps; }

 private:
  static constexpr std::int64_t kChannels = 256, kTaps = 9, kPitch = 58, kPositions = 9 * 58 + 1;
  static constexpr std::int64_t kTiles = 25;

  std::int64_t slab_bytes() const { return scheme_.parts * kPositions * 64; }
  char* x() {
    const auto at = reinterpret_cast<std::uintptr_t>(x_.data());
    return x_.data() + ((at + 63) / 64 * 64 - at);
  }
  TileProductArgs args(std::int64_t tiles, bool scattered) {
    return {x(),
            kPositions * 64,
            (scattered ? pixel_ : tile_).data(),
            tiles,
            tiles * kTileRows,
            step_.data(),
            static_cast<std::int64_t>(step_.size()),
            w_.data(),
            2,
            acc_.data(),
            {}};
  }

  const TileForm& kernels_;
  const TileScheme& scheme_;
  const TileProduct product_;
  std::int64_t slabs_;
  std::vector<char> x_, w_;
  std::vector<std::int32_t> step_, tile_, pixel_;
  std::vector<float> acc_;
};

}  // namespace fastconv::bench
