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
// A position holds 32 channels as bfloat16 or int16 (pairs), or 64 as bytes (fours). A float32 is
// the sum of three bfloat16 of eight bits each, cut off one after the other, without an error:
//
//   x = h + m + l      x w = h h + (h m + m h) + (h l + m m + l h) + parts below 2^-21 of it
//
// The six products, summed in float32, have the error of a float32 product. (Henry, Tang and
// Heinecke, Leveraging the bfloat16 artificial intelligence datatype for higher-precision
// computations, ARITH 2019.) Three products of two rounded parts leave 2^-15.
//
// Two float16 have a product of 22 bits, no less than 2^-48, so that AMX-FP16 multiplies them as
// they are: one product, whose only errors are those of the sums.
//
// The tile product sums even and odd channels apart, from zero, then adds both to the accumulator;
// every operation flushes what is below 2^-126 to zero, on its way in and out (Intel SDM,
// TDPBF16PS; TDPFP16PS, which takes subnormal float16 as they are).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/table.hpp"
#include "kernels/tile_integers.hpp"
#include "simd/half.hpp"

namespace fastconv::portable {

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

// What sums are.
template <TileProduct P>
using Element = std::conditional_t<is_integer(P), std::int32_t, float>;

// Parts of one element, each in the upper half of a word.
template <TileProduct P>
void cut(float x, std::uint32_t* part) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  if constexpr (P == TileProduct::halves) {
    part[0] = std::uint32_t{float32_to_float16(x)} << 16;
    return;
  }
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
void cut_tile(const TilePositionsArgs& a, std::int64_t first, std::int64_t lanes, char* to,
              std::int64_t to_part) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  const auto* const from = static_cast<const float*>(a.from);
  for (std::int64_t l = 0; l < lanes; ++l) {
    for (int c = 0; c < kScheme.channels; ++c) {
      const float x = c < a.channels ? from[(first + l) * a.position + a.channel_at(c)] : 0.0f;
      const std::int64_t word = c / 2;
      char* const at = to + (Turned ? l * 64 + word * 4 : word * 64 + l * 4) + c % 2 * 2;
      std::uint32_t part[3];
      cut<P>(x, part);
      for (int i = 0; i < kScheme.parts; ++i) {
        const auto half = static_cast<std::uint16_t>(part[i] >> 16);
        std::memcpy(at + i * to_part, &half, sizeof half);
      }
      widen(a.extremes, x);
    }
  }
}

template <TileProduct P, bool Turned>
void tile_positions(const TilePositionsArgs& a) {
  if constexpr (is_integer(P)) {
    integer_positions<P, Turned>(a);
  } else {
    for (std::int64_t p = 0; p < a.positions; p += kTileRows) {
      const std::int64_t count = a.positions - p < kTileRows ? a.positions - p : kTileRows;
      cut_tile<P, Turned>(a, p, count, a.to + p * 64, a.to_part);
    }
  }
}

template <TileProduct P, bool Turned>
void tile_weights(const TileWeightsArgs& a) {
  if constexpr (is_integer(P)) {
    integer_weights<P, Turned>(a);
  } else {
    constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
    for (std::int64_t tap = 0; tap < a.taps; ++tap) {
      const TilePositionsArgs lanes = a.positions_of(tap);
      for (std::int64_t v = 0; v < a.vectors; ++v)
        cut_tile<P, Turned>(lanes, v * kTileRows, kTileRows,
                            a.to + (tap * kScheme.parts * a.vectors + v) * kTileBytes,
                            a.vectors * kTileBytes);
    }
  }
}

// An element as it enters a product. The unit for float16 takes small ones as they are.
template <TileProduct P>
float widened(std::uint16_t half) {
  if constexpr (P == TileProduct::halves) return float16_to_float32(half);
  return flushed(bfloat16_to_float32(half));
}

// Whether x * w, with sixteen bits or 22, is a float32 and no subnormal one, whichever two are
// taken: then a product and a sum are what `fma` is.
inline bool products_are_exact(const Extremes& x, const Extremes& w) {
  constexpr std::uint32_t kLeast = 128, kMost = 379;  // 2^-126 and 2^127: sums of biased exponents
  return (x.least >> 23) + (w.least >> 23) >= kLeast && (x.most >> 23) + (w.most >> 23) <= kMost;
}

