// Compiled with the flags of avx512 and those of VNNI and BF16, and the only file that is.
#define FASTCONV_ISA_NAMESPACE avx512_dots

#include "simd/dots_avx512.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/tile_cut.hpp"
#include "kernels/tile_dots.hpp"
#include "kernels/tile_rows.hpp"

namespace fastconv {
namespace avx512_dots {

template <TileProduct P>
constexpr TileKernels::Kernels kernels(const char* name, double rate) {
  return {name,
          {&dots_product<Dots, P, true>, &tile_positions<P, true>, &tile_weights<P, false>,
           Dots::words, row_weights_of<P, false>()},
          {&dots_product<Dots, P, false>, &tile_positions<P, false>, &tile_weights<P, true>, 0,
           row_weights_of<P, true>()},
          rate};
}
// With an emulated product (dispatch.cpp).
template <TileProduct P>
constexpr TileKernels::Kernels cutting() {
  return {nullptr,
          {nullptr, &tile_positions<P, true>, &tile_weights<P, false>},
          {nullptr, &tile_positions<P, false>, &tile_weights<P, true>},
          0};
}

}  // namespace avx512_dots

constinit const TileKernels tiles_avx512_dots = {
    {avx512_dots::cutting<TileProduct::six>(), avx512_dots::cutting<TileProduct::four>(),
     avx512_dots::cutting<TileProduct::halves>(), avx512_dots::cutting<TileProduct::three>(),
     avx512_dots::kernels<TileProduct::one>("AVX-512 BF16", 1.8),
     avx512_dots::kernels<TileProduct::bytes>("AVX-512 VNNI", 4.0),
     avx512_dots::kernels<TileProduct::shorts>("AVX-512 VNNI", 2.0)}};

}  // namespace fastconv
