# SPDX-License-Identifier: Apache-2.0
# Compiler and linker flags: one place.
add_compile_options(
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Werror
  # Designated initialisers leave fields at their defaults on purpose.
  -Wno-missing-field-initializers)
# Quoted includes only: with -I our sys/ would stand in front of the system's <sys/file.h>.
add_compile_options("SHELL:-iquote ${CMAKE_SOURCE_DIR}/src" "SHELL:-iquote ${CMAKE_SOURCE_DIR}")
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wthread-safety)
endif()
add_compile_definitions(_GLIBCXX_ASSERTIONS)
# Paths in messages are relative to the tree, so that a build does not name its machine.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)

set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -D_FORTIFY_SOURCE=2 -fstack-protector-strong")
set(CMAKE_EXE_LINKER_FLAGS_RELEASE "-Wl,-z,relro,-z,now")

if(VMFERRY_SANITIZE)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "VMFERRY_SANITIZE needs clang (preset asan)")
  endif()
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -fno-omit-frame-pointer")
  add_compile_options(-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()