// acc += x * w, of [16][32] positions and [32][16] outputs.
template <bool Exact>
void add_floats(const float* x, const float* w, float* acc) {
  // Columns innermost: a sum waits for the one before it, not for those beside it, and where no
  // `fma` is called, they are vectors.
  for (int m = 0; m < kTileRows; ++m) {
    float sum[2][kTileRows] = {};
    for (int c = 0; c < 32; ++c) {
      float* const to = sum[c % 2];
      const float by = x[m * 32 + c];
      for (int n = 0; n < kTileRows; ++n) {
        const float factor = w[c * kTileRows + n];
        to[n] = flushed(Exact ? by * factor + to[n] : std::fma(by, factor, to[n]));
      }
    }
    for (int n = 0; n < kTileRows; ++n) {
      float& to = acc[m * kTileRows + n];
      to = flushed(flushed(to) + flushed(sum[0][n] + sum[1][n]));
    }
  }
}

// acc += x * w, tiles of bfloat16 or float16.
template <TileProduct P>
void add_product(const char* x, const char* w, float* acc) {
  float wide_x[kTileRows * 32], wide_w[32 * kTileRows];
  Extremes of_x, of_w;
  for (int i = 0; i < kTileRows * 32; ++i) {
    std::uint16_t half[2];
    std::memcpy(&half[0], x + 2 * i, 2);
    std::memcpy(&half[1], w + 2 * i, 2);
    const int channel = i / 32 * 2 + i % 2, output = i % 32 / 2;
    widen(&of_x, wide_x[i] = widened<P>(half[0]));
    widen(&of_w, wide_w[channel * kTileRows + output] = widened<P>(half[1]));
  }
  if (products_are_exact(of_x, of_w)) {
    add_floats<true>(wide_x, wide_w, acc);
  } else {
    add_floats<false>(wide_x, wide_w, acc);
  }
}

// The same of integers, modulo 2^32: bytes of the input are unsigned, those of the weights signed.
template <TileProduct P, bool InputRows>
void add_integer_product(const char* rows, const char* columns, std::int32_t* acc) {
  constexpr int kSide = kWordSide<P>, kBytes = 4 / kSide;
  const auto value = [](const char* at, bool is_input) -> std::int32_t {
    if constexpr (P == TileProduct::shorts) {
      std::int16_t x;
      std::memcpy(&x, at, sizeof x);
      return x;
    }
    return is_input ? static_cast<std::uint8_t>(*at) : static_cast<std::int8_t>(*at);
  };
  for (int m = 0; m < kTileRows; ++m) {
    for (int n = 0; n < kTileRows; ++n) {
      std::uint32_t sum = 0;
      for (int k = 0; k < 16; ++k)
        for (int i = 0; i < kSide; ++i)
          sum +=
              static_cast<std::uint32_t>(value(rows + m * 64 + 4 * k + i * kBytes, InputRows) *
                                         value(columns + k * 64 + 4 * n + i * kBytes, !InputRows));
      std::int32_t& to = acc[m * kTileRows + n];
      to = static_cast<std::int32_t>(static_cast<std::uint32_t>(to) + sum);
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
      const std::int64_t row = Rows ? t : v, column = Rows ? v : t;
      Element<P>* const to = acc + row * kTileRows * pitch + column * kTileRows;
      for (int m = 0; a.accumulate && m < kTileRows; ++m)
        std::memcpy(sum + m * kTileRows, to + m * pitch, kTileRows * sizeof *sum);
      for (std::int64_t s = 0; s < a.steps; ++s) {
        const char* const x = a.x + kUnit * (a.tile[t] + a.step[s]);
        const char* const w = a.w + (s * kScheme.parts * a.vectors + v) * kTileBytes;
        for (int i = 0; i < kScheme.turns; ++i) {
          const char* const px = x + kScheme.turn[i].x * a.x_part;
          const char* const pw = w + kScheme.turn[i].w * a.vectors * kTileBytes;
          if constexpr (is_integer(P))
            add_integer_product<P, Rows>(Rows ? px : pw, Rows ? pw : px, sum);
          else
            add_product<P>(Rows ? px : pw, Rows ? pw : px, sum);
        }
      }
      for (int m = 0; m < kTileRows; ++m)
        std::memcpy(to + m * pitch, sum + m * kTileRows, kTileRows * sizeof *sum);
    }
  }
}

// Positions that are rows are turned, and so are weights that are.
template <TileProduct P, bool Rows>
constexpr TileForm form() {
  return {&tile_product<P, Rows>, &tile_positions<P, Rows>, &tile_weights<P, !Rows>};
}

template <TileProduct P>
constexpr TileKernels::Kernels kernels() {
  return {"emulated tiles", form<P, true>(), form<P, false>(), 0};
}

}  // namespace fastconv::portable
