// Rows of elements between any stored type and a compute type.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "kernels/table.hpp"

namespace fastconv {

// to[i] = from[i * stride bytes], converted: integers modulo 2^n, halves to float exactly.
template <class T>
void read_row(const KernelTable& kernels, DType type, const char* from, std::int64_t stride, T* to,
              std::int64_t to_stride, std::int64_t n);

// Rows of n such elements, `row_step` bytes apart, to dense ones. Those of a transposed picture are
// turned a square at a time.
template <class T>
void read_rows(const KernelTable& kernels, DType type, const char* from, std::int64_t row_step,
               std::int64_t rows, std::int64_t stride, T* to, std::int64_t n);

// The way back: to[i * stride bytes] = from[i]. Integers wrap; floats that go to
// integers (the image face alone asks for it) are rounded half to even and clipped. Integer
// activations act here, on the value already wrapped.
template <class T>
void write_row(const KernelTable& kernels, DType type, const T* from, char* to, std::int64_t stride,
               std::int64_t n, Activation activation);

}  // namespace fastconv
