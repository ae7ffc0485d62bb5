// Patches of planes that lie as kernels read them, a whole plane a call (kernels/plane_stage.hpp);
// what does not is copied row by row (stage.hpp). A file of its own: in one with the latter, GCC
// inlined less of it.
#pragma once

#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// False where the problem is another one. Up to two vectors behind the last row are overwritten.
template <class T>
bool stage_planes(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Patch& patch, const Tile& tile, T* to);

}  // namespace fastconv
