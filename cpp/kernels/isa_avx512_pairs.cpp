// Compiled with the flags of avx512: for processors without VNNI.
#define FASTCONV_ISA_NAMESPACE avx512_pairs

#include "simd/pairs_avx512.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/tile_cut.hpp"
#include "kernels/tile_dots.hpp"

namespace fastconv {
namespace avx512_pairs {

constexpr TileKernels::Kernels kShorts = {
    "AVX-512 pairs of int16",
    {&dots_product<Pairs, TileProduct::shorts, true>, &tile_positions<TileProduct::shorts, true>,
     &tile_weights<TileProduct::shorts, false>, Pairs::words},
    {&dots_product<Pairs, TileProduct::shorts, false>, &tile_positions<TileProduct::shorts, false>,
     &tile_weights<TileProduct::shorts, true>},
    2.0};

}  // namespace avx512_pairs

constinit const TileKernels tiles_avx512_pairs = {{{}, {}, {}, {}, {}, {}, avx512_pairs::kShorts}};

}  // namespace fastconv
