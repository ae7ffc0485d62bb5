#define FASTCONV_ISA_NAMESPACE portable

#include "kernels/tile_portable.hpp"

namespace fastconv {

constinit const TileKernels tiles_portable = {
    {portable::kernels<TileProduct::six>(), portable::kernels<TileProduct::four>(),
     portable::kernels<TileProduct::halves>(), portable::kernels<TileProduct::three>(),
     portable::kernels<TileProduct::one>(), portable::kernels<TileProduct::bytes>(),
     portable::kernels<TileProduct::shorts>()}};

}  // namespace fastconv
