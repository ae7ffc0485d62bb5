// Rounding to whole numbers, half to even, by an addition: no branch, no call, and vectors do it.
#pragma once

namespace fastconv {

// A sum with it has no bits behind the point, and the lowest ones are those of the number that was
// added, if that is below a third of it (2^22 or 2^51). A constant, so that objects of instruction
// sets hold no symbol of it.
template <class T>
inline constexpr T kNoFraction = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);

}  // namespace fastconv
