// The loop over terms stays rolled: unrolling it makes GCC 12 spill the accumulators of wide tiles,
// and the tile itself is unrolled already (FASTCONV_UNROLL, simd/inline.hpp).
#pragma once

#include "simd/inline.hpp"

#if defined(__clang__)
#define FASTCONV_NO_UNROLL _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define FASTCONV_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define FASTCONV_NO_UNROLL
#endif
