// What a call needs once its shapes and types are known, and may keep for the next call like it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "bindings/arrays.hpp"
#include "plan/plan.hpp"

namespace fastconv::bindings {

// The arrays of a call before any conversion.
struct Given {
  py::array x;
  py::array w;
  std::optional<py::array> bias;
};

struct Prepared {
  // The key: calls that agree in these share the rest.
  Shape x_shape, w_shape;
  Strides x_strides;
  int x_number = 0, w_number = 0;
  bool x_readable = true;  // as it lies
  bool has_bias = false;
  const KernelTable* kernels = nullptr;
  int threads = 0;

  Types types;
  Shape y_shape;
  std::shared_ptr<const Plan> plan;

  bool serves(const Given& given, const KernelTable& table, int thread_count) const;
};

// How often the weights of a call are packed.
enum class Packing : std::uint8_t { each_call, once };

// Checks shapes and types and makes the plan. `dtype` is None or what the caller gave.
std::shared_ptr<const Prepared> prepare(const Options& options, const Given& given,
                                        const py::object& fill_value, const py::object& dtype,
                                        const KernelTable& kernels, int threads, Packing packing);

// Of a kind that the result's type can hold.
void check_bias(const Given& given, const Types& types);

// Weights that the engine can read, and the bias in the compute type.
struct Parameters {
  py::array w;
  std::optional<py::array> bias;
};
Parameters as_parameters(const Given& given, const Types& types);

// Packs weights for a plan, with the GIL released. False where it does not suit them.
bool pack(const Plan& plan, const Options& options, const Parameters& parameters, void* to);

// Allocates or checks the output, converts x where it must be, and runs the plan with the GIL
// released. `packed` is null where the weights are still to be packed.
py::array execute(const Options& options, const Prepared& prepared, const py::array& x,
                  const Parameters& parameters, const void* packed, const py::object& out);

}  // namespace fastconv::bindings
