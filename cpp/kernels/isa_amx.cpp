// Compiled with the flags of avx512 and those of AMX, and the only file that is.
#define FASTCONV_ISA_NAMESPACE amx

#include "simd/vec_avx512.hpp"
// The wrapper comes first: it includes the intrinsics.
#include "kernels/tile_amx.hpp"
#include "kernels/tile_cut.hpp"

namespace fastconv {
namespace amx {

template <TileProduct P>
constexpr TileKernels::Kernels kernels(double rate) {
  return {"AMX tiles", &tile_product<P>, &tile_positions<P>, &tile_weights<P>, rate};
}

}  // namespace amx

// Sixteen times the multiply-adds of the vector units in a cycle; at 0.7 of it, since both clocks
// and caches give way (2530 GFLOP/s on random data beside 183 of float32 FMA, and 0.8 of that where
// operands come from L2: Sapphire Rapids).
constinit const TileKernels tiles_amx = {{amx::kernels<TileProduct::six>(11.0 / 6),
                                          amx::kernels<TileProduct::four>(11.0 / 4),
                                          amx::kernels<TileProduct::three>(11.0 / 3),
                                          amx::kernels<TileProduct::one>(11.0),
                                          amx::kernels<TileProduct::bytes>(22.0)}};

}  // namespace fastconv
