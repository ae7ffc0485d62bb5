// Compiled with the flags of avx2, and the only file that is (see add_isa in CMakeLists.txt).
#define FASTCONV_ISA_NAMESPACE avx2

#include "simd/vec_avx2.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/make_table.hpp"

namespace fastconv {

constinit const KernelTable table_avx2 = avx2::make_table("avx2");

}  // namespace fastconv
