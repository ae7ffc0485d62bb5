// Integers into positions and weights of tiles (kernels/tile_portable.hpp): bytes by four, int16 by
// two to a word. Plain loops over sixteen lanes, of which compilers make vectors, compiled for each
// instruction set that multiplies them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/table.hpp"
#include "simd/inline.hpp"
#include "simd/interleave.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <TileProduct P>
using Integer = std::conditional_t<P == TileProduct::bytes, std::uint8_t, std::uint16_t>;
template <TileProduct P>
inline constexpr int kWordSide = P == TileProduct::bytes ? 4 : 2;  // channels of a word
template <TileProduct P>
inline constexpr int kWordBits = P == TileProduct::bytes ? 8 : 16;

// What stands for a channel that is not there.
inline constexpr std::uint16_t kNoChannel[kTileRows] = {};

// Where the sixteen lanes of each channel of word `row` lie, from position `p` on.
template <TileProduct P>
struct WordSources {
  const Integer<P>* at[kWordSide<P>];

  FASTCONV_INLINE WordSources(const TilePositionsArgs& a, int row, std::int64_t p) {
    if (a.term == nullptr && (row + 1) * kWordSide<P> <= a.channels) {
      const auto* from =
          static_cast<const Integer<P>*>(a.from) + p * a.position + row * kWordSide<P> * a.channel;
      FASTCONV_UNROLL
      for (int i = 0; i < kWordSide<P>; ++i, from += a.channel) at[i] = from;
      return;
    }
    FASTCONV_UNROLL
    for (int i = 0; i < kWordSide<P>; ++i) {
      const std::int64_t c = row * kWordSide<P> + i;
      at[i] = c < a.channels
                  ? static_cast<const Integer<P>*>(a.from) + a.channel_at(c) + p * a.position
                  : reinterpret_cast<const Integer<P>*>(kNoChannel);
    }
  }
};

// Pieces that overlap: nothing behind them is read.
template <class T>
FASTCONV_INLINE void copy_few(const T* from, std::int64_t count, T* to) {
  const auto both_ends = [&](auto size) FASTCONV_INLINE_LAMBDA {
    constexpr std::int64_t kCount = decltype(size)::value;
    __builtin_memcpy(to, from, kCount * sizeof(T));
    __builtin_memcpy(to + count - kCount, from + count - kCount, kCount * sizeof(T));
  };
  if (count >= 8)
    both_ends(std::integral_constant<std::int64_t, 8>());
  else if (count >= 4)
    both_ends(std::integral_constant<std::int64_t, 4>());
  else if (count >= 2)
    both_ends(std::integral_constant<std::int64_t, 2>());
  else
    to[0] = from[0];
}

// Of sixteen lanes, `step` elements apart, zeros behind the first `count`.
template <TileProduct P>
FASTCONV_INLINE void make_words(WordSources<P> from, std::int64_t count, std::int64_t step,
                                std::uint32_t offset, std::uint32_t* to) {
  Integer<P> few[kWordSide<P>][kTileRows];
  if (step != 1) {
    FASTCONV_UNROLL
    for (int i = 0; i < kWordSide<P>; ++i) {
      const bool there = from.at[i] != reinterpret_cast<const Integer<P>*>(kNoChannel);
      if (there && step == 2 && count >= kTileRows) {
        pick_every_second(from.at[i], few[i]);
      } else {
        for (int l = 0; l < kTileRows; ++l)
          few[i][l] = l < count && there ? from.at[i][l * step] : Integer<P>(0);
      }
      from.at[i] = few[i];
    }
  } else if (count < kTileRows) {
    FASTCONV_UNROLL
    for (int i = 0; i < kWordSide<P>; ++i) {
      for (Integer<P>& x : few[i]) x = 0;
      copy_few(from.at[i], count, few[i]);
      from.at[i] = few[i];
    }
  }
  interleave(from.at, to);
  if (offset != 0)
    for (int l = 0; l < kTileRows; ++l) to[l] ^= offset;
}

