// Compiled with the flags of avx2: for processors without AVX-VNNI.
#define FASTCONV_ISA_NAMESPACE avx2_pairs

#include "simd/pairs_avx2.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/tile_dots.hpp"
#include "kernels/tile_integers.hpp"

namespace fastconv {
namespace avx2_pairs {

// Bytes are cut here for AVX-VNNI (dispatch.cpp).
constexpr TileKernels::Kernels kBytes = {nullptr,
                                         {nullptr, &integer_positions<TileProduct::bytes, true>,
                                          &integer_weights<TileProduct::bytes, false>},
                                         {nullptr, &integer_positions<TileProduct::bytes, false>,
                                          &integer_weights<TileProduct::bytes, true>},
                                         0};
constexpr TileKernels::Kernels kShorts = {
    "AVX2 pairs of int16",
    {&dots_product<Pairs, TileProduct::shorts, true>, &integer_positions<TileProduct::shorts, true>,
     &integer_weights<TileProduct::shorts, false>, Pairs::words},
    {&dots_product<Pairs, TileProduct::shorts, false>,
     &integer_positions<TileProduct::shorts, false>, &integer_weights<TileProduct::shorts, true>},
    2.0};

}  // namespace avx2_pairs

constinit const TileKernels tiles_avx2_pairs = {
    {{}, {}, {}, {}, {}, avx2_pairs::kBytes, avx2_pairs::kShorts}};

}  // namespace fastconv
