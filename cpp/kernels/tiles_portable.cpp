#include "kernels/tile_portable.hpp"

namespace fastconv {

constinit const TileKernels tiles_portable = {
    {portable::kernels<TileProduct::six>(), portable::kernels<TileProduct::four>(),
     portable::kernels<TileProduct::three>(), portable::kernels<TileProduct::one>(),
     portable::kernels<TileProduct::bytes>()}};

}  // namespace fastconv
