# SPDX-License-Identifier: Apache-2.0
#
# vmferry_module(NAME DEPS target... [SANITIZED] [BOOTS_GUESTS]): the folder's *.cc as library NAME, its *_test.cc
# as NAME_test. SANITIZED: the tests also run under ASan and UBSan (label `sanitized`); for modules
# that read what strangers write. BOOTS_GUESTS: its suite GuestBoots starts virtual machines; those
# tests have minutes, and run beside no other test that does.
#
# Unit tests are registered one by one with the label `unit`, property tests (names ending in
# Property) included. DEPS are public: whoever uses a module may use what its headers name.
include(GoogleTest)

function(vmferry_module name)
  cmake_parse_arguments(ARG "SANITIZED;BOOTS_GUESTS" "" "DEPS;TEST_DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(${name} STATIC ${sources})
    target_precompile_headers(${name} REUSE_FROM precompiled)
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} Threads::Threads)
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
  if(tests)
    add_executable(${name}_test ${tests})
    target_precompile_headers(${name}_test REUSE_FROM precompiled_test)
    target_compile_options(${name}_test PRIVATE ${VMFERRY_TEST_OPTIONS})
    target_link_libraries(${name}_test PRIVATE ${name} ${ARG_TEST_DEPS} vmferry_testing GTest::gmock
                                               GTest::gtest_main)
    set(labels unit)
    if(VMFERRY_SANITIZE AND ARG_SANITIZED)
      set(labels sanitized)
      # The target `sanitized` is made after all modules: fuzz/CMakeLists.txt adds these to it.
      set_property(GLOBAL APPEND PROPERTY VMFERRY_SANITIZED_TARGETS ${name}_test)
    endif()
    set(quick "")
    if(ARG_BOOTS_GUESTS)
      set(quick TEST_FILTER "-GuestBoots.*")
      gtest_discover_tests(
        ${name}_test
        TEST_PREFIX ${name}/
        TEST_LIST ${name}_guest_boots
        TEST_FILTER "GuestBoots.*"
        DISCOVERY_TIMEOUT 60
        PROPERTIES LABELS ${labels} TIMEOUT 600 RESOURCE_LOCK guest)
    endif()
    gtest_discover_tests(
      ${name}_test
      TEST_PREFIX ${name}/
      ${quick}
      DISCOVERY_TIMEOUT 60
      PROPERTIES LABELS ${labels} TIMEOUT 120)
  endif()
endfunction()
