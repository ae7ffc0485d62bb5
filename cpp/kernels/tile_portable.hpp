// Products of tiles, in plain loops: what processors with AMX do in registers, to the same bits.
//
//   x: 16 positions x 64 bytes      w: 16 output channels        acc: 16 x 16
//
//   p0  c0 c1 | c2 c3 | ...         k0      k1      ...
//   p1  c0 c1 | c2 c3 | ...         c0 c1   c0 c1   ...           p0  k0 k1 ...
//   ...                             c2 c3   c2 c3   ...           p1  k0 k1 ...
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

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/table.hpp"

namespace fastconv::portable {

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

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

// Bytes, four channels of all positions at a time, so that compilers make vectors of it: the
// instructions that multiply them may come without a kernel of their own for this.
inline void byte_positions(const TilePositionsArgs& a) {
  for (int c = 0; c < 64; c += 4) {
    const auto offset = static_cast<std::uint32_t>(a.offset);
    const std::int64_t left = a.channels > c ? a.channels - c : 0;
    const auto* const from =
        static_cast<const std::uint32_t*>(a.from) + (left > 0 ? c * a.channel : 0);
    if (left < 4) {
      for (std::int64_t p = 0; p < a.positions; ++p)
        for (int i = 0; i < 4; ++i)
          a.to[p * 64 + c + i] =
              static_cast<char>((i < left ? from[p * a.position + i * a.channel] : 0u) + offset);
      continue;
    }
    for (std::int64_t p = 0; p < a.positions; ++p) {
      const std::uint32_t* const x = from + p * a.position;
      const std::uint32_t word = ((x[0] + offset) & 255u) | ((x[a.channel] + offset) & 255u) << 8 |
                                 ((x[2 * a.channel] + offset) & 255u) << 16 |
                                 (x[3 * a.channel] + offset) << 24;
      std::memcpy(a.to + p * 64 + c, &word, sizeof word);
    }
  }
}

template <TileProduct P>
void float_positions(const TilePositionsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const auto* const from = static_cast<const float*>(a.from);
  for (std::int64_t p = 0; p < a.positions; ++p) {
    for (int c = 0; c < kScheme.channels; ++c) {
      const float x = c < a.channels ? from[p * a.position + c * a.channel] : 0.0f;
      std::uint32_t part[3];
      cut<P>(x, part);
      for (int i = 0; i < kScheme.parts; ++i) {
        const auto half = static_cast<std::uint16_t>(part[i] >> 16);
        std::memcpy(a.to + i * a.to_part + p * 64 + c * 2, &half, sizeof half);
      }
      widen(a.extremes, x);
    }
  }
}

template <TileProduct P>
void tile_weights(const TileWeightsArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr int kSide = kScheme.channels / 16;  // channels side by side
  const auto* const from = static_cast<const Element<P>*>(a.from);
  for (std::int64_t tap = 0; tap < a.taps; ++tap) {
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      for (int c = 0; c < kScheme.channels; ++c) {
        for (int k = 0; k < kTileRows; ++k) {
          const Element<P> w = c < a.channels
                                   ? from[((c * a.taps + tap) * a.vectors + v) * kTileRows + k]
                                   : Element<P>(0);
          const std::int64_t at = c / kSide * 64 + (k * kSide + c % kSide) * (4 / kSide);
          if constexpr (P == TileProduct::bytes) {
            a.to[(tap * a.vectors + v) * kTileBytes + at] =
                static_cast<char>(static_cast<std::uint32_t>(w));
          } else {
            std::uint32_t part[3];
            cut<P>(w, part);
            for (int i = 0; i < kScheme.parts; ++i) {
              const auto half = static_cast<std::uint16_t>(part[i] >> 16);
              std::memcpy(a.to + ((tap * kScheme.parts + i) * a.vectors + v) * kTileBytes + at,
                          &half, sizeof half);
            }
            widen(a.extremes, w);
          }
        }
      }
    }
  }
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

// The same of bytes, unsigned by signed, modulo 2^32.
inline void add_product(const char* x, const char* w, std::int32_t* acc) {
  for (int m = 0; m < kTileRows; ++m) {
    for (int n = 0; n < kTileRows; ++n) {
      std::int32_t sum = 0;  // of 64 products below 2^15
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<std::uint8_t>(x[m * 64 + 4 * k + i]) *
                 static_cast<std::int8_t>(w[k * 64 + 4 * n + i]);
      std::int32_t& to = acc[m * kTileRows + n];
      to = static_cast<std::int32_t>(static_cast<std::uint32_t>(to) +
                                     static_cast<std::uint32_t>(sum));
    }
  }
}

template <TileProduct P>
void tile_product(const TileProductArgs& a) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  auto* acc = static_cast<Element<P>*>(a.acc);
  for (std::int64_t t = 0; t < a.tiles; ++t, acc += kTileRows * a.vectors * kTileRows) {
    for (std::int64_t v = 0; v < a.vectors; ++v) {
      Element<P> sum[kTileRows * kTileRows] = {};
      for (std::int64_t s = 0; s < a.steps; ++s) {
        const char* const x = a.x + std::int64_t{64} * (a.tile[t] + a.step[s]);
        const char* const w = a.w + s * kScheme.parts * a.vectors * kTileBytes;
        for (int i = 0; i < kScheme.turns; ++i) {
          const TileScheme::Turn turn = kScheme.turn[i];
          add_product(x + turn.x * a.x_part, w + (turn.w * a.vectors + v) * kTileBytes, sum);
        }
      }
      for (int m = 0; m < kTileRows; ++m)
        std::memcpy(acc + (m * a.vectors + v) * kTileRows, sum + m * kTileRows,
                    kTileRows * sizeof *sum);
    }
  }
}

template <TileProduct P>
constexpr TileKernels::Kernels kernels() {
  auto* positions = &byte_positions;
  if constexpr (P != TileProduct::bytes) positions = &float_positions<P>;
  return {"emulated tiles", &tile_product<P>, positions, &tile_weights<P>, 0};
}

}  // namespace fastconv::portable
