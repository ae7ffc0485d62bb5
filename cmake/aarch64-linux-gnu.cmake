# Toolchain file: builds for 64-bit Arm Linux with Debian's cross compiler and runs what was built
# (ctest) under qemu's user-mode emulation.
#
#   apt-get install g++-aarch64-linux-gnu qemu-user
#   cmake -S . -B build-aarch64 -DFASTCONV_PYTHON=OFF -DFASTCONV_TESTS=ON \
#         -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# -L: where the emulated program finds its dynamic loader and libstdc++. The variable tells tests to
# leave out what user-mode emulation cannot do: fork with threads, or be quick.
set(CMAKE_CROSSCOMPILING_EMULATOR
    env;FASTCONV_TEST_EMULATED=1;qemu-aarch64;-L;/usr/aarch64-linux-gnu)

# Programs run on this machine; headers and libraries are the target's alone.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
