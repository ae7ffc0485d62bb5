// check.hpp: the few lines that the stand-alone C++ tests share.
#pragma once

#include <cstdio>

namespace check {

inline int passed = 0;
inline int failed = 0;

// Counts one condition; prints only the failures, since some tests make millions of checks.
inline bool that(bool condition, const char* what, const char* file, int line) {
  if (condition) {
    ++passed;
  } else if (++failed <= 50) {
    std::printf("FAILED %s:%d: %s\n", file, line, what);
  }
  return condition;
}

// Prints "ok" or "FAILED" for a whole section.
inline void section(const char* name, void (*body)()) {
  const int before = failed;
  body();
  std::printf("%s %s\n", failed == before ? "ok" : "FAILED", name);
  std::fflush(stdout);
}

inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) check::that((condition), #condition, __FILE__, __LINE__)
