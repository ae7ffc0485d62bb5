#include "runtime/scratch.hpp"

#include <cstdint>
#include <new>

#include "runtime/huge_pages.hpp"

namespace fastconv {
namespace {

// What fills half a huge page gets a whole one: lines of small pages, anywhere in memory, share the
// sets of L2 unevenly (512 -> 512, 3x3 on 7 x 7, 3 MB: 4 % of a call, 6 % of a plan).
std::size_t alignment_of(std::size_t bytes) {
  return bytes >= kHugePage / 2 ? kHugePage : Scratch::kAlignment;
}

char* allocate(std::size_t bytes) {
  const std::size_t alignment = alignment_of(bytes);
  // Rounding up must not wrap.
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX) - alignment) throw std::bad_alloc();
  const std::size_t all = (bytes + alignment - 1) / alignment * alignment;
  void* const data = ::operator new(all, std::align_val_t{alignment});
  if (alignment == kHugePage) prefer_huge_pages(data, all);
  return static_cast<char*>(data);
}

void deallocate(char* data, std::size_t bytes) noexcept {
  ::operator delete(data, std::align_val_t{alignment_of(bytes)});
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
    deallocate(data, size);
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
    deallocate(data_, size_);
  }
}

std::size_t Scratch::cached_bytes() { return cache.size; }

void Scratch::release_cached() { cache.release(); }

}  // namespace fastconv
