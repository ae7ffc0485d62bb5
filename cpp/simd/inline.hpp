// inline.hpp: compiler spellings shared by the code compiled once per instruction set.
#pragma once

// A function that is always inlined leaves no out-of-line copy behind, so the linker has nothing
// to merge between the object files of two instruction sets.
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_INLINE __forceinline
#else
#define FASTCONV_INLINE inline __attribute__((always_inline))
#endif

// The same for a lambda, between its parameters and its body.
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_INLINE_LAMBDA [[msvc::forceinline]]
#else
#define FASTCONV_INLINE_LAMBDA __attribute__((always_inline))
#endif

// A tile whose accumulators fill the registers stays a function of its own: inlined beside others,
// GCC finds reasons to spill one of them.
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_NOINLINE __declspec(noinline)
#else
#define FASTCONV_NOINLINE __attribute__((noinline))
#endif

// Unrolls the loop that follows whole. An array of vectors indexed by a loop variable stays in
// registers only where its loops are unrolled early; GCC leaves it in memory from 8 turns on.
#if defined(__clang__)
#define FASTCONV_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define FASTCONV_UNROLL _Pragma("GCC unroll 16")
#else
#define FASTCONV_UNROLL
#endif

// Makes x, a vector just loaded and used more than once, stay in a register: GCC would rather load
// it again as the memory operand of each use.
#if defined(__AVX2__) && defined(__GNUC__)
#define FASTCONV_IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#define FASTCONV_IN_REGISTER(x) static_cast<void>(x)
#endif

// Asks for the line at p; any address will do.
#if defined(__GNUC__)
#define FASTCONV_PREFETCH(p) __builtin_prefetch(p)
#define FASTCONV_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#else
#define FASTCONV_PREFETCH(p) static_cast<void>(p)
#define FASTCONV_PREFETCH_L2(p) static_cast<void>(p)
#endif

// Hides from the compiler where a pointer came from. GCC would otherwise take base + (row + tap)
// apart and spend an instruction on each sum that the addressing mode has for nothing.
#if defined(__GNUC__)
#define FASTCONV_OPAQUE_POINTER(pointer) __asm__("" : "+r"(pointer))
#else
#define FASTCONV_OPAQUE_POINTER(pointer) static_cast<void>(pointer)
#endif
