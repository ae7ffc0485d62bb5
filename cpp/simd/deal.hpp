// deal.hpp: vectors of columns dealt out by their number modulo three. The numbers of a residue are
// all different modulo the lanes, so that each lane of a result comes from a lane of its own:
//
//   residue 0     a: 0 . . 3     b: . . 6 .     c: . 9 . .
//                           blended: 0 9 6 3     permuted: 0 3 6 9
#pragma once

#include <cstdint>
#include <utility>

#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FASTCONV_HAS_SHUFFLE 1
#endif
#endif

#ifdef FASTCONV_HAS_SHUFFLE
// Elements as such: vectors of integers are declared as those of other ones.
template <class V>
using Elements __attribute__((vector_size(sizeof(V)))) = typename V::value_type;

// Puts the columns of the residue that vector `Vec` of the three has in place of those in `all`.
template <class V, int Residue, int Vec, int... Lane>
FASTCONV_INLINE void blend_third(Elements<V>& all, const V& from,
                                 std::integer_sequence<int, Lane...>) {
  all =
      __builtin_shufflevector(all, (Elements<V>)from.v,
                              ((Vec * V::lanes + Lane) % 3 == Residue ? V::lanes + Lane : Lane)...);
}
template <class V, int Residue, int... Lane>
FASTCONV_INLINE void sort_third(Elements<V>& all, std::integer_sequence<int, Lane...>) {
  all = __builtin_shufflevector(all, all, ((Residue + 3 * Lane) % V::lanes)...);
}

// Columns Residue, Residue + 3, ... of three vectors.
template <int Residue, class V>
FASTCONV_INLINE V every_third(const V (&x)[3]) {
  static_assert(V::lanes % 3 != 0);
  constexpr auto kAll = std::make_integer_sequence<int, V::lanes>{};
  auto all = (Elements<V>)x[0].v;
  blend_third<V, Residue, 1>(all, x[1], kAll);
  blend_third<V, Residue, 2>(all, x[2], kAll);
  sort_third<V, Residue>(all, kAll);
  return {(decltype(V::v))all};
}
#endif

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
