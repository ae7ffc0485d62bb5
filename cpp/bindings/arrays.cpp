#include "bindings/arrays.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "bindings/options.hpp"
#include "runtime/result_memory.hpp"

namespace fastconv::bindings {
namespace {

// NumPy's type numbers, which are part of its ABI.
enum TypeNumber {
  kFloat = 11,
  kDouble = 12,
  kComplexFloat = 14,
  kComplexDouble = 15,
  kFirstInteger = 1,
  kLastInteger = 10,
  kHalf = 23,
  kFirstUserType = 256,
};

bool try_element_type(const py::dtype& dtype, ElementType& type) {
  const int number = dtype.num();
  if (number >= kFirstInteger && number <= kLastInteger) {
    const bool is_signed = dtype.kind() == 'i';
    switch (dtype.itemsize()) {
      case 1:
        type = {is_signed ? DType::i8 : DType::u8, false};
        return true;
      case 2:
        type = {is_signed ? DType::i16 : DType::u16, false};
        return true;
      case 4:
        type = {is_signed ? DType::i32 : DType::u32, false};
        return true;
      default:
        type = {is_signed ? DType::i64 : DType::u64, false};
        return true;
    }
  }
  switch (number) {
    case kHalf:
      type = {DType::f16, false};
      return true;
    case kFloat:
      type = {DType::f32, false};
      return true;
    case kDouble:
      type = {DType::f64, false};
      return true;
    case kComplexFloat:
      type = {DType::f32, true};
      return true;
    case kComplexDouble:
      type = {DType::f64, true};
      return true;
    default:
      break;
  }
  if (number >= kFirstUserType && dtype.itemsize() == 2 &&
      py::cast<std::string>(dtype.attr("name")) == "bfloat16") {
    type = {DType::bf16, false};
    return true;
  }
  return false;
}

Compute compute_of(ElementType y) {
  switch (y.real) {
    case DType::f64:
      return Compute::f64;
    case DType::f16:
    case DType::bf16:
    case DType::f32:
      return Compute::f32;
    case DType::i64:
    case DType::u64:
      return Compute::i64;
    default:
      return Compute::i32;
  }
}

int compute_number(Compute compute, bool complex) {
  switch (compute) {
    case Compute::f32:
      return complex ? kComplexFloat : kFloat;
    case Compute::f64:
      return complex ? kComplexDouble : kDouble;
    case Compute::i32:
      return py::dtype::of<std::int32_t>().num();
    default:
      return py::dtype::of<std::int64_t>().num();
  }
}

py::module_ numpy() { return py::module_::import("numpy"); }

bool can_cast(const py::dtype& from, const py::dtype& to) {
  return numpy().attr("can_cast")(from, to, "same_kind").cast<bool>();
}

bool is_native(const py::dtype& dtype) {
  const char order = dtype.byteorder();
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return order != '<';
#else
  return order != '>';
#endif
}

bool is_aligned(const py::array& array) {
  return (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// What the image face computes in: integers of sixteen bits and less are exact in float32.
Compute saturating_compute(ElementType x) {
  const bool narrow = is_float(x.real) ? x.real != DType::f64 : size_of(x.real) <= 2;
  return narrow ? Compute::f32 : Compute::f64;
}

void check_activation(const Options& options, const Types& types) {
  if (options.activation == Activation::none) return;
  if (types.y.complex)
    throw py::type_error("activation must be None for a complex result (" + text_of(types.result) +
                         "); got '" + name_of(options.activation) + "'");
  if (!is_float(types.y.real) && options.activation != Activation::relu &&
      options.activation != Activation::relu6)
    throw py::type_error("activation must be None, 'relu' or 'relu6' for an integer result (" +
                         text_of(types.result) + "); got '" + name_of(options.activation) + "'");
}

// First and one-past-last byte that an array's elements cover.
std::pair<const char*, const char*> extent(const py::array& array) {
  const char* low = static_cast<const char*>(array.data());
  const char* high = low + array.itemsize();
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.shape(i) == 0) return {low, low};
    const py::ssize_t reach = (array.shape(i) - 1) * array.strides(i);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool may_overlap(const py::array& a, const py::array& b) {
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

// Two elements of one array in one place: no axis may step less than those inside it reach.
bool overlaps_itself(const py::array& array) {
  std::vector<std::pair<py::ssize_t, py::ssize_t>> axes;  // (step, length)
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.shape(i) == 0) return false;
    if (array.shape(i) > 1) axes.emplace_back(std::abs(array.strides(i)), array.shape(i));
  }
  std::sort(axes.begin(), axes.end());
  py::ssize_t reach = array.itemsize();
  for (const auto& [step, length] : axes) {
    if (step < reach) return true;
    reach = step * (length - 1) + reach;
  }
  return false;
}

}  // namespace

std::string text_of(const py::handle& object) {
  std::string text = py::str(object);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

void throw_no_memory(const std::string& message) {
  PyErr_SetString(PyExc_MemoryError, message.c_str());
  throw py::error_already_set();
}

py::dtype as_dtype(const py::object& dtype) {
  try {
    return py::dtype::from_args(dtype);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    py::raise_from(
        error, PyExc_TypeError,
        ("dtype must be a NumPy dtype or the name of one; got " + text_of(py::repr(dtype)))
            .c_str());
    throw py::error_already_set();
  }
}

ElementType element_type(const char* argument, const py::dtype& dtype) {
  ElementType type{};
  if (!try_element_type(dtype, type))
    throw py::type_error(std::string(argument) +
                         " must be of integers, floats or complex numbers (float16 to float64, "
                         "bfloat16, complex64, complex128, 8 to 64 bit integers); got dtype " +
                         text_of(dtype));
  return type;
}

Types resolve_types(const py::dtype& x, const py::dtype& w, const py::object& dtype,
                    const Options& options) {
  Types types;
  const ElementType x_type = element_type("x", x);
  element_type("w", w);
  if (x.num() == w.num() && dtype.is_none()) {
    types.result = is_native(x) ? x : x.attr("newbyteorder")("=").cast<py::dtype>();
  } else {
    const py::dtype natural = numpy().attr("result_type")(x, w).cast<py::dtype>();
    types.result = natural;
    if (!dtype.is_none()) {
      types.result = as_dtype(dtype).attr("newbyteorder")("=").cast<py::dtype>();
      if (!options.saturate && !can_cast(natural, types.result))
        throw py::type_error(
            "dtype must be one that x and w can be cast to by NumPy's rule "
            "\"same_kind\", from " +
            text_of(natural) + "; got " + text_of(types.result));
    }
  }
  types.y = element_type("dtype", types.result);
  types.compute = compute_of(types.y);
  if (options.saturate) {
    if (is_float(types.y.real) || x_type.complex)
      throw py::type_error("a saturating result must be of integers; got " + text_of(types.result));
    types.compute = saturating_compute(x_type);
  }
  check_activation(options, types);
  const int number = compute_number(types.compute, types.y.complex);
  types.compute_dtype = types.result.num() == number ? types.result : py::dtype(number);
  types.cast_x = types.y.complex && !x_type.complex;
  return types;
}

py::array as_array(const char* argument, const py::object& value) {
  if (py::isinstance<py::array>(value)) return py::reinterpret_borrow<py::array>(value);
  try {
    auto& api = py::detail::npy_api::get();
    PyObject* const array = api.PyArray_FromAny_(
        value.ptr(), nullptr, 0, 0, py::detail::npy_api::NPY_ARRAY_ENSUREARRAY_, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(array);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ValueError)) throw;
    py::raise_from(
        error, PyExc_ValueError,
        (std::string(argument) + " must be an array or what NumPy can make one of").c_str());
    throw py::error_already_set();
  }
}

bool is_readable(const py::array& x, const Types& types) {
  return !types.cast_x && is_native(x.dtype()) && is_aligned(x);
}

py::array readable_copy(const py::array& x, const Types& types) {
  const py::object dtype = types.cast_x ? py::object(types.compute_dtype)
                                        : py::object(x.dtype().attr("newbyteorder")("="));
  return x.attr("astype")(dtype, "C").cast<py::array>();
}

Strides contiguous_strides(const Shape& shape, std::int64_t element) {
  Strides strides(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = element;
    element *= std::max<std::int64_t>(shape[i], 1);
  }
  return strides;
}

namespace {

// Memory of the library's own (runtime/result_memory.hpp).
void* result_memory(const py::dtype& dtype, const Shape& shape, std::size_t bytes) {
  try {
    return acquire_result(bytes);
  } catch (const std::bad_alloc&) {
    throw_no_memory("there is no memory for the result, of shape " + to_string(shape) +
                    " and dtype " + text_of(dtype) + ": " + std::to_string(bytes) + " bytes");
  }
}

py::array aligned_array(const py::dtype& dtype, const Shape& shape, std::size_t bytes) {
  struct Result {
    void* data;
    std::size_t bytes;
  };
  auto result = std::make_unique<Result>(Result{result_memory(dtype, shape, bytes), bytes});
  const py::capsule owner(result.get(), [](void* p) {
    const std::unique_ptr<Result> owned(static_cast<Result*>(p));
    release_result(owned->data, owned->bytes);
  });
  const Result& memory = *result.release();
  return py::array(dtype, shape, contiguous_strides(shape, dtype.itemsize()), memory.data, owner);
}

}  // namespace

py::array empty_array(const py::dtype& dtype, const Shape& shape) {
  std::size_t bytes = static_cast<std::size_t>(dtype.itemsize());
  for (const std::int64_t n : shape) bytes *= static_cast<std::size_t>(n);
  if (bytes >= kLeastResultAligned) return aligned_array(dtype, shape, bytes);
  // NumPy's own allocation: a py::array of a shape would compute and re-check the strides.
  auto& api = py::detail::npy_api::get();
  const std::vector<py::ssize_t> lengths(shape.begin(), shape.end());
  py::object array = py::reinterpret_steal<py::object>(api.PyArray_NewFromDescr_(
      api.PyArray_Type_, dtype.inc_ref().ptr(), static_cast<int>(lengths.size()), lengths.data(),
      nullptr, nullptr, 0, nullptr));
  if (!array) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(array.release());
}

py::array as_native(const py::array& array) {
  if (is_native(array.dtype()) && is_aligned(array)) return array;
  return array.attr("astype")(array.dtype().attr("newbyteorder")("="), "C").cast<py::array>();
}

py::array as_dense(const py::array& array, const py::dtype& dtype) {
  if (array.dtype().num() == dtype.num() && is_native(array.dtype()) && is_aligned(array) &&
      (array.shape(0) <= 1 || array.strides(0) == array.itemsize()))
    return array;
  return array.attr("astype")(dtype, "C").cast<py::array>();
}

Shape shape_of(const py::array& array) {
  return Shape(array.shape(), array.shape() + array.ndim());
}

Tensor tensor_of(const void* data, const py::ssize_t* stride, const Shape& shape,
                 const Options& options, ElementType type) {
  Tensor t;
  t.data = static_cast<char*>(const_cast<void*>(data));
  if (static_cast<int>(shape.size()) == options.rank + 2) t.batch = *stride++;
  if (!options.channels_last) t.channel = *stride++;
  for (int a = 3 - options.rank; a < 3; ++a) t.axis[a] = *stride++;
  // NumPy gives the axis of one channel any stride, as in a transposed view of planes.
  if (options.channels_last) t.channel = shape.back() == 1 ? bytes_of(type) : *stride;
  if (type.complex) t.part = size_of(type.real);
  return t;
}

Weights weights_of(const py::array& w, const Options& options) {
  const ElementType type = element_type("w", w.dtype());
  Weights v;
  v.data = static_cast<const char*>(w.data());
  v.type = type.real;
  v.out = w.strides(0);
  v.in = w.strides(1);
  for (int i = 0; i < options.rank; ++i) v.axis[3 - options.rank + i] = w.strides(2 + i);
  if (type.complex) v.part = size_of(type.real);
  return v;
}

std::array<Scalar, 2> fill_of(const py::object& value, const Types& types) {
  std::array<Scalar, 2> fill{};
  if (PyLong_CheckExact(value.ptr()) && PyObject_IsTrue(value.ptr()) == 0) return fill;
  const py::array given = as_array("fill_value", value);
  const ElementType type = element_type("fill_value", given.dtype());
  if (given.size() != 1)
    throw py::type_error("fill_value must be one number; got an array of shape " +
                         to_string(shape_of(given)));
  if (type.complex && !types.y.complex)
    throw py::type_error("fill_value must be real for a real result; got " + text_of(value));
  py::array rounded = given;
  if (is_float(type.real) && !is_float(types.compute)) {
    const double real = given.attr("item")().cast<double>();
    if (!(real >= -0x1p63 && real < 0x1p63))
      throw py::value_error("fill_value must fit in int64 for an integer result; got " +
                            text_of(value));
    // NumPy wraps integers alone: what a float too large for int32 becomes depends on the
    // processor.
    rounded = given.attr("astype")(py::dtype::of<std::int64_t>()).cast<py::array>();
  } else if (is_float(types.y.real) && size_of(types.y.real) == 2) {
    rounded = given.attr("astype")(types.result).cast<py::array>();
  }
  const py::array cast = rounded.attr("astype")(types.compute_dtype).cast<py::array>();
  const std::size_t part = size_of(types.compute);
  std::memcpy(&fill[0], cast.data(), part);
  if (types.y.complex) std::memcpy(&fill[1], static_cast<const char*>(cast.data()) + part, part);
  return fill;
}

void check_out(const py::object& out, const Types& types, const Shape& shape) {
  if (out.is_none()) return;
  if (!py::isinstance<py::array>(out))
    throw py::type_error("out must be a numpy.ndarray; got " + text_of(py::type::of(out)));
  const py::array array = py::reinterpret_borrow<py::array>(out);
  if (shape_of(array) != shape)
    throw py::value_error("out must have the shape of the result, " + to_string(shape) + "; got " +
                          to_string(shape_of(array)));
  ElementType type{};
  if (!try_element_type(array.dtype(), type) || type.real != types.y.real ||
      type.complex != types.y.complex)
    throw py::value_error("out must have the dtype of the result, " + text_of(types.result) +
                          "; got " + text_of(array.dtype()));
  if (!array.writeable()) throw py::value_error("out must be writeable; it is read-only");
  if (overlaps_itself(array))
    throw py::value_error("out must not overlap itself; got shape " + to_string(shape) +
                          " with strides " +
                          to_string(Shape(array.strides(), array.strides() + array.ndim())));
}

bool is_writable_in_place(const py::array& out, const py::array& x, const py::array& w,
                          const std::optional<py::array>& bias) {
  if (!is_native(out.dtype()) || !is_aligned(out)) return false;
  return !may_overlap(out, x) && !may_overlap(out, w) && !(bias && may_overlap(out, *bias));
}

}  // namespace fastconv::bindings
