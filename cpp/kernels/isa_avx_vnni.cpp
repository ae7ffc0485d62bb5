// Compiled with the flags of avx2 and that of AVX-VNNI, and the only file that is.
#define FASTCONV_ISA_NAMESPACE avx_vnni

#include "simd/dots_avx.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/tile_dots.hpp"

namespace fastconv {
namespace avx_vnni {

// Cut by the code for AVX2 (dispatch.cpp).
template <TileProduct P>
constexpr TileKernels::Kernels kernels(double rate) {
  return {"AVX-VNNI",
          {&dots_product<Dots, P, true>, nullptr, nullptr, Dots::words},
          {&dots_product<Dots, P, false>, nullptr, nullptr},
          rate};
}

}  // namespace avx_vnni

constinit const TileKernels tiles_avx_vnni = {{{},
                                               {},
                                               {},
                                               {},
                                               {},
                                               avx_vnni::kernels<TileProduct::bytes>(4.0),
                                               avx_vnni::kernels<TileProduct::shorts>(2.0)}};

}  // namespace fastconv
