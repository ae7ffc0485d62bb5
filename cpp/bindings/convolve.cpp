#include "bindings/convolve.hpp"

#include <pybind11/stl.h>

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/options.hpp"
#include "bindings/prepared.hpp"
#include "kernels/dispatch.hpp"
#include "runtime/huge_pages.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv::bindings {
namespace {

std::optional<py::array> as_bias(const py::object& bias) {
  if (bias.is_none()) return std::nullopt;
  return as_array("bias", bias);
}

// What the caller's changes do not reach.
py::object own_copy(const py::object& value) {
  return py::isinstance<py::array>(value) ? value.attr("copy")("C") : value;
}

// Numbers that never change, and whether two of them are the same: floats to the bit.
bool is_fixed_number(const py::object& value) {
  return PyLong_CheckExact(value.ptr()) || PyFloat_CheckExact(value.ptr());
}

bool is_same_number(const py::object& a, const py::object& b) {
  if (a.is(b)) return true;
  if (Py_TYPE(a.ptr()) != Py_TYPE(b.ptr())) return false;
  if (PyLong_CheckExact(a.ptr())) return PyObject_RichCompareBool(a.ptr(), b.ptr(), Py_EQ) == 1;
  return std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(a.ptr())) ==
         std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(b.ptr()));
}

// Whether the same object always asks for the same type. (A class or an object of the caller's may
// have an attribute `dtype`, which may change.)
bool is_fixed_dtype(const py::object& dtype) {
  if (dtype.is_none() || py::isinstance<py::dtype>(dtype) || PyUnicode_CheckExact(dtype.ptr()))
    return true;
  // NumPy's scalar types, unlike those of a `class` statement, are fixed.
  return PyType_CheckExact(dtype.ptr()) &&
         (reinterpret_cast<PyTypeObject*>(dtype.ptr())->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0;
}

// Options, and what the latest calls with them were prepared for: in a loop over arrays of a few
// shapes, as over the layers of a network, a call costs no planning.
class Spec {
 public:
  explicit Spec(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }

  py::array convolve(const py::object& x, const py::object& w, const py::object& bias,
                     const py::object& fill_value, const py::object& dtype, const py::object& out) {
    const Given given{as_array("x", x), as_array("w", w), as_bias(bias)};
    const KernelTable& kernels = active_kernels();
    const int threads = max_threads();
    const bool fixed = is_fixed_dtype(dtype) && is_fixed_number(fill_value);
    std::shared_ptr<const Prepared> prepared;
    if (fixed) {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const Call& call : latest_) {
        if (call.prepared && dtype.is(call.dtype) && is_same_number(fill_value, call.fill_value) &&
            call.prepared->serves(given, kernels, threads)) {
          prepared = call.prepared;
          break;
        }
      }
    }
    if (!prepared) {
      prepared = prepare(options_, given, fill_value, dtype, kernels, threads, Packing::each_call);
      if (fixed) {
        const std::lock_guard<std::mutex> lock(mutex_);
        latest_[next_] = {dtype, fill_value, prepared};
        next_ = (next_ + 1) % latest_.size();
      }
    }
    return execute(options_, *prepared, given.x, as_parameters(given, prepared->types), nullptr,
                   out);
  }

 private:
  struct Call {
    py::object dtype, fill_value;
    std::shared_ptr<const Prepared> prepared;
  };

  const Options options_;
  std::mutex mutex_;
  std::array<Call, 4> latest_;
  std::size_t next_ = 0;
};

// An array that has a shape and a type and no memory of its own.
py::array described_array(const py::object& dtype, const Shape& shape) {
  const py::dtype type = py::dtype::from_args(dtype);
  for (const std::int64_t n : shape)
    if (n < 0) throw py::value_error("a shape must not be negative; got " + to_string(shape));
  static const std::int64_t nothing[2] = {0, 0};
  return py::array(type, shape, contiguous_strides(shape, type.itemsize()), nothing,
                   py::capsule(nothing, [](void*) {}));
}

