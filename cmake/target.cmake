# Flags that every target of ours has: warnings, includes from the root.
function(runnel_configure target)
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/runnel>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${RUNNEL_WERROR}>:-Werror>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # "a" + std::string: gcc 12 warns of an overlap that cannot be (its bug 105651).
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    # What Highway's NEON asks for; the compiler uses no cryptography by itself.
    target_compile_options(${target} PRIVATE -march=armv8-a+crypto)
  endif()
endfunction()

# One library a room. PUBLIC: what its headers need. PRIVATE: what only its sources need.
function(runnel_library room)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(runnel_${room} STATIC ${ARG_SOURCES})
  add_library(runnel::${room} ALIAS runnel_${room})
  set_target_properties(runnel_${room} PROPERTIES EXPORT_NAME ${room})
  runnel_configure(runnel_${room})
  target_link_libraries(runnel_${room} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# One test program a room; the working directory is the source tree, so fixtures have short paths.
# THREADS: the sources where threads meet; ThreadSanitizer builds only these.
function(runnel_test room)
  cmake_parse_arguments(ARG "" "" "SOURCES;THREADS;LINK" ${ARGN})
  if(RUNNEL_SANITIZE STREQUAL "thread")
    set(ARG_SOURCES)
  endif()
  list(APPEND ARG_SOURCES ${ARG_THREADS})
  if(NOT ARG_SOURCES)
    return()
  endif()
  add_executable(${room}_tests ${ARG_SOURCES})
  runnel_configure(${room}_tests)
  target_link_libraries(${room}_tests PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  if(NOT room STREQUAL "apps")
    add_dependencies(library_tests ${room}_tests)
  endif()
  gtest_discover_tests(${room}_tests NO_PRETTY_VALUES WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                       DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()
