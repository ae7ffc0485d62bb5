// Compiled with the flags of avx2 and that of AVX-VNNI, and the only file that is.
#define FASTCONV_ISA_NAMESPACE avx_vnni

#include "kernels/tile_dots_avx.hpp"

namespace fastconv {

// Cut by the portable code (dispatch.cpp).
constinit const TileKernels tiles_avx_vnni = {
    {{},
     {},
     {},
     {},
     {"AVX-VNNI",
      {&avx_vnni::tile_product, nullptr, nullptr},
      {&avx_vnni::tile_product_of_planes, nullptr, nullptr},
      4.0}}};

}  // namespace fastconv
