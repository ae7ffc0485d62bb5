#include "bindings/convolve.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "kernels/dispatch.hpp"
#include "plan/plan.hpp"
#include "runtime/float_status.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv::bindings {
namespace {

template <class T, std::size_t N>
T named(const char* argument, const std::string& name,
        const std::pair<const char*, T> (&choices)[N]) {
  for (const auto& [key, value] : choices)
    if (name == key) return value;
  throw py::value_error(std::string(argument) + " is unknown: '" + name.substr(0, 64) + "'");
}

constexpr std::pair<const char*, Border> kBorders[] = {{"constant", Border::constant},
                                                       {"reflect", Border::reflect},
                                                       {"symmetric", Border::symmetric},
                                                       {"edge", Border::edge},
                                                       {"wrap", Border::wrap}};
constexpr std::pair<const char*, Activation> kActivations[] = {
    {"none", Activation::none},   {"relu", Activation::relu},
    {"relu6", Activation::relu6}, {"leaky_relu", Activation::leaky_relu},
    {"tanh", Activation::tanh},   {"sigmoid", Activation::sigmoid},
    {"silu", Activation::silu}};
constexpr std::pair<const char*, Algorithm> kAlgorithms[] = {{"auto", Algorithm::automatic},
                                                             {"direct", Algorithm::direct},
                                                             {"im2col", Algorithm::im2col},
                                                             {"reference", Algorithm::reference}};
constexpr std::pair<const char*, Precision> kPrecisions[] = {{"highest", Precision::highest},
                                                             {"high", Precision::high},
                                                             {"medium", Precision::medium}};
constexpr std::pair<const char*, PaddingRule> kPaddingRules[] = {
    {"same", PaddingRule::same}, {"same_lower", PaddingRule::same_lower}};

std::array<std::int64_t, 3> per_axis(const char* argument, int rank,
                                     const std::vector<std::int64_t>& values,
                                     std::int64_t absent) {
  if (static_cast<int>(values.size()) != rank)
    throw py::value_error(std::string(argument) + " must have one value for each spatial axis");
  std::array<std::int64_t, 3> full = {absent, absent, absent};
  for (int i = 0; i < rank; ++i) full[3 - rank + i] = values[i];
  return full;
}

using Padding = std::variant<std::string, std::vector<std::pair<std::int64_t, std::int64_t>>>;

Options make_options(int rank, const std::vector<std::int64_t>& stride, const Padding& padding,
                     const std::vector<std::int64_t>& dilation, std::int64_t groups,
                     const std::string& padding_mode, bool flip, bool channels_last,
                     const std::string& activation, const std::string& algorithm,
                     const std::string& precision, bool saturate) {
  Options o;
  o.rank = rank;
  if (rank < 1 || rank > 3) validate_options(o);
  o.stride = per_axis("stride", rank, stride, 1);
  o.dilation = per_axis("dilation", rank, dilation, 1);
  if (const auto* rule = std::get_if<std::string>(&padding)) {
    o.padding = named("padding", *rule, kPaddingRules);
  } else {
    std::vector<std::int64_t> lo, hi;
    for (const auto& [before, after] : std::get<1>(padding)) {
      lo.push_back(before);
      hi.push_back(after);
    }
    o.lo = per_axis("padding", rank, lo, 0);
    o.hi = per_axis("padding", rank, hi, 0);
  }
  o.groups = groups;
  o.border = named("padding_mode", padding_mode, kBorders);
  o.activation = named("activation", activation, kActivations);
  o.algorithm = named("algorithm", algorithm, kAlgorithms);
  o.precision = named("precision", precision, kPrecisions);
  o.flip = flip;
  o.channels_last = channels_last;
  o.saturate = saturate;
  validate_options(o);
  return o;
}

// Called by worker 0, which holds no GIL: true when a signal's handler raised (Ctrl-C).
bool signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void set_types(Problem& problem, const Types& types, ElementType x) {
  problem.x_type = types.cast_x ? types.y.real : x.real;
  problem.y_type = types.y.real;
  problem.compute = types.compute;
  problem.complex = types.y.complex;
  if (problem.complex) {
    problem.in_channels *= 2;
    problem.out_channels *= 2;
  }
}

// Weights and bias of a call, checked and in the compute type.
struct Parameters {
  py::array w;
  std::optional<py::array> bias;
};

Parameters as_parameters(const py::array& w, const std::optional<py::array>& bias,
                         const Types& types) {
  Parameters p{as_operand(w, types), std::nullopt};
  if (!bias) return p;
  const ElementType type = element_type("bias", bias->dtype());
  if ((type.complex && !types.y.complex) ||
      (is_float(type.real) && !is_float(types.compute)))
    throw py::type_error("bias must be of a kind that can be cast to the result's; got " +
                         py::cast<std::string>(py::str(bias->dtype())) + " for " +
                         py::cast<std::string>(py::str(types.result)));
  p.bias = as_operand(*bias, types);
  if (p.bias->shape(0) > 1 && p.bias->strides(0) != p.bias->itemsize())
    p.bias = p.bias->attr("copy")().cast<py::array>();
  return p;
}

// The array that the engine writes and the one that the caller gets.
struct Result {
  py::array target;
  py::array returned;

