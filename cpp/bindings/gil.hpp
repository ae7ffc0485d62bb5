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
  GilReleased() : outer_(state_) { state_ = PyEval_SaveThread(); }
  ~GilReleased() {
    where_python_lives([] { PyEval_RestoreThread(state_); });
    state_ = outer_;
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

  // f() with the lock, on the thread that gave it away. It takes the thread's own state up again:
  // to make one, as pybind11's guard does, needs an interpreter.
  template <class F>
  static auto while_held(F f) {
    where_python_lives([] { PyEval_RestoreThread(state_); });
    const auto result = f();
    state_ = PyEval_SaveThread();
    return result;
  }

 private:
  inline static thread_local PyThreadState* state_ = nullptr;
  PyThreadState* const outer_;
};

}  // namespace fastconv::bindings
