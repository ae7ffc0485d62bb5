#include "runtime/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fastconv {
namespace {

constexpr std::align_val_t kHugePage{std::size_t{2} << 20};

void* allocate(std::size_t bytes) {
  // Rounding up to the alignment inside operator new must not wrap.
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX) - static_cast<std::size_t>(kHugePage))
    throw std::bad_alloc();
  void* const data = ::operator new(bytes, kHugePage);
#ifdef __linux__
  // A refusal costs time alone.
  static_cast<void>(madvise(data, bytes, MADV_HUGEPAGE));
#endif
  return data;
}

void deallocate(void* data) noexcept { ::operator delete(data, kHugePage); }

struct Kept {
  std::mutex mutex;
  void* data = nullptr;
  std::size_t size = 0;
  std::size_t last = 0;  // size of the result that was given back last
};

// Never destroyed: arrays may outlive every static object.
Kept& kept() {
  static Kept* const instance = new Kept;
  return *instance;
}

}  // namespace

void* acquire_result(std::size_t bytes) {
  Kept& k = kept();
  void* other = nullptr;
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    void* const data = k.data;
    const bool fits = k.size == bytes;
    k.data = nullptr;
    k.size = 0;
    if (data != nullptr && fits) return data;
    other = data;
  }
  deallocate(other);
  return allocate(bytes);
}

void release_result(void* data, std::size_t bytes) noexcept {
  Kept& k = kept();
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    if (bytes == k.last && bytes <= kMostResultKept && k.data == nullptr) {
      k.data = data;
      k.size = bytes;
      return;
    }
    k.last = bytes;
  }
  deallocate(data);
}

std::size_t kept_result_bytes() {
  Kept& k = kept();
  const std::lock_guard<std::mutex> lock(k.mutex);
  return k.size;
}

void release_kept_result() noexcept {
  Kept& k = kept();
  void* data = nullptr;
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    data = k.data;
    k.data = nullptr;
    k.size = 0;
    k.last = 0;
  }
  deallocate(data);
}

}  // namespace fastconv
