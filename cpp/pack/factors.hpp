// Kernels of rank one, taken apart into the vectors that they are an outer product of:
//
//   1 2 1       1
//   2 4 2   =   2  (1 2 1)          Gaussian, box and Sobel kernels are such
//   1 2 1       1
#pragma once

#include <cstdint>

namespace fastconv {

// Splits m, a matrix of rows by columns, into m[i][j] = u[i] * v[j]. False where it has another
// rank or elements that are not finite.
//
// What is a multiple of one number by integers of up to 20 bits (of doubles 30) is split into such
// integers, so that sums which are exact stay exact. Others have been rounded: of these each
// product may be up to kFactorUnits units of roundoff away, if the two sums after each other are
// still within the error of one sum in order.
template <class T>
bool split_outer_product(const T* m, std::int64_t rows, std::int64_t columns, T* u, T* v);

inline constexpr int kFactorUnits = 6;

}  // namespace fastconv
