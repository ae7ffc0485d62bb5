// Compiled with the flags of avx512 and those of AMX, and the only file that is.
#define FASTCONV_ISA_NAMESPACE amx

#include "simd/vec_avx512.hpp"
// The wrapper comes first: it includes the intrinsics.
#include "kernels/tile_amx.hpp"
#include "kernels/tile_cut.hpp"
#include "kernels/tile_rows.hpp"

namespace fastconv {
namespace amx {

template <TileProduct P>
constexpr TileKernels::Kernels kernels(double rate) {
  return {"AMX tiles",
          {&tile_product<P, true>, &tile_positions<P, true>, &tile_weights<P, false>, 0,
           row_weights_of<P, false>()},
          {&tile_product<P, false>, &tile_positions<P, false>, &tile_weights<P, true>, 0,
           row_weights_of<P, true>()},
          rate};
}

}  // namespace amx

// Of bfloat16 products, 2530 GFLOP/s are reached on random data where vector units reach 183
// (Sapphire Rapids; both clocks give way), and nine tenths of that are taken for granted. Bytes
// have twice as many to a tile. float16 takes a unit of its own, and int16 is left to AVX-512
// (dispatch.cpp).
constinit const TileKernels tiles_amx = {
    {amx::kernels<TileProduct::six>(12.4 / 6), amx::kernels<TileProduct::four>(12.4 / 4),
     amx::kernels<TileProduct::halves>(12.4), amx::kernels<TileProduct::three>(12.4 / 3),
     amx::kernels<TileProduct::one>(12.4), amx::kernels<TileProduct::bytes>(24.8)}};

}  // namespace fastconv
