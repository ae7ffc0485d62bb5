// A square of elements, which compilers turn in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd/inline.hpp"

namespace fastconv {

inline constexpr std::int64_t kSquare = 4;

// to[c * to_pitch + i] = from[i * from_pitch + c]
template <class T>
FASTCONV_INLINE void turn_square(const T* from, std::int64_t from_pitch, T* to,
                                 std::int64_t to_pitch) {
  T square[kSquare][kSquare];
  for (std::int64_t i = 0; i < kSquare; ++i)
    std::memcpy(square[i], from + i * from_pitch, sizeof square[i]);
  for (std::int64_t c = 0; c < kSquare; ++c) {
    const T row[kSquare] = {square[0][c], square[1][c], square[2][c], square[3][c]};
    std::memcpy(to + c * to_pitch, row, sizeof row);
  }
}

}  // namespace fastconv
