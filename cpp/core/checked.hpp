// Signed 64-bit arithmetic that refuses to overflow.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace fastconv {

// What a shape product or padded size that leaves int64 raises; the message names the quantity.
[[noreturn]] inline void throw_overflow(const char* what) {
  throw std::invalid_argument(std::string(what) + " does not fit in a signed 64-bit integer");
}

// Both operands are sizes: never negative.
inline std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* what) {
  if (a != 0 && b > std::numeric_limits<std::int64_t>::max() / a) throw_overflow(what);
  return a * b;
}

}  // namespace fastconv
