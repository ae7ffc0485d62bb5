#include "core/validate.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/checked.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

std::string text(std::int64_t value) { return std::to_string(value); }

const char* letters(int rank, bool channels_last) {
  if (channels_last) return rank == 1 ? "N, W, C" : rank == 2 ? "N, H, W, C" : "N, D, H, W, C";
  return rank == 1 ? "N, C, W" : rank == 2 ? "N, C, H, W" : "N, C, D, H, W";
}

void check_ranks(const Options& options, const Shape& x, const Shape& w) {
  const std::size_t rank = static_cast<std::size_t>(options.rank);
  if (x.size() != rank + 2 && x.size() != rank + 1)
    fail("x must have " + text(options.rank + 2) + " dimensions (" +
         letters(options.rank, options.channels_last) + "), or " + text(options.rank + 1) +
         " without the batch; got " + text(static_cast<std::int64_t>(x.size())) +
         " dimensions, shape " + to_string(x));
  if (w.size() != rank + 2)
    fail("w must have " + text(options.rank + 2) +
         " dimensions (output channels, input channels / groups, kernel); got shape " +
         to_string(w));
  for (const std::int64_t n : w)
    if (n < 1) fail("w must have no dimension of size 0; got shape " + to_string(w));
}

void check_channels(const Options& options, std::int64_t channels, const Shape& x, const Shape& w,
                    const Shape* bias) {
  const std::int64_t groups = options.groups;
  if (channels < 1) fail("x must have at least one channel; got shape " + to_string(x));
  if (channels % groups != 0)
    fail("groups must divide the " + text(channels) + " channels of x; got groups=" + text(groups));
  if (w[0] % groups != 0)
    fail("groups must divide the " + text(w[0]) +
         " output channels of w; got groups=" + text(groups));
  if (w[1] != channels / groups)
    fail("w.shape[1] must be the channels of x divided by groups, " + text(channels) + " / " +
         text(groups) + " = " + text(channels / groups) + "; got w of shape " + to_string(w) +
         " for x of shape " + to_string(x));
  if (bias != nullptr && (bias->size() != 1 || (*bias)[0] != w[0]))
    fail("bias must have shape (" + text(w[0]) +
         ",), one value for each output channel of w; got " + to_string(*bias));
}

// Padding of one axis that makes the output ceil(in / stride) long.
void set_same(Axis& axis, std::int64_t effective, PaddingRule rule) {
  const std::int64_t out = axis.in == 0 ? 0 : (axis.in - 1) / axis.stride + 1;
  std::int64_t total = 0;
  if (out > 0) {
    // (out - 1) * stride < in and effective < 2^31, so nothing here can overflow.
    total = std::max<std::int64_t>((out - 1) * axis.stride - axis.in + effective, 0);
  }
  const std::int64_t half = total / 2;
  axis.lo = rule == PaddingRule::same ? half : total - half;
  axis.hi = total - axis.lo;
}

// The dilated kernel, dilation * (size - 1) + 1, of one axis.
std::int64_t effective_kernel(const Axis& axis) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (axis.kernel > 1 && axis.dilation > (kMost - 1) / (axis.kernel - 1))
    fail(
        "dilation must leave the dilated kernel, dilation * (size - 1) + 1, below 2**31; got "
        "dilation=" +
        text(axis.dilation) + " for a kernel of size " + text(axis.kernel));
  return axis.span();
}

void set_output(Axis& axis, int number, const Options& options, const Shape& x, const Shape& w) {
  if (axis.in % axis.interleave != 0)
    fail("interleave must divide the last axis of x; got interleave=" + text(axis.interleave) +
         " for x of shape " + to_string(x));
  const std::int64_t effective = effective_kernel(axis);
  if (options.padding != PaddingRule::given) set_same(axis, effective, options.padding);
  if (options.border != Border::constant && axis.in == 0)
    fail("padding_mode must be 'zeros' where x has an axis of size 0; got x of shape " +
         to_string(x));
  if (axis.lo > kLargest - axis.in || axis.hi > kLargest - axis.in - axis.lo)
    fail("padding must leave the padded size of x below 2**63; got padding (" + text(axis.lo) +
         ", " + text(axis.hi) + ") for an axis of size " + text(axis.in));
  const std::int64_t padded = axis.in + axis.lo + axis.hi;
  if (padded < effective)
    fail("the kernel must fit into the padded x: spatial axis " + text(number) + " has size " +
         text(axis.in) + " + padding " + text(axis.lo) + " + " + text(axis.hi) + " = " +
         text(padded) + ", the dilated kernel " + text(effective) + " (x of shape " + to_string(x) +
         ", w of shape " + to_string(w) + ")");
  axis.out = (padded - effective) / axis.stride + 1;
}

}  // namespace

