#include "runtime/scratch.hpp"

#include <cstdint>
#include <new>

#include "runtime/huge_pages.hpp"

namespace fastconv {
namespace {

char* allocate(std::size_t bytes) {
  // Rounding up to the alignment inside operator new must not wrap.
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX) - Scratch::kAlignment) throw std::bad_alloc();
  void* const data = ::operator new(bytes, std::align_val_t{Scratch::kAlignment});
  prefer_huge_pages(data, bytes);
  return static_cast<char*>(data);
}

void deallocate(char* data) noexcept {
  ::operator delete(data, std::align_val_t{Scratch::kAlignment});
}

struct Cache {
  char* data = nullptr;
  std::size_t size = 0;
  bool in_use = false;
  bool closed = false;  // the thread is ending: keep nothing more

  ~Cache() {
    release();
    closed = true;
  }
  void release() noexcept {
    if (in_use) return;
    deallocate(data);
    data = nullptr;
    size = 0;
  }
};

thread_local Cache cache;

}  // namespace

Scratch Scratch::acquire(std::size_t bytes) {
  if (bytes == 0) bytes = 1;
  if (cache.in_use || cache.closed || bytes > kMostCached) {
    return Scratch(allocate(bytes), bytes, false);
  }
  if (bytes > cache.size) {
    // Sizes are rounded up, or a run of slowly growing calls would allocate each time.
    constexpr std::size_t kStep = std::size_t{64} << 10;
    const std::size_t rounded = (bytes + kStep - 1) / kStep * kStep;
    cache.release();
    cache.data = allocate(rounded);
    cache.size = rounded;
  }
  cache.in_use = true;
  return Scratch(cache.data, bytes, true);
}

Scratch::Scratch(Scratch&& other) noexcept
    : data_(other.data_), size_(other.size_), cached_(other.cached_) {
  other.data_ = nullptr;
  other.size_ = 0;
  other.cached_ = false;
}

Scratch::~Scratch() {
  if (cached_) {
    cache.in_use = false;
  } else {
    deallocate(data_);
  }
}

std::size_t Scratch::cached_bytes() { return cache.size; }

void Scratch::release_cached() { cache.release(); }

}  // namespace fastconv
