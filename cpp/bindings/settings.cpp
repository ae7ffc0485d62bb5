#include "bindings/settings.hpp"

#include <pybind11/stl.h>

#include "core/cpu.hpp"
#include "kernels/dispatch.hpp"
#include "plan/plan.hpp"
#include "runtime/result_memory.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"

#if defined(_WIN32)
#define FASTCONV_EXPORT __declspec(dllexport)
#else
#define FASTCONV_EXPORT __attribute__((visibility("default")))
#endif

// For threadpoolctl (python/fastconv/_threadpoolctl.py), which looks symbols up in the library.
extern "C" {

FASTCONV_EXPORT int fastconv_get_num_threads() noexcept;
FASTCONV_EXPORT void fastconv_set_num_threads(int n) noexcept;

int fastconv_get_num_threads() noexcept { return fastconv::max_threads(); }

void fastconv_set_num_threads(int n) noexcept { fastconv::set_max_threads(n < 1 ? 1 : n); }

}  // extern "C"

namespace fastconv::bindings {

namespace py = pybind11;

void register_settings(py::module_& module) {
  module.def("set_num_threads", &set_max_threads);
  module.def("get_num_threads", &max_threads);
  module.def("threads_started", &threads_started);
  module.def("set_isa", [](const std::optional<std::string>& name) {
    if (name && name->empty()) throw py::value_error("isa must not be empty");
    set_active_kernels(name.value_or(""));
  });
  module.def("prefer_kernel", &prefer_kernel);
  module.def("get_isa", [] { return std::string(active_kernels().name); });
  module.def("built_isas", &built_isas);
  module.def("available_isas", &available_isas);
  module.def("cpu_features", [] {
    py::dict features;
    for (const auto& [name, present] : cpu_features()) features[py::str(name)] = present;
    return features;
  });
  module.def("build_info", [] {
    py::dict info;
    info["version"] = FASTCONV_VERSION;
    info["compiler"] = FASTCONV_COMPILER;
    info["build_type"] = FASTCONV_BUILD_TYPE;
    info["pybind11"] =
        std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR);
    return info;
  });
  // Of the calling thread, and a result's.
  module.def("kept_bytes", [] { return Scratch::cached_bytes() + kept_result_bytes(); });
  module.def("release_memory", [] {
    Scratch::release_cached();
    release_kept_result();
  });
}

}  // namespace fastconv::bindings
