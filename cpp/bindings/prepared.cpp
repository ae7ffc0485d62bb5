#include "bindings/prepared.hpp"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "bindings/gil.hpp"
#include "kernels/dispatch.hpp"
#include "runtime/float_status.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv::bindings {
namespace {

// Called by worker 0, which holds no GIL: true when a signal's handler raised (Ctrl-C).
bool signal_pending() {
  return GilReleased::while_held([] { return PyErr_CheckSignals() != 0; });
}

template <class Values>
bool equal(const py::ssize_t* values, const Values& expected) {
  return std::equal(expected.begin(), expected.end(), values);
}

void set_types(Problem& problem, const Types& types, ElementType x, ElementType w) {
  problem.x_type = types.cast_x ? types.y.real : x.real;
  problem.w_type = w.real;
  problem.y_type = types.y.real;
  problem.compute = types.compute;
  problem.complex = types.y.complex;
  if (problem.complex) {
    problem.in_channels *= 2;
    problem.out_channels *= 2;
  }
}

// The output as the engine writes it and as the caller gets it: two arrays where `out` has another
// byte order, is unaligned, or shares memory with an input.
struct Result {
  py::array target;
  py::array returned;

  Result(const py::object& out, const Prepared& prepared, const py::array& x,
         const Parameters& parameters)
      : target(py::reinterpret_steal<py::array>(nullptr)),
        returned(py::reinterpret_steal<py::array>(nullptr)) {
    if (!out.is_none()) {
      returned = py::reinterpret_borrow<py::array>(out);
      target = returned;
      if (is_writable_in_place(returned, x, parameters.w, parameters.bias)) return;
    }
    target = empty_array(prepared.types.result, prepared.y_shape);
    if (out.is_none()) returned = target;
  }

  py::array finish() {
    if (target.ptr() != returned.ptr()) returned[py::ellipsis()] = target;
    return std::move(returned);
  }
};

}  // namespace

bool Prepared::serves(const Given& given, const KernelTable& table, int thread_count) const {
  return given.x.ndim() == static_cast<py::ssize_t>(x_shape.size()) &&
         equal(given.x.shape(), x_shape) && equal(given.x.strides(), x_strides) &&
         given.w.ndim() == static_cast<py::ssize_t>(w_shape.size()) &&
         equal(given.w.shape(), w_shape) && given.x.dtype().num() == x_number &&
         given.w.dtype().num() == w_number && is_readable(given.x, types) == x_readable &&
         kernels == &table && threads == thread_count && given.bias.has_value() == has_bias &&
         (!has_bias || (given.bias->ndim() == 1 && given.bias->shape(0) == w_shape[0]));
}

std::shared_ptr<const Prepared> prepare(const Options& options, const Given& given,
                                        const py::object& fill_value, const py::object& dtype,
                                        const KernelTable& kernels, int threads, Packing packing) {
  const py::dtype x = given.x.dtype(), w = given.w.dtype();
  const ElementType x_type = element_type("x", x);
  const ElementType w_type = element_type("w", w);
  if (given.bias) element_type("bias", given.bias->dtype());
  auto p = std::make_shared<Prepared>();
  p->types = resolve_types(x, w, dtype, options);
  p->x_shape = shape_of(given.x);
  p->w_shape = shape_of(given.w);
  const Shape bias = given.bias ? shape_of(*given.bias) : Shape{};
  Problem problem = make_problem(options, p->x_shape, p->w_shape, given.bias ? &bias : nullptr);
  set_types(problem, p->types, x_type, w_type);
  problem.fill = fill_of(fill_value, p->types);
  problem.keeps_weights = packing == Packing::once;
  p->y_shape = output_shape(options, problem, p->x_shape, problem.complex);
  p->x_strides.assign(given.x.strides(), given.x.strides() + given.x.ndim());
  p->x_number = x.num();
  p->w_number = w.num();
  p->x_readable = is_readable(given.x, p->types);
  p->has_bias = given.bias.has_value();
  p->kernels = &kernels;
  p->threads = threads;
  // What cannot be read as it lies is copied to a C-contiguous array first.
  const ElementType element = {problem.x_type, problem.complex};
  const Strides strides =
      p->x_readable ? p->x_strides : contiguous_strides(p->x_shape, bytes_of(element));
  p->plan = std::make_shared<const Plan>(
      problem, tensor_of(nullptr, strides.data(), p->x_shape, options, element), kernels, threads);
  return p;
}

void check_bias(const Given& given, const Types& types) {
  if (!given.bias) return;
  const ElementType type = element_type("bias", given.bias->dtype());
  if ((type.complex && !types.y.complex) || (is_float(type.real) && !is_float(types.compute)))
    throw py::type_error("bias must be of a kind that can be cast to the result's; got " +
                         text_of(given.bias->dtype()) + " for " + text_of(types.result));
}

Parameters as_parameters(const Given& given, const Types& types) {
  Parameters p{as_native(given.w), std::nullopt};
  if (!given.bias) return p;
  check_bias(given, types);
  p.bias = as_dense(*given.bias, types.compute_dtype);
  return p;
}

bool pack(const Plan& plan, const Options& options, const Parameters& parameters, void* to) {
  const Weights weights = weights_of(parameters.w, options);
  Interrupt interrupt(&signal_pending);
  bool suits;
  {
    const GilReleased released;
    const FloatStatus status;
    suits = plan.pack(weights, to, interrupt);
  }
  if (interrupt.stop_requested()) throw py::error_already_set();
  return suits;
}

py::array execute(const Options& options, const Prepared& prepared, const py::array& x_given,
                  const Parameters& parameters, const void* packed, const py::object& out) {
  check_out(out, prepared.types, prepared.y_shape);
  const py::array x = prepared.x_readable ? x_given : readable_copy(x_given, prepared.types);
  Result result(out, prepared, x, parameters);
  const Problem& problem = prepared.plan->problem();
  if (problem.batch == 0) return result.finish();

  Operands operands;
  const ElementType element = {problem.x_type, problem.complex};
  operands.x = tensor_of(x.data(), x.strides(), prepared.x_shape, options, element);
  operands.y = tensor_of(result.target.data(), result.target.strides(), prepared.y_shape, options,
                         prepared.types.y);
  operands.packed = packed;
  if (parameters.bias) operands.bias = parameters.bias->data();
  const Weights weights = weights_of(parameters.w, options);
  operands.weights = &weights;
  const Plan& plan = *prepared.plan;
  Interrupt interrupt(&signal_pending);
  bool finished;
  try {
    const GilReleased released;
    const FloatStatus status;
    if (packed != nullptr) {
      const Scratch scratch = Scratch::acquire(static_cast<std::size_t>(plan.scratch_bytes()));
      finished = plan.run(operands, scratch.data(), interrupt);
    } else {
      finished = plan.pack_and_run(operands, interrupt);
    }
  } catch (const std::bad_alloc&) {
    throw_no_memory("there is no memory for the scratch of the call, " +
                    std::to_string(plan.scratch_bytes()) +
                    " bytes, or for its weights in another order, " +
                    std::to_string(plan.packed_bytes()) + " bytes");
  }
  if (!finished) throw py::error_already_set();
  return result.finish();
}

}  // namespace fastconv::bindings
