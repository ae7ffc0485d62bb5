// gil.hpp: giving Python's lock away, and taking it back where Python may have ended meanwhile.
//
// A daemon thread may be in a call when the interpreter ends. Before 3.14 Python ends such a thread
// as it asks for the lock, by unwinding its stack (pthread_exit), and the first noexcept function
// on it ends the process. Here it sleeps instead, as it does from 3.14 on: nobody waits for it.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace fastconv::bindings {

// Calls f(), which asks for the lock; never returns where there is no interpreter any more.
template <class F>
auto where_python_lives(F f) {
  try {
    return f();
  } catch (...) {
    // Of an unwinding that no handler may end.
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Without the lock for the time of its life.
class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    where_python_lives([this] { PyEval_RestoreThread(state_); });
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace fastconv::bindings