py::dict describe(const Prepared& prepared, const Weights& w) {
  const Plan& plan = prepared.plan->suited_to(w);
  const Problem& p = plan.problem();
  const Shape& x_shape = prepared.x_shape;
  py::list candidates;
  for (const Verdict& v : plan.verdicts())
    candidates.append(py::make_tuple(std::string(name_of(v.algorithm)) + " (" + v.kernel + ")",
                                     v.chosen, v.reason));
  const double products = static_cast<double>(p.batch) * static_cast<double>(p.groups) *
                          static_cast<double>(p.out_channels) *
                          static_cast<double>(p.out_pixels()) * static_cast<double>(p.terms());
  double x_bytes = size_of(p.x_type) * (p.complex ? 2.0 : 1.0);
  for (const std::int64_t n : x_shape) x_bytes *= static_cast<double>(n);
  const Shape& y_shape = prepared.y_shape;
  double y_bytes = size_of(p.y_type) * (p.complex ? 2.0 : 1.0);
  for (const std::int64_t n : y_shape) y_bytes *= static_cast<double>(n);
  const auto whole = [](double v) {
    return py::reinterpret_steal<py::object>(PyLong_FromDouble(v));
  };

  py::dict d;
  d["algorithm"] = name_of(plan.chosen().algorithm);
  d["kernel"] = plan.chosen().kernel;
  d["candidates"] = candidates;
  d["isa"] = plan.kernels().name;
  d["threads"] = plan.workers();
  d["flops"] = whole(2 * products);
  d["bytes"] = whole(x_bytes + y_bytes + static_cast<double>(plan.packed_bytes()));
  d["scratch_bytes_per_thread"] = plan.scratch_bytes_per_worker();
  d["packed_bytes"] = plan.packed_bytes();
  d["output_shape"] = py::tuple(py::cast(y_shape));
  d["compute_dtype"] = py::str(prepared.types.compute_dtype);
  return d;
}

py::dict explain(const Spec& spec, const py::object& x, const py::object& w, const py::object& bias,
                 const py::object& fill_value, const py::object& dtype) {
  const Given given{as_array("x", x), as_array("w", w), as_bias(bias)};
  const auto prepared = prepare(spec.options(), given, fill_value, dtype, active_kernels(),
                                max_threads(), Packing::each_call);
  const Parameters parameters = as_parameters(given, prepared->types);
  return describe(*prepared, weights_of(parameters.w, spec.options()));
}

// Weights bound to options: packed once for each order that some call needs, plans remembered for
// the last few shapes.
class Layer {
 public:
  Layer(std::shared_ptr<Spec> spec, const py::object& w, const py::object& bias,
        const py::object& fill_value, const py::object& dtype)
      : spec_(std::move(spec)),
        w_(as_array("w", w).attr("copy")("C").cast<py::array>()),
        bias_(as_bias(bias)),
        fill_value_(own_copy(fill_value)),
        dtype_(dtype.is_none() ? dtype : as_dtype(dtype)) {
    const Options& options = spec_->options();
    element_type("w", w_.dtype());
    if (!dtype_.is_none()) element_type("dtype", dtype_.cast<py::dtype>());
    if (w_.ndim() != options.rank + 2 || w_.size() == 0)
      throw py::value_error("w must have " + std::to_string(options.rank + 2) +
                            " dimensions, none of size 0; got shape " + to_string(shape_of(w_)));
    if (w_.shape(0) % options.groups != 0)
      throw py::value_error("groups must divide the " + std::to_string(w_.shape(0)) +
                            " output channels of w; got groups=" + std::to_string(options.groups));
    if (!bias_) return;
    element_type("bias", bias_->dtype());
    if (bias_->ndim() != 1 || bias_->shape(0) != w_.shape(0))
      throw py::value_error("bias must have shape (" + std::to_string(w_.shape(0)) +
                            ",), one value for each output channel of w; got " +
                            to_string(shape_of(*bias_)));
    bias_ = bias_->attr("copy")("C").cast<py::array>();
  }

  std::shared_ptr<Spec> spec() const { return spec_; }
  Shape weight_shape() const { return shape_of(w_); }

  py::array call(const py::object& x, const py::object& out) {
    const Given given{as_array("x", x), w_, bias_};
    const std::shared_ptr<const Ready> ready = ready_for(given);
    return execute(spec_->options(), *ready->prepared, given.x, ready->parameters,
                   ready->packed->data(), out);
  }

