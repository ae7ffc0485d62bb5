// The options of a call as Python hands them over, by name and per axis, to Options.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/validate.hpp"

namespace fastconv::bindings {

using Padding = std::variant<std::string, std::vector<std::pair<std::int64_t, std::int64_t>>>;

// Throws ValueError for an unknown name, a wrong number of axes or a value out of range.
Options make_options(int rank, const std::vector<std::int64_t>& stride, const Padding& padding,
                     const std::vector<std::int64_t>& dilation, std::int64_t groups,
                     const std::string& padding_mode, bool flip, bool channels_last,
                     const std::string& activation, const std::string& algorithm,
                     const std::string& precision, bool saturate, std::int64_t interleave);

// The name that Python knows it by.
const char* name_of(Activation activation);

}  // namespace fastconv::bindings
