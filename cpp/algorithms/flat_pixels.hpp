// Pixels of few channels, copied for kernels/flat_lanes.hpp: the loops of flat.cpp that are worth
// more code.
#pragma once

#include <cstdint>

namespace fastconv {

// Pixels of so many bytes, `step` bytes apart, side by side. Those of few go by sixteen bytes at a
// time, each over what the one before it wrote too much, but for the last, behind which there may
// be nothing to read.
void copy_pixels(const char* from, std::int64_t step, std::int64_t count, std::int64_t bytes,
                 char* to);

// An element for each filter of a group, four at a time, each over what the one before it wrote too
// much.
template <class T>
void repeat_channels(const T* from, std::int64_t step, std::int64_t groups, std::int64_t filters,
                     T* to);

}  // namespace fastconv
