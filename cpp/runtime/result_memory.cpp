#include "runtime/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#include "runtime/huge_pages.hpp"

namespace fastconv {
namespace {

constexpr std::size_t kLine = 64;

std::size_t alignment_of(std::size_t bytes) {
  return bytes >= kLeastResultKept ? kHugePage : kLine;
}

// A C library's aligned allocation looks for a hole larger than the result, and cuts what it finds:
// the hole that a result leaves is too small for the next of its size. A loop that keeps each
// result until the next is there then meets fresh pages again and again (64 channels of 224 x 224:
// 18 ms a call instead of 2.5). So it is plain memory, aligned here, with its address before it.
void* allocate(std::size_t bytes) {
  const std::size_t alignment = alignment_of(bytes);
  // The sum must not wrap.
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX) - 2 * kHugePage) throw std::bad_alloc();
  void* const memory = ::operator new(bytes + alignment + sizeof(void*));
  const auto begin = reinterpret_cast<std::uintptr_t>(memory) + sizeof(void*);
  const std::uintptr_t first = (begin + alignment - 1) / alignment * alignment;
  void* const data = reinterpret_cast<void*>(first);
  static_cast<void**>(data)[-1] = memory;
  if (bytes >= kLeastHuge) prefer_huge_pages(data, bytes);
  return data;
}

void deallocate(void* data) noexcept {
  if (data != nullptr) ::operator delete(static_cast<void**>(data)[-1]);
}

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
  if (bytes < kLeastResultKept) return allocate(bytes);
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
  if (bytes < kLeastResultKept) return deallocate(data);
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
