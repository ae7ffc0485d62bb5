// NumPy arrays to what the engine reads: element types, strided views, results.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>

#include "core/problem.hpp"
#include "core/validate.hpp"

namespace fastconv::bindings {

namespace py = pybind11;

struct ElementType {
  DType real;    // of one real number
  bool complex;
};

// The types of one call.
struct Types {
  py::dtype result;
  ElementType y;
  Compute compute;
  py::dtype compute_dtype;  // NumPy's name of the type that weights and bias are cast to
  bool cast_x;              // x must be cast to compute_dtype first: a real x of a complex result
};

// A numeric dtype of either byte order. Throws TypeError that names `argument`.
ElementType element_type(const char* argument, const py::dtype& dtype);

// `dtype` is None or what the caller gave; `saturate` is the image face's rule.
Types resolve_types(const py::dtype& x, const py::dtype& w, const py::object& dtype,
                    const Options& options);

// Any array-like as an ndarray; numbers of foreign types raise TypeError that names `argument`.
py::array as_array(const char* argument, const py::object& value);

// x itself where the engine can read it, else a copy: native byte order, aligned.
py::array readable(const py::array& x, const Types& types);

// w or bias as an aligned array of the compute type.
py::array as_operand(const py::array& array, const Types& types);

Shape shape_of(const py::array& array);

// Views of canonical arrays with or without a batch.
Tensor tensor_of(const py::array& array, const Options& options, ElementType type);
Weights weights_of(const py::array& w, const Options& options, bool complex);

// The fill value in the compute type: real and imaginary part.
std::array<Scalar, 2> fill_of(const py::object& value, const Types& types);

// Throws where the result cannot be written to `out`; None is allowed.
void check_out(const py::object& out, const Types& types, const Shape& shape);

// True where the engine can write `out` directly while it reads the inputs.
bool is_writable_in_place(const py::array& out, const py::array& x, const py::array& w,
                          const std::optional<py::array>& bias);

}  // namespace fastconv::bindings