std::string to_string(const Shape& shape) {
  constexpr std::size_t kMost = 16;
  std::string s = "(";
  for (std::size_t i = 0; i < shape.size() && i < kMost; ++i)
    s += (i > 0 ? ", " : "") + text(shape[i]);
  if (shape.size() > kMost) s += ", ...";
  return s + (shape.size() == 1 ? ",)" : ")");
}

void validate_options(const Options& options) {
  if (options.rank < 1 || options.rank > 3)
    fail("the number of spatial axes must be 1, 2 or 3; got " + text(options.rank));
  for (int a = 3 - options.rank; a < 3; ++a) {
    if (options.stride[a] < 1) fail("stride must be at least 1; got " + text(options.stride[a]));
    if (options.dilation[a] < 1)
      fail("dilation must be at least 1; got " + text(options.dilation[a]));
    if (options.lo[a] < 0 || options.hi[a] < 0)
      fail("padding must not be negative; got (" + text(options.lo[a]) + ", " +
           text(options.hi[a]) + ")");
  }
  if (options.interleave < 1)
    fail("interleave must be at least 1; got " + text(options.interleave));
  if (options.groups < 1) fail("groups must be at least 1; got " + text(options.groups));
}

Problem make_problem(const Options& options, const Shape& x, const Shape& w, const Shape* bias) {
  check_ranks(options, x, w);
  const bool batched = static_cast<int>(x.size()) == options.rank + 2;
  const std::size_t first = batched ? 1 : 0;
  const std::size_t channel_axis = options.channels_last ? x.size() - 1 : first;
  const std::size_t spatial = options.channels_last ? first : first + 1;
  const std::int64_t channels = x[channel_axis];
  check_channels(options, channels, x, w, bias);

  Problem p;
  p.rank = options.rank;
  p.batch = batched ? x[0] : 1;
  p.groups = options.groups;
  p.in_channels = channels / options.groups;
  p.out_channels = w[0] / options.groups;
  p.border = options.border;
  p.activation = options.activation;
  p.algorithm = options.algorithm;
  p.precision = options.precision;
  p.flip = options.flip;
  p.saturate = options.saturate;
  p.has_bias = bias != nullptr;
  p.channels_last = options.channels_last;
  for (int i = 0; i < options.rank; ++i) {
    const int a = 3 - options.rank + i;
    Axis& axis = p.axis[a];
    axis.in = x[spatial + i];
    axis.kernel = w[2 + i];
    axis.stride = options.stride[a];
    axis.dilation = options.dilation[a];
    axis.lo = options.lo[a];
    axis.hi = options.hi[a];
    axis.interleave = a == 2 ? options.interleave : 1;
    set_output(axis, i, options, x, w);
  }

  // Sixteen bytes an element, the widest there are, and two reals for a complex number.
  std::int64_t elements = 16;
  for (const std::int64_t n : output_shape(options, p, x))
    elements = checked_mul(elements, n, "the number of bytes of the result");
  elements = 4 * 16;
  for (const std::int64_t n : w) elements = checked_mul(elements, n, "the size of w");
  return p;
}

Shape output_shape(const Options& options, const Problem& problem, const Shape& x, bool complex) {
  Shape shape;
  shape.reserve(5);
  if (static_cast<int>(x.size()) == options.rank + 2) shape.push_back(problem.batch);
  const std::int64_t channels = problem.groups * problem.out_channels / (complex ? 2 : 1);
  if (!options.channels_last) shape.push_back(channels);
  for (int a = 3 - options.rank; a < 3; ++a) shape.push_back(problem.axis[a].out);
  if (options.channels_last) shape.push_back(channels);
  return shape;
}

}  // namespace fastconv
