// Compiled with the flags of neon, and the only file that is (see add_isa in CMakeLists.txt).
#define FASTCONV_ISA_NAMESPACE neon

#include "simd/vec_neon.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/make_table.hpp"

namespace fastconv {

constinit const KernelTable table_neon = neon::make_table("neon");

}  // namespace fastconv
