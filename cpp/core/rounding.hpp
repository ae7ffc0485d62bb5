// Division and rounding upwards of counts that are not negative.
#pragma once

#include <cstdint>

namespace fastconv {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

// Bytes, to whole cache lines.
constexpr std::int64_t round_to_line(std::int64_t bytes) { return round_up(bytes, 64); }

}  // namespace fastconv
