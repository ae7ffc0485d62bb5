// Which element of an axis a padded position shows, by np.pad's rules.
#pragma once

#include <cstdint>

#include "core/problem.hpp"

namespace fastconv {

// Position i (negative or >= n in the border) of an axis of n >= 1 elements; -1 is the fill value.
//
//   n = 4, a b c d      ... -3 -2 -1 | 0 1 2 3 | 4 5 6 ...
//   constant                 .  .  . | a b c d | . . .
//   edge                     a  a  a | a b c d | d d d
//   symmetric                c  b  a | a b c d | d c b      period 2n
//   reflect                  d  c  b | a b c d | c b a      period 2(n-1)
//   wrap                     b  c  d | a b c d | a b c      period n
inline std::int64_t source_index(Border border, std::int64_t i, std::int64_t n) {
  if (i >= 0 && i < n) return i;
  const auto modulo = [](std::int64_t a, std::int64_t m) { return (a % m + m) % m; };
  switch (border) {
    case Border::constant:
      return -1;
    case Border::edge:
      return i < 0 ? 0 : n - 1;
    case Border::wrap:
      return modulo(i, n);
    case Border::symmetric: {
      const std::int64_t j = modulo(i, 2 * n);
      return j < n ? j : 2 * n - 1 - j;
    }
    default: {
      if (n == 1) return 0;
      const std::int64_t j = modulo(i, 2 * (n - 1));
      return j < n ? j : 2 * (n - 1) - j;
    }
  }
}

// The same for an axis whose elements may be interleaved.
inline std::int64_t source_index(Border border, const Axis& axis, std::int64_t i) {
  if (i >= 0 && i < axis.in) return i;
  const std::int64_t u = axis.interleave;
  if (u == 1) return source_index(border, i, axis.in);
  const std::int64_t unit = i >= 0 ? i / u : -((u - 1 - i) / u);
  const std::int64_t source = source_index(border, unit, axis.in / u);
  return source < 0 ? -1 : source * u + (i - unit * u);
}

}  // namespace fastconv
