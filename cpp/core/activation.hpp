// What may follow the bias.
#pragma once

#include <cstdint>

namespace fastconv {

enum class Activation : std::uint8_t { none, relu, relu6, leaky_relu, sigmoid, tanh, silu };

}  // namespace fastconv