  Result(const py::object& out, const Types& types, const Shape& shape, const py::array& x,
         const Parameters& parameters) {
    if (!out.is_none()) {
      returned = py::reinterpret_borrow<py::array>(out);
      target = returned;
      if (is_writable_in_place(returned, x, parameters.w, parameters.bias)) return;
    }
    target = py::array(types.result, shape);
    if (out.is_none()) returned = target;
  }

  py::array finish() {
    if (target.ptr() != returned.ptr()) returned[py::ellipsis()] = target;
    return returned;
  }
};

// Runs with the GIL released. `packed` is null where the weights are packed into scratch first.
void execute(const Plan& plan, Operands operands, const Weights* weights) {
  Interrupt interrupt(&signal_pending);
  bool finished;
  {
    const py::gil_scoped_release release;
    const FloatStatus status;
    const std::size_t packed_bytes =
        weights == nullptr ? 0 : static_cast<std::size_t>((plan.packed_bytes() + 63) / 64 * 64);
    const Scratch scratch =
        Scratch::acquire(packed_bytes + static_cast<std::size_t>(plan.scratch_bytes()));
    if (weights != nullptr) {
      plan.pack(*weights, scratch.data());
      operands.packed = scratch.data();
    }
    finished = plan.run(operands, scratch.data() + packed_bytes, interrupt);
  }
  if (!finished) throw py::error_already_set();
}

py::array convolve(const Options& options, const py::object& x_object, const py::object& w_object,
                   const py::object& bias_object, const py::object& fill_value,
                   const py::object& dtype, const py::object& out) {
  const py::array x_given = as_array("x", x_object), w = as_array("w", w_object);
  std::optional<py::array> bias;
  if (!bias_object.is_none()) bias = as_array("bias", bias_object);
  const Shape x_shape = shape_of(x_given), bias_shape = bias ? shape_of(*bias) : Shape{};
  const py::dtype x_dtype = x_given.dtype();
  const Types types = resolve_types(x_dtype, w.dtype(), dtype, options);
  Problem problem =
      make_problem(options, x_shape, shape_of(w), bias ? &bias_shape : nullptr);
  set_types(problem, types, element_type("x", x_dtype));
  problem.fill = fill_of(fill_value, types);
  const Shape y_shape = output_shape(options, problem, x_shape, types.y.complex);
  check_out(out, types, y_shape);

  const Parameters parameters = as_parameters(w, bias, types);
  const py::array x = readable(x_given, types);
  Result result(out, types, y_shape, x, parameters);
  if (problem.batch == 0) return result.finish();

  Operands operands;
  operands.x = tensor_of(x, options, {problem.x_type, problem.complex});
  operands.y = tensor_of(result.target, options, types.y);
  if (parameters.bias) operands.bias = parameters.bias->data();
  const Weights weights = weights_of(parameters.w, options, problem.complex);
  const Plan plan(problem, operands.x, active_kernels(), max_threads());
  execute(plan, operands, &weights);
  return result.finish();
}

py::dict describe(const Plan& plan, const Options& options, const Types& types,
                  const Shape& x_shape) {
  const Problem& p = plan.problem();
  py::list candidates;
  for (const Verdict& v : plan.verdicts())
    candidates.append(py::make_tuple(std::string(v.name) + " (" + v.kernel + ")", v.chosen,
                                     v.reason));
  const double products = static_cast<double>(p.batch) * static_cast<double>(p.groups) *
                          static_cast<double>(p.out_channels) *
                          static_cast<double>(p.out_pixels()) * static_cast<double>(p.terms());
  double x_bytes = size_of(p.x_type) * (p.complex ? 2.0 : 1.0);
  for (const std::int64_t n : x_shape) x_bytes *= static_cast<double>(n);
  const Shape y_shape = output_shape(options, p, x_shape, p.complex);
  double y_bytes = size_of(p.y_type) * (p.complex ? 2.0 : 1.0);
  for (const std::int64_t n : y_shape) y_bytes *= static_cast<double>(n);
  const auto whole = [](double v) { return py::reinterpret_steal<py::object>(PyLong_FromDouble(v)); };

  py::dict d;
  d["algorithm"] = plan.chosen().name;
  d["kernel"] = plan.chosen().kernel;
  d["candidates"] = candidates;
  d["isa"] = plan.kernels().name;
  d["threads"] = plan.workers();
  d["flops"] = whole(2 * products);
  d["bytes"] = whole(x_bytes + y_bytes + static_cast<double>(plan.packed_bytes()));
  d["scratch_bytes_per_thread"] = plan.scratch_bytes_per_worker();
  d["packed_bytes"] = plan.packed_bytes();
  d["output_shape"] = py::tuple(py::cast(y_shape));
  d["compute_dtype"] = py::str(types.compute_dtype);
  return d;
}

// Strides of a C-contiguous x, for plans that are only explained.
Tensor contiguous_tensor(const Options& options, const Problem& p, const Shape& shape) {
  std::int64_t stride = size_of(p.x_type) * (p.complex ? 2 : 1);
  Shape strides(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i] > 0 ? shape[i] : 1;
  }
  Tensor t;
  const std::int64_t* at = strides.data();
  if (static_cast<int>(shape.size()) == options.rank + 2) t.batch = *at++;
  if (!options.channels_last) t.channel = *at++;
  for (int a = 3 - options.rank; a < 3; ++a) t.axis[a] = *at++;
  if (options.channels_last) t.channel = *at++;
  if (p.complex) t.part = size_of(p.x_type);
  return t;
}