// Of so many channels, in whole fours. What lies behind them is multiplied by zeros or not at all.
template <TileProduct P>
FASTCONV_INLINE int word_rows(std::int64_t channels) {
  constexpr int kSide = kWordSide<P>;
  return static_cast<int>((channels + 4 * kSide - 1) / (4 * kSide)) * 4;
}

// The offset of bytes is 0 or 128, so that no carry leaves one.
FASTCONV_INLINE std::uint32_t offset_word(std::int32_t offset) {
  return static_cast<std::uint32_t>(offset) * 0x01010101u;
}

// The channels of a position lie side by side.
template <TileProduct P>
FASTCONV_INLINE void copy_position(const TilePositionsArgs& a, const Integer<P>* from, char* to) {
  auto* const at = reinterpret_cast<Integer<P>*>(to);
  const auto offset = static_cast<Integer<P>>(offset_word(a.offset));
  std::int64_t c = 0;
  for (; c < a.channels; ++c) at[c] = from[c] ^ offset;
  for (; c < kTileSchemes[static_cast<int>(P)].channels; ++c) at[c] = offset;
}

template <TileProduct P, bool Turned>
void integer_positions(const TilePositionsArgs& a) {
  if (Turned && a.channel == 1 && a.term == nullptr) {
    const auto* const from = static_cast<const Integer<P>*>(a.from);
    for (std::int64_t p = 0; p < a.positions; ++p)
      copy_position<P>(a, from + p * a.position, a.to + p * 64);
    return;
  }
  const std::uint32_t offset = offset_word(a.offset);
  const int rows = word_rows<P>(a.channels);
  for (std::int64_t p = 0; p < a.positions; p += kTileRows) {
    const std::int64_t count = a.positions - p < kTileRows ? a.positions - p : kTileRows;
    alignas(64) std::uint32_t words[4][kTileRows];
    for (int row = 0; row < rows; ++row) {
      std::uint32_t* const at = words[row % 4];
      make_words<P>(WordSources<P>(a, row, p), count, a.position, offset, at);
      if constexpr (!Turned) {
        __builtin_memcpy(a.to + p * 64 + row * 64, at, 64);
      } else {
        if (row % 4 != 3) continue;
        char* const to = a.to + p * 64 + (row - 3) * 4;
        std::int64_t l = 0;
        for (; l + 4 <= count; l += 4) turn_words(words, static_cast<int>(l), to + l * 64, 64);
        if (l == count) continue;
        char rest[64];
        turn_words(words, static_cast<int>(l), rest, 16);
        for (std::int64_t i = 0; l < count; ++l, ++i)
          __builtin_memcpy(to + l * 64, rest + i * 16, 16);
      }
    }
  }
}

