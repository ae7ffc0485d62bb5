#include "plan/one_row.hpp"

namespace fastconv {
namespace {

std::int64_t element_of(const Problem& problem, DType type) {
  return size_of(type) * (problem.complex ? 2 : 1);
}

bool is_pointwise(const Axis& axis) {
  return axis.kernel == 1 && axis.stride == 1 && axis.lo == 0 && axis.hi == 0 &&
         axis.interleave == 1;
}

// The first axis from which on a tensor is one row of elements without gaps.
int first_of_row(const Problem& problem, const Tensor& tensor, std::int64_t element) {
  std::int64_t pitch = element;
  int first = 3;
  while (first > 0) {
    const Axis& axis = problem.axis[first - 1];
    if (!is_pointwise(axis) || (axis.in != 1 && tensor.axis[first - 1] != pitch)) break;
    pitch *= axis.in;
    --first;
  }
  return first;
}

}  // namespace

int first_of_row(const Problem& problem, const Tensor& x) {
  // The output will have channels between its pixels.
  if (problem.channels_last && problem.groups * problem.out_channels > 1) return 2;
  const int first = first_of_row(problem, x, element_of(problem, problem.x_type));
  return first < 2 ? first : 2;
}

bool is_one_row(const Problem& problem, const Tensor& y, int first) {
  return first == 2 || first_of_row(problem, y, element_of(problem, problem.y_type)) <= first;
}

Problem with_one_row(const Problem& problem, int first) {
  Problem merged = problem;
  if (first == 2) return merged;
  Axis& row = merged.axis[2];
  for (int a = first; a < 2; ++a) {
    row.in *= problem.axis[a].in;
    row.out *= problem.axis[a].out;
    merged.axis[a] = Axis{};
  }
  row.dilation = 1;
  return merged;
}

Tensor with_one_row(const Problem& problem, const Tensor& tensor, DType type, int first) {
  Tensor merged = tensor;
  for (int a = first; first < 2 && a < 3; ++a) merged.axis[a] = element_of(problem, type);
  return merged;
}

}  // namespace fastconv
