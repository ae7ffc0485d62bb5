#include "bindings/options.hpp"

#include <pybind11/pybind11.h>

namespace fastconv::bindings {

namespace py = pybind11;

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
constexpr std::pair<const char*, Precision> kPrecisions[] = {
    {"highest", Precision::highest}, {"high", Precision::high}, {"medium", Precision::medium}};
constexpr std::pair<const char*, PaddingRule> kPaddingRules[] = {
    {"same", PaddingRule::same}, {"same_lower", PaddingRule::same_lower}};

std::array<std::int64_t, 3> per_axis(const char* argument, int rank,
                                     const std::vector<std::int64_t>& values, std::int64_t absent) {
  if (static_cast<int>(values.size()) != rank)
    throw py::value_error(std::string(argument) + " must have one value for each spatial axis");
  std::array<std::int64_t, 3> full = {absent, absent, absent};
  for (int i = 0; i < rank; ++i) full[3 - rank + i] = values[i];
  return full;
}

}  // namespace

const char* name_of(Activation activation) {
  for (const auto& [name, value] : kActivations)
    if (value == activation) return name;
  return "";
}

Options make_options(int rank, const std::vector<std::int64_t>& stride, const Padding& padding,
                     const std::vector<std::int64_t>& dilation, std::int64_t groups,
                     const std::string& padding_mode, bool flip, bool channels_last,
                     const std::string& activation, const std::string& algorithm,
                     const std::string& precision, bool saturate, std::int64_t interleave) {
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
  o.interleave = interleave;
  validate_options(o);
  return o;
}

}  // namespace fastconv::bindings
