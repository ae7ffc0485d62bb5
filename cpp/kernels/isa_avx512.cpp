// Compiled with the flags of avx512, and the only file that is (see add_isa in CMakeLists.txt).
#define FASTCONV_ISA_NAMESPACE avx512

#include "simd/vec_avx512.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/make_table.hpp"

namespace fastconv {

constinit const KernelTable table_avx512 = avx512::make_table("avx512");

}  // namespace fastconv
