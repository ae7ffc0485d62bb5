// What a kernel is told: one plain struct each. Kernels see dense, padded, aligned data and know
// nothing of padding modes, array strides, dilation or groups: all of that is in `tap`, the offset
// of each term of the reduction from an output pixel's own position.
#pragma once

#include <cstdint>

#include "core/activation.hpp"

namespace fastconv {

// Memory that the next kernel call will read first, to be brought near during this one: `runs` of
// so many bytes.
struct Upcoming {
  const char* at = nullptr;
  std::int64_t pitch = 0;  // bytes from one run to the next
  std::int64_t bytes = 0;
  std::int64_t runs = 0;
};

// Lanes are output channels: acc[p][o] += x[pixel[p] + tap[t]] * w[t][o], summed over t.
template <class T>
struct OuterArgs {
  const T* x;
  const std::int32_t* pixel;  // offset of each output pixel
  std::int64_t pixels;
  const std::int32_t* tap;  // offset of each term
  std::int64_t taps;
  const T* w;       // [taps][out_vecs * lanes]
  T* acc;           // [pixels][out_vecs * lanes]
  bool accumulate;  // add to acc, or overwrite it
  // The pixels of a tile lie side by side, terms follow each other: pixel[p + 1] == pixel[p] + 1
  // within a tile and tap[t + 1] == tap[t] + pixels of a tile, as stage_columns leaves them.
  bool columns;
  Upcoming upcoming;
};

// Lanes are output pixels: acc[o][p] += w[t][o] * x[p + tap[t]], summed over t. Reads and writes
// whole vectors: x and acc must be readable up to the next multiple of `lanes`.
template <class T>
struct LanesArgs {
  const T* x;
  std::int64_t pixels;
  const std::int32_t* tap;
  std::int64_t taps;
  const T* w;  // [taps][rows]
  T* acc;      // [rows][acc_pitch]
  std::int64_t acc_pitch;
  bool accumulate;
};

// Kernel rows of one channel, kernel slice and row phase: they touch neighbouring rows of the
// patch.
struct StencilGroup {
  std::int32_t x;        // offset of the row that the first kernel row sees
  std::int32_t w;        // offset of its weights
  std::int32_t w_pitch;  // from one kernel row to the next
  std::int32_t rows;
  std::int32_t columns;
};

// One output channel, lanes are output pixels, a tile spans several output rows. Reads and writes
// whole vectors, as pixel lanes do.
template <class T>
struct StencilArgs {
  const T* x;
  std::int64_t x_pitch;  // from one row of the patch to the next
  const StencilGroup* group;
  std::int64_t groups;
  const std::int32_t* column;  // offset of each kernel column
  const T* w;
  std::int64_t pixels;  // of one output row
  T* acc;
  std::int64_t acc_pitch;  // from one output row to the next
  bool accumulate;
};

// Bias, activation, and the way from the accumulators to the output (or to a row of scratch that is
// converted next). Strides count elements.
template <class T>
struct StoreArgs {
  const T* acc;
  std::int64_t acc_pixel;
  std::int64_t acc_channel;
  std::int64_t pixels;
  std::int64_t channels;
  T* out;
  std::int64_t out_pixel;
  std::int64_t out_channel;
  const T* bias;  // [channels] or null
  Activation activation;
};

// Terms of a matrix of columns: to[p / group * pitch + t * group + p % group] =
// from[t * from_pitch + p]. Whole vectors are written, over what follows in the group: terms go in
// rising order, and behind the last one there is room for a vector.
template <class T>
struct SpreadArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t terms;
  std::int64_t pixels;
  T* to;
  std::int64_t pitch;
};

// Rows of weights to kernel order: to[t * to_pitch + r] = from[r * from_pitch + t], and zeros in
// to[t * to_pitch + rows .. to_pitch).
template <class T>
struct PackArgs {
  const T* from;
  std::int64_t from_pitch;
  std::int64_t rows;
  std::int64_t taps;
  T* to;
  std::int64_t to_pitch;
};

}  // namespace fastconv
