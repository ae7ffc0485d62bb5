// cpu.hpp: what the processor and the operating system let this process use.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fastconv {

enum class Isa : std::uint8_t { scalar, neon, avx2, avx512, amx };

// Whether this machine can run code compiled for `isa`: the instructions exist and the operating
// system saves their registers.
bool cpu_supports(Isa isa);

// True on processors that compute 512-bit vectors in two halves (AMD family 19h, Zen 4).
bool halves_512_bit_vectors();

// Dot products of bytes, beside AVX2; of bytes and of bfloat16, beside AVX-512.
bool has_avx_vnni();
bool has_avx512_vnni();
bool has_avx512_bf16();
// Bytes exchanged within two vectors of 64.
bool has_avx512_vbmi();
// Tiles of float16, beside those of bfloat16 and bytes.
bool has_amx_fp16();

// Every feature that the library asks about, in a fixed order, by its usual lower-case name. Those
// of the other architectures are listed as absent.
std::vector<std::pair<std::string, bool>> cpu_features();

// Asks the operating system for the AMX tile registers, which Linux grants per process and only on
// request. True when the processor has AMX with bfloat16 and bytes and the tiles may be used from
// now on.
bool request_amx_permission();

struct CacheSizes {
  std::int64_t l1d;  // bytes of one core's first-level data cache
  std::int64_t l2;   // bytes of the second level that one core can count on
};

const CacheSizes& cache_sizes();

}  // namespace fastconv