  py::dict explain(const Shape& x_shape, const py::object& x_dtype) const {
    const Given given{described_array(x_dtype, x_shape), w_, bias_};
    const auto prepared = prepare(spec_->options(), given, fill_value_, dtype_, active_kernels(),
                                  max_threads(), Packing::once);
    const Parameters parameters = as_parameters(given, prepared->types);
    return describe(*prepared, weights_of(parameters.w, spec_->options()));
  }

 private:
  // Packed weights, aligned to a cache line.
  class Packed {
   public:
    explicit Packed(std::int64_t bytes) : memory_(new char[static_cast<std::size_t>(bytes) + 64]) {
      if (static_cast<std::size_t>(bytes) >= kLeastHuge)
        prefer_huge_pages(memory_.get(), static_cast<std::size_t>(bytes));
    }
    char* data() const {
      const auto at = reinterpret_cast<std::uintptr_t>(memory_.get());
      return memory_.get() + ((at + 63) / 64 * 64 - at);
    }

   private:
    std::unique_ptr<char[]> memory_;
  };

  struct Ready {
    std::shared_ptr<const Prepared> prepared;
    Parameters parameters;
    std::shared_ptr<const Packed> packed;
  };
  static constexpr std::size_t kRemembered = 8;

  std::shared_ptr<const Ready> ready_for(const Given& given) {
    const KernelTable& kernels = active_kernels();
    const int threads = max_threads();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& ready : ready_)
        if (ready->prepared->serves(given, kernels, threads)) return ready;
    }
    auto made = std::make_shared<Ready>();
    made->prepared =
        prepare(spec_->options(), given, fill_value_, dtype_, kernels, threads, Packing::once);
    made->parameters = as_parameters(given, made->prepared->types);
    const auto planned = made->prepared;
    const auto pack_for = [&](std::shared_ptr<const Plan> plan) {
      auto prepared = std::make_shared<Prepared>(*planned);
      prepared->plan = std::move(plan);
      made->prepared = std::move(prepared);
      made->packed = packed_for(*made);
    };
    if (planned->plan->separated() != nullptr) pack_for(planned->plan->separated());
    if (made->packed == nullptr) pack_for(planned->plan);
    while (made->packed == nullptr)
      pack_for(std::make_shared<const Plan>(made->prepared->plan->in_order()));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ready_.size() == kRemembered) ready_.erase(ready_.begin());
    ready_.push_back(made);
    return made;
  }

  // Those of an earlier shape, where the order is the same. Null where the plan's algorithm does
  // not suit the weights.
  std::shared_ptr<const Packed> packed_for(const Ready& wanted) {
    const Plan& plan = *wanted.prepared->plan;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& ready : ready_)
        if (ready->prepared->plan->packs_like(plan)) return ready->packed;
    }
    auto packed = std::make_shared<Packed>(plan.packed_bytes());
    const bool suits = pack(plan, spec_->options(), wanted.parameters, packed->data());
    return suits ? packed : nullptr;
  }

  const std::shared_ptr<Spec> spec_;
  const py::array w_;
  std::optional<py::array> bias_;
  const py::object fill_value_;
  const py::object dtype_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Ready>> ready_;
};

}  // namespace

void register_convolve(py::module_& module) {
  py::class_<Spec, std::shared_ptr<Spec>>(module, "Spec")
      .def(py::init([](int rank, const std::vector<std::int64_t>& stride, const Padding& padding,
                       const std::vector<std::int64_t>& dilation, std::int64_t groups,
                       const std::string& padding_mode, bool flip, bool channels_last,
                       const std::string& activation, const std::string& algorithm,
                       const std::string& precision, bool saturate, std::int64_t interleave) {
        return std::make_shared<Spec>(make_options(rank, stride, padding, dilation, groups,
                                                   padding_mode, flip, channels_last, activation,
                                                   algorithm, precision, saturate, interleave));
      }));
  py::class_<Layer>(module, "Plan")
      .def(py::init<std::shared_ptr<Spec>, const py::object&, const py::object&, const py::object&,
                    const py::object&>())
      .def("__call__", &Layer::call)
      .def("explain", &Layer::explain)
      .def_property_readonly("weight_shape",
                             [](const Layer& l) { return py::tuple(py::cast(l.weight_shape())); })
      .def_property_readonly("spec", &Layer::spec);
  module.def("conv", &Spec::convolve);
  module.def("explain", &explain);
}

}  // namespace fastconv::bindings
