// Products of tiles, in plain loops: what processors with AMX do in registers, to the same bits.
//
//   x: 16 positions x 64 bytes      w: 16 output channels        acc: 16 x 16
//
//   p0  c0 c1 | c2 c3 | ...         k0      k1      ...
//   p1  c0 c1 | c2 c3 | ...         c0 c1   c0 c1   ...           p0  k0 k1 ...
//   ...                             c2 c3   c2 c3   ...           p1  k0 k1 ...
//
// Or the other way round, where there is one tap: w's outputs are rows, and x's positions columns
// of what is multiplied; x then lies as words of two or four channels, [16 words][16 positions].
//
// A position holds 32 channels as bfloat16 (pairs), or 64 as bytes (fours). A float32 is the sum of
// three bfloat16 of eight bits each, cut off one after the other, without an error:
//
//   x = h + m + l      x w = h h + (h m + m h) + (h l + m m + l h) + parts below 2^-21 of it
//
// The six products, summed in float32, have the error of a float32 product. (Henry, Tang and
// Heinecke, Leveraging the bfloat16 artificial intelligence datatype for higher-precision
// computations, ARITH 2019.) Three products of two rounded parts leave 2^-15.
//
// The tile product sums even and odd channels apart, from zero, then adds both to the accumulator;
// every operation flushes what is below 2^-126 to zero, on its way in and out (Intel SDM,
// TDPBF16PS).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/table.hpp"

namespace fastconv::portable {

inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

inline constexpr std::uint32_t kSign = 0x80000000u, kUpper = 0xffff0000u;

inline float flushed(float x) {
  const std::uint32_t bits = bits_of(x);
  return (bits & ~kSign) < 0x00800000u ? float_of(bits & kSign) : x;
}

// The upper half of a float, which is a bfloat16.
inline std::uint32_t upper_half(float x, bool nearest) {
  const std::uint32_t bits = bits_of(x);
  if (!nearest) return bits & kUpper;
  if (x != x) return (bits | 0x00400000u) & kUpper;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) & kUpper;
}

template <TileProduct P>
using Element = std::conditional_t<P == TileProduct::bytes, std::int32_t, float>;

// Parts of one element, each in the upper half of a word.
template <TileProduct P>
void cut(float x, std::uint32_t* part) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  for (int i = 0; i < kScheme.parts; ++i) {
    part[i] = upper_half(x, kScheme.nearest);
    x -= float_of(part[i]);
  }
}

inline void widen(Extremes* extremes, float x) {
  const std::uint32_t magnitude = bits_of(x) & ~kSign;
  if (magnitude - 1 < extremes->least) extremes->least = magnitude - 1;
  if (magnitude > extremes->most) extremes->most = magnitude;
}

// Elements of sixteen lanes (positions, or output channels) to a tile: row by row of lanes, or
// turned, a lane's channels side by side.
template <TileProduct P, bool Turned>
void cut_tile(const Element<P>* from, std::int64_t lane, std::int64_t lanes, std::int64_t channel,
              std::int64_t channels, std::int32_t offset, char* to, std::int64_t to_part,
              Extremes* extremes) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr int kSide = kScheme.channels / 16, kBytes = 4 / kSide;
  for (std::int64_t l = 0; l < lanes; ++l) {
    for (int c = 0; c < kScheme.channels; ++c) {
      const Element<P> x = c < channels ? from[l * lane + c * channel] : Element<P>(0);
      const std::int64_t word = c / kSide;
      char* const at = to + (Turned ? l * 64 + word * 4 : word * 64 + l * 4) + c % kSide * kBytes;
      if constexpr (P == TileProduct::bytes) {
        *at = static_cast<char>(static_cast<std::uint32_t>(x) + static_cast<std::uint32_t>(offset));
      } else {
        std::uint32_t part[3];
        cut<P>(x, part);
        for (int i = 0; i < kScheme.parts; ++i) {
          const auto half = static_cast<std::uint16_t>(part[i] >> 16);
          std::memcpy(at + i * to_part, &half, sizeof half);
        }
        widen(extremes, x);
      }
    }
  }
}

template <TileProduct P, bool Turned>
void tile_positions(const TilePositionsArgs& a) {
  const auto* const from = static_cast<const Element<P>*>(a.from);
  for (std::int64_t p = 0; p < a.positions; p += kTileRows) {
    const std::int64_t count = a.positions - p < kTileRows ? a.positions - p : kTileRows;
    cut_tile<P, Turned>(from + p * a.position, a.position, count, a.channel, a.channels, a.offset,
                        a.to + p * 64, a.to_part, a.extremes);
  }
}

// Bytes, four channels of all positions at a time, so that compilers make vectors of it: the
// instructions that multiply them may come without a kernel of their own for this.
template <bool Turned>
void byte_positions(const TilePositionsArgs& a) {
  const auto offset = static_cast<std::uint32_t>(a.offset);
  const auto at = [&](std::int64_t p, int c) {
    return a.to + (Turned ? p * 64 + c : p / kTileRows * kTileBytes + c * 16 + p % kTileRows * 4);
  };
  for (int c = 0; c < 64; c += 4) {
    const std::int64_t left = a.channels > c ? a.channels - c : 0;
    const auto* const from =
        static_cast<const std::uint32_t*>(a.from) + (left > 0 ? c * a.channel : 0);
    if (left < 4) {
      for (std::int64_t p = 0; p < a.positions; ++p)
        for (int i = 0; i < 4; ++i)
          at(p, c)[i] =
              static_cast<char>((i < left ? from[p * a.position + i * a.channel] : 0u) + offset);
      continue;
    }
    for (std::int64_t p = 0; p < a.positions; ++p) {
      const std::uint32_t* const x = from + p * a.position;
      const std::uint32_t word = ((x[0] + offset) & 255u) | ((x[a.channel] + offset) & 255u) << 8 |
                                 ((x[2 * a.channel] + offset) & 255u) << 16 |
                                 (x[3 * a.channel] + offset) << 24;
      std::memcpy(at(p, c), &word, sizeof word);
    }
  }
}

