#include "core/cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#if defined(__x86_64__) || defined(_M_X64)
#define FASTCONV_X86 1
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fastconv {
namespace {

struct Features {
  bool fma = false, f16c = false, avx = false, avx2 = false, avx_vnni = false;
  bool avx512f = false, avx512dq = false, avx512bw = false, avx512vl = false;
  bool avx512_vnni = false, avx512_vbmi = false, avx512_bf16 = false, avx512_fp16 = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false, amx_fp16 = false;
  bool neon = false;
};

#ifdef FASTCONV_X86
struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  Registers r;
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<std::uint32_t>(out[0]), static_cast<std::uint32_t>(out[1]),
       static_cast<std::uint32_t>(out[2]), static_cast<std::uint32_t>(out[3])};
#else
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

// XCR0: the register sets that the operating system saves. Call only where OSXSAVE is set.
std::uint64_t saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

constexpr bool bit(std::uint64_t word, int index) { return (word >> index & 1) != 0; }

Features detect() {
  Features f;
  const std::uint32_t last_leaf = cpuid(0).eax;
  if (last_leaf < 7) return f;
  const Registers one = cpuid(1);
  if (!bit(one.ecx, 27)) return f;  // OSXSAVE
  const std::uint64_t state = saved_state();
  constexpr std::uint64_t kAvx = 0x6, kAvx512 = 0xe6, kAmx = 0x60000;
  const Registers seven = cpuid(7);
  const Registers more = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  if ((state & kAvx) == kAvx) {
    f.avx = bit(one.ecx, 28);
    f.fma = bit(one.ecx, 12);
    f.f16c = bit(one.ecx, 29);
    f.avx2 = f.avx && bit(seven.ebx, 5);
    f.avx_vnni = bit(more.eax, 4);
  }
  if (f.avx2 && (state & kAvx512) == kAvx512) {
    f.avx512f = bit(seven.ebx, 16);
    f.avx512dq = bit(seven.ebx, 17);
    f.avx512bw = bit(seven.ebx, 30);
    f.avx512vl = bit(seven.ebx, 31);
    f.avx512_vnni = bit(seven.ecx, 11);
    f.avx512_vbmi = bit(seven.ecx, 1);
    f.avx512_bf16 = bit(more.eax, 5);
    f.avx512_fp16 = bit(seven.edx, 23);
  }
  if ((state & kAmx) == kAmx) {
    f.amx_tile = bit(seven.edx, 24);
    f.amx_bf16 = bit(seven.edx, 22);
    f.amx_int8 = bit(seven.edx, 25);
    f.amx_fp16 = bit(more.eax, 21);
  }
  return f;
}

// Intel describes caches in leaf 4; AMD in leaf 0x8000001D, in the same layout, where bit 22 of
// leaf 0x80000001 (topology extensions) says so.
void read_x86_caches(CacheSizes& sizes) {
  std::uint32_t leaf = 4;
  if (cpuid(0x80000000u).eax >= 0x8000001Du && bit(cpuid(0x80000001u).ecx, 22)) {
    leaf = 0x8000001Du;
  } else if (cpuid(0).eax < 4) {
    return;
  }
  for (std::uint32_t i = 0; i < 16; ++i) {
    const Registers r = cpuid(leaf, i);
    const std::uint32_t type = r.eax & 0x1f, level = r.eax >> 5 & 0x7;
    if (type == 0) return;
    const std::int64_t ways = (r.ebx >> 22) + 1, partitions = (r.ebx >> 12 & 0x3ff) + 1;
    const std::int64_t line = (r.ebx & 0xfff) + 1, sets = std::int64_t{r.ecx} + 1;
    const std::int64_t bytes = ways * partitions * line * sets;
    const std::int64_t sharing = (r.eax >> 14 & 0xfff) + 1;
    if (level == 1 && type == 1) sizes.l1d = bytes;
    // Two hardware threads share a core's cache; more than two means several cores do.
    if (level == 2 && type != 2) sizes.l2 = bytes / std::max<std::int64_t>(1, sharing / 2);
  }
}
#else
Features detect() {
  Features f;
#if defined(__aarch64__) || defined(_M_ARM64)
  f.neon = true;
#endif
  return f;
}
#endif

const Features& features() {
  static const Features f = detect();
  return f;
}

#if defined(__linux__)
// "32K" or "1M" as the kernel prints sizes; 0 if the file is not there.
std::int64_t read_size(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  char unit = ' ';
  if (!(file >> value)) return 0;
  file >> unit;
  return unit == 'M' ? value << 20 : unit == 'K' ? value << 10 : value;
}

void read_linux_caches(CacheSizes& sizes) {
  sizes.l1d = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  sizes.l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  for (int i = 0; i < 8 && (sizes.l1d <= 0 || sizes.l2 <= 0); ++i) {
    const std::string base = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::string type;
    std::ifstream(base + "type") >> type;
    const std::int64_t level = read_size(base + "level");
    if (level == 1 && type == "Data") sizes.l1d = read_size(base + "size");
    if (level == 2) sizes.l2 = read_size(base + "size");
  }
}
#elif defined(__APPLE__)
std::int64_t read_sysctl(const char* performance_core, const char* any_core) {
  for (const char* name : {performance_core, any_core}) {
    std::int64_t value = 0;
    std::size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value > 0) return value;
  }
  return 0;
}
#endif

