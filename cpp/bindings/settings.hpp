// Registers threads, instruction set, scratch and build facts.
#pragma once

#include <pybind11/pybind11.h>

namespace fastconv::bindings {

void register_settings(pybind11::module_& module);

}  // namespace fastconv::bindings
