// Compiled with the flags of avx2 and that of AVX-VNNI, and the only file that is.
#define FASTCONV_ISA_NAMESPACE avx_vnni

#include "simd/dots_avx.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/tile_dots.hpp"

namespace fastconv {
namespace avx_vnni {

// Cut by the portable code (dispatch.cpp).
constexpr TileKernels::Kernels kBytes = {
    "AVX-VNNI",
    {&dots_product<Dots, TileProduct::bytes, true>, nullptr, nullptr, true},
    {&dots_product<Dots, TileProduct::bytes, false>, nullptr, nullptr},
    4.0};

}  // namespace avx_vnni

constinit const TileKernels tiles_avx_vnni = {{{}, {}, {}, {}, avx_vnni::kBytes}};

}  // namespace fastconv