// Word `row` of each tap, lanes are the sixteen output channels from `first` on. Its channels are a
// run of `taps` words in a row of weights:
//
//   taps = 3   c0t0 c0t1 c0t2 c1t0 | c1t1 c1t2 c2t0 c2t1 | c2t2 c3t0 c3t1 c3t2
//   tap 1           ^                  ^              ^              ^
//
// Runs of sixteen rows are read first, a word of each side by side, then bytes picked.
template <TileProduct P>
FASTCONV_INLINE void weight_words(const TileWeightsArgs& a, std::int64_t first, int row, char* to) {
  constexpr int kSide = kWordSide<P>, kBits = kWordBits<P>;
  constexpr std::int64_t kMostTaps = 64;  // at once
  constexpr std::uint32_t kMask = P == TileProduct::bytes ? 0xffu : 0xffffu;
  const auto* const from = static_cast<const Integer<P>*>(a.from);
  const std::int64_t channel = row * kSide;
  const std::int64_t channels = a.channels - channel < kSide ? a.channels - channel : kSide;
  if (channels == kSide && a.taps <= kMostTaps) {
    std::uint32_t run[kMostTaps][kTileRows];
    for (std::int64_t k = 0; k < kTileRows; ++k) {
      if (first + k >= a.rows) {
        for (std::int64_t j = 0; j < a.taps; ++j) run[j][k] = 0;
        continue;
      }
      const Integer<P>* const at = from + (first + k) * a.pitch + channel * a.taps;
      for (std::int64_t j = 0; j < a.taps; ++j) __builtin_memcpy(&run[j][k], at + j * kSide, 4);
    }
    for (std::int64_t tap = 0; tap < a.taps; ++tap) {
      std::uint32_t words[kTileRows] = {};
      FASTCONV_UNROLL
      for (int i = 0; i < kSide; ++i) {
        const std::int64_t term = i * a.taps + tap;
        const std::uint32_t* const source = run[term / kSide];
        const int shift = static_cast<int>(term % kSide) * kBits;
        for (int k = 0; k < kTileRows; ++k) words[k] |= (source[k] >> shift & kMask) << (kBits * i);
      }
      __builtin_memcpy(to + tap * a.vectors * kTileBytes, words, sizeof words);
    }
    return;
  }
  for (std::int64_t tap = 0; tap < a.taps; ++tap) {
    std::uint32_t words[kTileRows] = {};
    for (std::int64_t k = 0; k < kTileRows && first + k < a.rows; ++k)
      for (std::int64_t i = 0; i < channels; ++i)
        words[k] |=
            static_cast<std::uint32_t>(from[(first + k) * a.pitch + (channel + i) * a.taps + tap])
            << (kBits * i);
    __builtin_memcpy(to + tap * a.vectors * kTileBytes, words, sizeof words);
  }
}

// The same with one tap: squares of four words are turned.
template <TileProduct P>
FASTCONV_INLINE void turn_weights(const TileWeightsArgs& a, std::int64_t first, char* to) {
  const auto* const from = static_cast<const Integer<P>*>(a.from);
  for (std::int64_t k = 0; k < kTileRows; k += 4) {
    alignas(64) std::uint32_t rows[4][kTileRows] = {};
    for (std::int64_t i = 0; i < 4; ++i)
      if (first + k + i < a.rows)
        __builtin_memcpy(rows[i], from + (first + k + i) * a.pitch,
                         static_cast<std::size_t>(a.channels) * sizeof *from);
    for (int word = 0; word < kTileRows; word += 4)
      turn_words(rows, word, to + word * 64 + k * 4, 64);
  }
}

template <TileProduct P, bool Turned>
void integer_weights(const TileWeightsArgs& a) {
  constexpr std::int64_t kChannels = kTileSchemes[static_cast<int>(P)].channels;
  const auto* const from = static_cast<const Integer<P>*>(a.from);
  for (std::int64_t v = 0; v < a.vectors; ++v) {
    char* const to = a.to + v * kTileBytes;
    if constexpr (Turned) {
      for (std::int64_t k = 0; k < kTileRows; ++k) {
        const std::int64_t channels = v * kTileRows + k < a.rows ? a.channels : 0;
        const Integer<P>* const row = from + (v * kTileRows + k) * a.pitch;
        for (std::int64_t tap = 0; tap < a.taps; ++tap) {
          Integer<P> channel[kChannels] = {};
          if (a.taps == 1)
            __builtin_memcpy(channel, row, static_cast<std::size_t>(channels) * sizeof *row);
          else
            for (std::int64_t c = 0; c < channels; ++c) channel[c] = row[c * a.taps + tap];
          __builtin_memcpy(to + tap * a.vectors * kTileBytes + k * 64, channel, 64);
        }
      }
    } else if (a.taps == 1) {
      turn_weights<P>(a, v * kTileRows, to);
    } else {
      for (int row = 0; row < 16; ++row) weight_words<P>(a, v * kTileRows, row, to + row * 64);
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