py::dict explain(const Options& options, const Shape& x_shape, const py::object& x_dtype,
                 const Shape& w_shape, const py::object& w_dtype, bool has_bias,
                 const py::object& dtype) {
  const py::dtype x = py::dtype::from_args(x_dtype), w = py::dtype::from_args(w_dtype);
  const Types types = resolve_types(x, w, dtype, options);
  const Shape bias_shape = {w_shape.empty() ? 0 : w_shape[0]};
  Problem problem = make_problem(options, x_shape, w_shape, has_bias ? &bias_shape : nullptr);
  set_types(problem, types, element_type("x", x));
  const Plan plan(problem, contiguous_tensor(options, problem, x_shape), active_kernels(),
                  max_threads());
  return describe(plan, options, types, x_shape);
}

// Weights bound to options: packed once for each order that some call needs, plans remembered for
// the last few shapes.
class Layer {
 public:
  Layer(Options options, const py::object& w, const py::object& bias, py::object fill_value,
        py::object dtype)
      : options_(std::move(options)), fill_value_(std::move(fill_value)), dtype_(std::move(dtype)) {
    w_ = as_array("w", w).attr("copy")("C").cast<py::array>();
    element_type("w", w_.dtype());
    if (w_.ndim() != options_.rank + 2 || w_.size() == 0)
      throw py::value_error("w must have " + std::to_string(options_.rank + 2) +
                            " dimensions, none of size 0; got shape " + to_string(shape_of(w_)));
    if (w_.shape(0) % options_.groups != 0)
      throw py::value_error("groups must divide the " + std::to_string(w_.shape(0)) +
                            " output channels of w; got groups=" +
                            std::to_string(options_.groups));
    if (bias.is_none()) return;
    bias_ = as_array("bias", bias).attr("copy")("C").cast<py::array>();
    element_type("bias", bias_->dtype());
    if (bias_->ndim() != 1 || bias_->shape(0) != w_.shape(0))
      throw py::value_error("bias must have shape (" + std::to_string(w_.shape(0)) +
                            ",), one value for each output channel of w; got " +
                            to_string(shape_of(*bias_)));
  }

  const Options& options() const { return options_; }
  Shape weight_shape() const { return shape_of(w_); }

  py::array call(const py::object& x_object, const py::object& out) {
    const py::array x_given = as_array("x", x_object);
    const std::shared_ptr<const Ready> ready = prepare(x_given);
    check_out(out, ready->types, ready->y_shape);
    const py::array x = readable(x_given, ready->types);
    Result result(out, ready->types, ready->y_shape, x, ready->parameters);
    if (ready->plan->problem().batch == 0) return result.finish();
    Operands operands;
    operands.x = tensor_of(x, options_,
                           {ready->plan->problem().x_type, ready->plan->problem().complex});
    operands.y = tensor_of(result.target, options_, ready->types.y);
    operands.packed = ready->packed->data();
    if (ready->parameters.bias) operands.bias = ready->parameters.bias->data();
    execute(*ready->plan, operands, nullptr);
    return result.finish();
  }