CacheSizes detect_caches() {
  CacheSizes sizes{0, 0};
#if defined(FASTCONV_X86)
  read_x86_caches(sizes);
#endif
#if defined(__linux__)
  if (sizes.l1d <= 0 || sizes.l2 <= 0) read_linux_caches(sizes);
#elif defined(__APPLE__)
  if (sizes.l1d <= 0) sizes.l1d = read_sysctl("hw.perflevel0.l1dcachesize", "hw.l1dcachesize");
  // A cluster of four performance cores shares the second level.
  if (sizes.l2 <= 0) sizes.l2 = read_sysctl("hw.perflevel0.l2cachesize", "hw.l2cachesize") / 4;
#endif
  // Virtual machines report caches of any size, none included.
  if (sizes.l1d <= 0) sizes.l1d = 32 << 10;
  if (sizes.l2 <= 0) sizes.l2 = 512 << 10;
  sizes.l1d = std::clamp<std::int64_t>(sizes.l1d, 16 << 10, 256 << 10);
  sizes.l2 = std::clamp<std::int64_t>(sizes.l2, 256 << 10, 4 << 20);
  return sizes;
}

}  // namespace

bool cpu_supports(Isa isa) {
  const Features& f = features();
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::neon:
      return f.neon;
    case Isa::avx2:
      return f.avx2 && f.fma && f.f16c;
    case Isa::avx512:
      return cpu_supports(Isa::avx2) && f.avx512f && f.avx512dq && f.avx512bw && f.avx512vl;
    case Isa::amx:
      return cpu_supports(Isa::avx512) && request_amx_permission();
  }
  return false;
}

bool has_avx_vnni() { return cpu_supports(Isa::avx2) && features().avx_vnni; }
bool has_avx512_vnni() { return cpu_supports(Isa::avx512) && features().avx512_vnni; }
bool has_avx512_vbmi() { return cpu_supports(Isa::avx512) && features().avx512_vbmi; }
bool has_avx512_bf16() { return cpu_supports(Isa::avx512) && features().avx512_bf16; }
bool has_amx_fp16() { return cpu_supports(Isa::amx) && features().amx_fp16; }

bool halves_512_bit_vectors() {
#ifdef FASTCONV_X86
  static const bool halves = [] {
    constexpr std::uint32_t kAuth = 0x68747541;  // of "AuthenticAMD"
    if (cpuid(0).ebx != kAuth) return false;
    const std::uint32_t version = cpuid(1).eax;
    return (version >> 8 & 0xf) == 0xf && (version >> 20 & 0xff) == 0xa;  // family 0xf + 0xa
  }();
  return halves;
#else
  return false;
#endif
}

std::vector<std::pair<std::string, bool>> cpu_features() {
  const Features& f = features();
  return {{"avx", f.avx},
          {"avx2", f.avx2},
          {"fma", f.fma},
          {"f16c", f.f16c},
          {"avx_vnni", f.avx_vnni},
          {"avx512f", f.avx512f},
          {"avx512dq", f.avx512dq},
          {"avx512bw", f.avx512bw},
          {"avx512vl", f.avx512vl},
          {"avx512_vnni", f.avx512_vnni},
          {"avx512_vbmi", f.avx512_vbmi},
          {"avx512_bf16", f.avx512_bf16},
          {"avx512_fp16", f.avx512_fp16},
          {"amx_tile", f.amx_tile},
          {"amx_bf16", f.amx_bf16},
          {"amx_int8", f.amx_int8},
          {"amx_fp16", f.amx_fp16},
          {"neon", f.neon}};
}

bool request_amx_permission() {
#if defined(FASTCONV_X86) && defined(__linux__)
  static const bool granted = [] {
    if (!features().amx_tile || !features().amx_bf16 || !features().amx_int8) return false;
    constexpr long kGet = 0x1022, kRequest = 0x1023, kTileData = 18;  // ARCH_*_XCOMP_PERM
    if (syscall(SYS_arch_prctl, kRequest, kTileData) != 0) return false;
    std::uint64_t permitted = 0;
    return syscall(SYS_arch_prctl, kGet, &permitted) == 0 && bit(permitted, kTileData);
  }();
  return granted;
#else
  return false;
#endif
}

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = detect_caches();
  return sizes;
}

}  // namespace fastconv
