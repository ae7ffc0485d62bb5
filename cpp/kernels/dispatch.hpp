// Which kernels this process runs: the best that the processor has, was compiled, and is allowed.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace fastconv {

// The table in use. At first use FASTCONV_ISA (scalar, avx2, avx512, amx or neon) caps it; a value
// that is none of these throws std::invalid_argument.
const KernelTable& active_kernels();

// Uses exactly this instruction set from now on; an empty name returns to the default. Throws
// std::invalid_argument where it is not available.
void set_active_kernels(const std::string& name);

std::vector<std::string> built_isas();
std::vector<std::string> available_isas();  // built, and the processor has them

}  // namespace fastconv