template <TileProduct P, bool Turned>
void tile_weights(const TileWeightsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const auto* const from = static_cast<const Element<P>*>(a.from);
  const std::int64_t width = a.vectors * kTileRows;
  for (std::int64_t tap = 0; tap < a.taps; ++tap)
    for (std::int64_t v = 0; v < a.vectors; ++v)
      cut_tile<P, Turned>(from + tap * width + v * kTileRows, 1, kTileRows, a.taps * width,
                          a.channels, 0, a.to + (tap * kScheme.parts * a.vectors + v) * kTileBytes,
                          a.vectors * kTileBytes, a.extremes);
}

// acc += x * w, tiles of bfloat16.
inline void add_product(const char* x, const char* w, float* acc) {
  float wide_x[kTileRows * 32], wide_w[kTileRows * 32];
  for (int i = 0; i < kTileRows * 32; ++i) {
    std::uint16_t half[2];
    std::memcpy(&half[0], x + 2 * i, 2);
    std::memcpy(&half[1], w + 2 * i, 2);
    wide_x[i] = flushed(float_of(std::uint32_t{half[0]} << 16));
    wide_w[i] = flushed(float_of(std::uint32_t{half[1]} << 16));
  }
  for (int m = 0; m < kTileRows; ++m) {
    for (int n = 0; n < kTileRows; ++n) {
      float sum[2] = {0.0f, 0.0f};
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 2; ++i)
          sum[i] =
              flushed(std::fma(wide_x[m * 32 + 2 * k + i], wide_w[k * 32 + 2 * n + i], sum[i]));
      float& to = acc[m * kTileRows + n];
      to = flushed(flushed(to) + flushed(sum[0] + sum[1]));
    }
  }
}

// The same of bytes, modulo 2^32: those of the input are unsigned, those of the weights signed.
template <bool UnsignedRows>
void add_byte_product(const char* rows, const char* columns, std::int32_t* acc) {
  const auto value = [](char byte, bool is_unsigned) {
    return is_unsigned ? static_cast<std::uint8_t>(byte) : static_cast<std::int8_t>(byte);
  };
  for (int m = 0; m < kTileRows; ++m) {
    for (int n = 0; n < kTileRows; ++n) {
      std::int32_t sum = 0;  // of 64 products below 2^15
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 4; ++i)
          sum += value(rows[m * 64 + 4 * k + i], UnsignedRows) *
                 value(columns[k * 64 + 4 * n + i], !UnsignedRows);
      std::int32_t& to = acc[m * kTileRows + n];
      to = static_cast<std::int32_t>(static_cast<std::uint32_t>(to) +
                                     static_cast<std::uint32_t>(sum));
    }
  }
}

// Positions are the rows, or the columns.
template <TileProduct P, bool Rows>
void tile_product(const TileProductArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr std::int64_t kUnit = Rows ? 64 : kTileBytes;
  auto* const acc = static_cast<Element<P>*>(a.acc);
  const std::int64_t pitch = kTileRows * (Rows ? a.vectors : a.tiles);
  for (std::int64_t t = 0; t < a.tiles; ++t) {
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      Element<P> sum[kTileRows * kTileRows] = {};
      for (std::int64_t s = 0; s < a.steps; ++s) {
        const char* const x = a.x + kUnit * (a.tile[t] + a.step[s]);
        const char* const w = a.w + (s * kScheme.parts * a.vectors + v) * kTileBytes;
        for (int i = 0; i < kScheme.turns; ++i) {
          const char* const px = x + kScheme.turn[i].x * a.x_part;
          const char* const pw = w + kScheme.turn[i].w * a.vectors * kTileBytes;
          if constexpr (P == TileProduct::bytes)
            add_byte_product<Rows>(Rows ? px : pw, Rows ? pw : px, sum);
          else
            add_product(Rows ? px : pw, Rows ? pw : px, sum);
        }
      }
      const std::int64_t row = Rows ? t : v, column = Rows ? v : t;
      for (int m = 0; m < kTileRows; ++m)
        std::memcpy(acc + (row * kTileRows + m) * pitch + column * kTileRows, sum + m * kTileRows,
                    kTileRows * sizeof *sum);
    }
  }
}

// Positions that are rows are turned, and so are weights that are.
template <TileProduct P, bool Rows>
constexpr TileForm form() {
  auto* positions = &tile_positions<P, Rows>;
  if constexpr (P == TileProduct::bytes) positions = &byte_positions<Rows>;
  return {&tile_product<P, Rows>, positions, &tile_weights<P, !Rows>};
}

template <TileProduct P>
constexpr TileKernels::Kernels kernels() {
  return {"emulated tiles", form<P, true>(), form<P, false>(), 0};
}

}  // namespace fastconv::portable
