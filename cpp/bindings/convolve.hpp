// Registers Spec, Plan, conv and explain.
#pragma once

#include <pybind11/pybind11.h>

namespace fastconv::bindings {

void register_convolve(pybind11::module_& module);

}  // namespace fastconv::bindings
