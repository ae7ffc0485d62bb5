// affinity.hpp: how many CPUs the process may keep busy.
#pragma once

namespace fastconv {

// The CPUs of the affinity mask, reduced by the quota of the control groups (version 1 or 2) that
// the process lives in; at least 1.
int usable_cpus();

}  // namespace fastconv
