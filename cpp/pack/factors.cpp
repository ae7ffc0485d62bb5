#include "pack/factors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

namespace fastconv {
namespace {

// Largest integers that count as such, of which sums may be exact. Mantissas have more bits, nearly
// all; products of two integers fit into 64.
template <class T>
constexpr T kMostInteger = std::is_same_v<T, float> ? T(1 << 20) : T(1 << 30);
constexpr std::int64_t kMostWeight = 1 << 30;  // of integers: products of two fit

struct Pivot {
  std::int64_t row, column;
};

template <class T>
Pivot largest(const T* m, std::int64_t rows, std::int64_t columns) {
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < rows * columns; ++i)
    if (std::abs(m[i]) > std::abs(m[at])) at = i;
  return {at / columns, at % columns};
}

// The largest power of two of which all elements are multiples, if none is then above kMostInteger;
// else 0.
template <class T>
T quantum_of(const T* m, std::int64_t count, T most) {
  if (most < 2 * kMostInteger<T> * std::numeric_limits<T>::min()) return T(0);
  T quantum = std::exp2(static_cast<T>(std::ilogb(most)));
  const T least = most / kMostInteger<T>;
  for (std::int64_t i = 0; i < count; ++i) {
    while (m[i] != std::trunc(m[i] / quantum) * quantum) {
      quantum /= 2;
      if (quantum < least) return T(0);
    }
  }
  return quantum;
}

// Of integers, times `unit`. A row by its greatest common divisor is the vector v, and every other
// row a multiple of it by an integer.
template <class T>
bool split_integers(const T* m, std::int64_t rows, std::int64_t columns, const Pivot& pivot, T unit,
                    T* u, T* v) {
  const auto whole = [&](std::int64_t i, std::int64_t j) {
    return static_cast<std::int64_t>(m[i * columns + j] / unit);
  };
  std::int64_t divisor = 0;
  for (std::int64_t j = 0; j < columns; ++j) divisor = std::gcd(divisor, whole(pivot.row, j));
  const std::int64_t at_pivot = whole(pivot.row, pivot.column) / divisor;
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t factor = whole(i, pivot.column) / at_pivot;
    for (std::int64_t j = 0; j < columns; ++j)
      if (factor * (whole(pivot.row, j) / divisor) != whole(i, j)) return false;
    u[i] = static_cast<T>(factor) * unit;
  }
  for (std::int64_t j = 0; j < columns; ++j) v[j] = static_cast<T>(whole(pivot.row, j) / divisor);
  return true;
}

// sum a[i] * b[i] / sum b[i]^2: the multiple of b that is nearest to a.
template <class T>
T multiple_of(const T* a, std::int64_t pitch, const T* b, std::int64_t count) {
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, long double>;
  Wide products = 0, squares = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    products += Wide{a[i * pitch]} * Wide{b[i]};
    squares += Wide{b[i]} * Wide{b[i]};
  }
  return static_cast<T>(products / squares);
}

template <class T>
bool is_near(T u, T v, T product, T units) {
  const T tolerance = units * std::numeric_limits<T>::epsilon() / 2 * std::abs(product);
  return std::abs(std::fma(u, v, -product)) <= tolerance;
}

// The row of the pivot is v at first, so that no u[i] is above 1: a sum with v then overflows or
// underflows no earlier than the whole kernel's. Both are then fitted to all elements, which takes
// their roundings out.
template <class T>
bool split_rounded(const T* m, std::int64_t rows, std::int64_t columns, const Pivot& pivot, T* u,
                   T* v) {
  if (rows * columns + 1 < rows + columns + kFactorUnits + 2) return false;
  constexpr T kRough = 16;
  const T* const row = m + pivot.row * columns;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T factor = m[i * columns + pivot.column] / row[pivot.column];
    for (std::int64_t j = 0; j < columns; ++j)
      if (!is_near(factor, row[j], m[i * columns + j], kRough)) return false;
  }
  for (std::int64_t i = 0; i < rows; ++i) u[i] = multiple_of(m + i * columns, 1, row, columns);
  for (std::int64_t j = 0; j < columns; ++j) v[j] = multiple_of(m + j, columns, u, rows);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      if (!is_near(u[i], v[j], m[i * columns + j], T(kFactorUnits))) return false;
  return true;
}

}  // namespace

template <class T>
bool split_outer_product(const T* m, std::int64_t rows, std::int64_t columns, T* u, T* v) {
  const std::int64_t count = rows * columns;
  if constexpr (std::is_floating_point_v<T>) {
    for (std::int64_t i = 0; i < count; ++i)
      if (!std::isfinite(m[i])) return false;
  } else {
    for (std::int64_t i = 0; i < count; ++i)
      if (m[i] > kMostWeight || m[i] < -kMostWeight) return false;
  }
  const Pivot pivot = largest(m, rows, columns);
  const T most = std::abs(m[pivot.row * columns + pivot.column]);
  if (most == T(0)) {
    std::fill_n(u, rows, T(0));
    std::fill_n(v, columns, T(0));
    return true;
  }
  if constexpr (std::is_floating_point_v<T>) {
    const T quantum = quantum_of(m, count, most);
    if (quantum == T(0)) return split_rounded(m, rows, columns, pivot, u, v);
    return split_integers(m, rows, columns, pivot, quantum, u, v);
  } else {
    return split_integers(m, rows, columns, pivot, T(1), u, v);
  }
}

template bool split_outer_product(const float*, std::int64_t, std::int64_t, float*, float*);
template bool split_outer_product(const double*, std::int64_t, std::int64_t, double*, double*);
template bool split_outer_product(const std::int32_t*, std::int64_t, std::int64_t, std::int32_t*,
                                  std::int32_t*);
template bool split_outer_product(const std::int64_t*, std::int64_t, std::int64_t, std::int64_t*,
                                  std::int64_t*);

}  // namespace fastconv
