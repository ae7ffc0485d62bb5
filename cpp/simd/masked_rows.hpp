// Rows in vectors of sixteen elements, the last of them through a mask: rows are often shorter than
// a vector.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/inline.hpp"

#ifndef FASTCONV_ISA_NAMESPACE
#error "define FASTCONV_ISA_NAMESPACE before including simd/masked_rows.hpp"
#endif

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// Calls part(mask, i) for sixteen elements of a row of n from i on, or as many as there are. Of a
// whole mask compilers make no mask.
template <class Part>
FASTCONV_INLINE void for_each_sixteen(std::int64_t n, Part part) {
  const std::int64_t whole = n & -16;
  for (std::int64_t i = 0; i < whole; i += 16) part(static_cast<__mmask16>(0xffff), i);
  if (whole < n) part(static_cast<__mmask16>((1u << (n & 15)) - 1u), whole);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