  py::dict explain(const Shape& x_shape, const py::object& x_dtype) const {
    return bindings::explain(options_, x_shape, x_dtype, weight_shape(), w_.dtype(),
                             bias_.has_value(), dtype_);
  }

 private:
  struct Packed {
    std::unique_ptr<char[]> memory;
    char* data() const {
      const auto at = reinterpret_cast<std::uintptr_t>(memory.get());
      return memory.get() + ((at + 63) / 64 * 64 - at);
    }
  };

  // Everything a call of one shape, type, kernel table and thread count needs.
  struct Ready {
    Shape shape;
    Shape strides;
    int x_number;
    const KernelTable* kernels;
    int threads;

    Types types;
    Shape y_shape;
    Parameters parameters;
    std::shared_ptr<const Plan> plan;
    std::shared_ptr<const Packed> packed;
  };
  static constexpr std::size_t kRemembered = 8;

  std::shared_ptr<const Ready> prepare(const py::array& x) {
    const KernelTable& kernels = active_kernels();
    const int threads = max_threads();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& ready : ready_)
        if (matches(*ready, x, kernels, threads)) return ready;
    }
    auto made = make(x, kernels, threads);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ready_.size() == kRemembered) ready_.erase(ready_.begin());
    ready_.push_back(made);
    return made;
  }

  static bool matches(const Ready& ready, const py::array& x, const KernelTable& kernels,
                      int threads) {
    const std::size_t ndim = static_cast<std::size_t>(x.ndim());
    return ready.kernels == &kernels && ready.threads == threads && ready.shape.size() == ndim &&
           std::equal(x.shape(), x.shape() + ndim, ready.shape.begin()) &&
           std::equal(x.strides(), x.strides() + ndim, ready.strides.begin()) &&
           ready.x_number == x.dtype().num();
  }

  std::shared_ptr<const Ready> make(const py::array& x, const KernelTable& kernels, int threads) {
    auto ready = std::make_shared<Ready>();
    ready->shape = shape_of(x);
    ready->strides.assign(x.strides(), x.strides() + x.ndim());
    ready->x_number = x.dtype().num();
    ready->kernels = &kernels;
    ready->threads = threads;
    ready->types = resolve_types(x.dtype(), w_.dtype(), dtype_, options_);
    const Shape bias_shape = bias_ ? shape_of(*bias_) : Shape{};
    Problem problem =
        make_problem(options_, ready->shape, shape_of(w_), bias_ ? &bias_shape : nullptr);
    set_types(problem, ready->types, element_type("x", x.dtype()));
    problem.fill = fill_of(fill_value_, ready->types);
    ready->y_shape = output_shape(options_, problem, ready->shape, problem.complex);
    ready->parameters = as_parameters(w_, bias_, ready->types);
    const py::array readable_x = readable(x, ready->types);
    const Tensor tensor =
        tensor_of(readable_x, options_, {problem.x_type, problem.complex});
    ready->plan = std::make_shared<const Plan>(problem, tensor, kernels, threads);
    ready->packed = packed_for(*ready);
    return ready;
  }

  // Packed weights of an earlier shape, where the order is the same.
  std::shared_ptr<const Packed> packed_for(const Ready& wanted) {
    const auto same = [&](const Ready& other) {
      const PanelShape a = other.plan->panels(), b = wanted.plan->panels();
      return other.kernels == wanted.kernels &&
             other.types.compute == wanted.types.compute &&
             other.types.y.complex == wanted.types.y.complex && a.panel == b.panel &&
             a.granule == b.granule;
    };
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& ready : ready_)
        if (same(*ready)) return ready->packed;
    }
    auto packed = std::make_shared<Packed>();
    packed->memory.reset(new char[static_cast<std::size_t>(wanted.plan->packed_bytes()) + 64]);
    wanted.plan->pack(weights_of(wanted.parameters.w, options_, wanted.types.y.complex),
                      packed->data());
    return packed;
  }

  const Options options_;
  py::array w_;
  std::optional<py::array> bias_;
  const py::object fill_value_;
  const py::object dtype_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Ready>> ready_;
};

}  // namespace

void register_convolve(py::module_& module) {
  py::class_<Options>(module, "Spec").def(py::init(&make_options));
  py::class_<Layer>(module, "Plan")
      .def(py::init<const Options&, const py::object&, const py::object&, const py::object&,
                    const py::object&>())
      .def("__call__", &Layer::call)
      .def("explain", &Layer::explain)
      .def_property_readonly("weight_shape",
                             [](const Layer& l) { return py::tuple(py::cast(l.weight_shape())); })
      .def_property_readonly("spec", &Layer::options);
  module.def("conv", &convolve);
  module.def("explain", &explain);
}

}  // namespace fastconv::bindings
