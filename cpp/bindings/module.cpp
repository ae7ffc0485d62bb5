// The module definition and nothing else.
#include <pybind11/pybind11.h>

#include "bindings/convolve.hpp"
#include "bindings/settings.hpp"

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  module.doc() = "Compiled engine of fastconv. Private.";
  fastconv::bindings::register_convolve(module);
  fastconv::bindings::register_settings(module);
}
