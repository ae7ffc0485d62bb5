// NumPy arrays to what the engine reads: element types, strided views, results.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>

#include "core/problem.hpp"
#include "core/validate.hpp"

namespace fastconv::bindings {

namespace py = pybind11;

struct ElementType {
  DType real;  // of one real number
  bool complex;
};

inline std::int64_t bytes_of(ElementType type) {
  return size_of(type.real) * (type.complex ? 2 : 1);
}

// The types of one call.
struct Types {
  py::dtype result;
  ElementType y;
  Compute compute;
  py::dtype compute_dtype;  // NumPy's name of the type that everything is computed in
  bool cast_x;              // x must be cast to compute_dtype first: a real x of a complex result
};

// A numeric dtype of either byte order. Throws TypeError that names `argument`.
ElementType element_type(const char* argument, const py::dtype& dtype);

// `dtype` is None or what the caller gave; `saturate` is the image face's rule.
Types resolve_types(const py::dtype& x, const py::dtype& w, const py::object& dtype,
                    const Options& options);

// The type that a caller's `dtype` names. Throws TypeError that names the argument.
py::dtype as_dtype(const py::object& dtype);

// Raises MemoryError.
[[noreturn]] void throw_no_memory(const std::string& message);

// str(object), cut short.
std::string text_of(const py::handle& object);

// Any array-like as an ndarray; numbers of foreign types raise TypeError that names `argument`.
py::array as_array(const char* argument, const py::object& value);

// Whether the engine can read x as it lies: native byte order, aligned, no cast needed first.
bool is_readable(const py::array& x, const Types& types);

// A C-contiguous copy that it can read.
py::array readable_copy(const py::array& x, const Types& types);

using Strides = std::vector<py::ssize_t>;

// Byte strides of a C-contiguous array.
Strides contiguous_strides(const Shape& shape, std::int64_t element);

// An uninitialised C-contiguous array.
py::array empty_array(const py::dtype& dtype, const Shape& shape);

// An array itself where it is aligned and of native byte order, else a copy that is.
py::array as_native(const py::array& array);

// A 1-D array as a dense one of another type.
py::array as_dense(const py::array& array, const py::dtype& dtype);

Shape shape_of(const py::array& array);

// The view of an array with or without a batch, from its byte strides.
Tensor tensor_of(const void* data, const py::ssize_t* strides, const Shape& shape,
                 const Options& options, ElementType type);
Weights weights_of(const py::array& w, const Options& options);

// The fill value in the compute type: real and imaginary part.
std::array<Scalar, 2> fill_of(const py::object& value, const Types& types);

// Throws where the result cannot be written to `out`; None is allowed.
void check_out(const py::object& out, const Types& types, const Shape& shape);

// True where the engine can write `out` directly while it reads the inputs.
bool is_writable_in_place(const py::array& out, const py::array& x, const py::array& w,
                          const std::optional<py::array>& bias);

}  // namespace fastconv::bindings
