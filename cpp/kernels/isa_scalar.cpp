// Compiled with the flags of scalar, and the only file that is (see add_isa in CMakeLists.txt).
#define FASTCONV_ISA_NAMESPACE scalar

#include "simd/vec_scalar.hpp"
// The wrapper comes first: the kernels are written in its terms.
#include "kernels/make_table.hpp"

namespace fastconv {

constinit const KernelTable table_scalar = scalar::make_table("scalar");

}  // namespace fastconv
