// scratch.hpp: working memory of a call, kept by the calling thread for its next call.
#pragma once

#include <cstddef>

namespace fastconv {

// Owns `size` bytes aligned to a cache line until it is destroyed, on the thread that acquired it.
// The workers of a parallel call use slices of the caller's scratch, so that memory can only run
// out before any work starts.
class Scratch {
 public:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kMostCached = std::size_t{64} << 20;

  // Contents are undefined. Throws std::bad_alloc. A second acquisition while the first is in use
  // gets memory of its own.
  static Scratch acquire(std::size_t bytes);

  Scratch(Scratch&& other) noexcept;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  char* data() const { return data_; }
  std::size_t size() const { return size_; }

  // What the calling thread keeps, in use or not, and how to give back what is not in use.
  static std::size_t cached_bytes();
  static void release_cached();

 private:
  Scratch(char* data, std::size_t size, bool cached) : data_(data), size_(size), cached_(cached) {}

  char* data_;
  std::size_t size_;
  bool cached_;
};

}  // namespace fastconv
