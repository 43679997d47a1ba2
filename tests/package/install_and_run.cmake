# cmake -DWAY=find_package|pkg_config -DBUILD=… -DSOURCE=… -DREADME=… -DWORK=… -DCXX=… -P this
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
set(prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

# The README's program is the text between its marks for C++.
file(READ ${README} text)
if(NOT text MATCHES "\n```cpp\n(#include[^`]*)```\n")
  message(FATAL_ERROR "${README}: expected one C++ program between ```cpp and ```, found none")
endif()
file(WRITE ${WORK}/readme.cc "${CMAKE_MATCH_1}")

if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${prefix}
      -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_BUILD_TYPE=Release -DREADME_PROGRAM=${WORK}/readme.cc)
  run(${CMAKE_COMMAND} --build ${WORK}/build)
  run(${WORK}/build/separate_buffer)
  message(STATUS "${output}")
  run(${WORK}/build/readme)
else()
  file(GLOB_RECURSE pc ${prefix}/runnel.pc)
  get_filename_component(folder ${pc} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${folder}:$ENV{PKG_CONFIG_PATH})
  run(pkg-config --cflags --libs runnel)
  separate_arguments(flags UNIX_COMMAND "${output}")
  run(${CXX} -std=c++20 -O2 ${WORK}/readme.cc -o ${WORK}/readme ${flags})
  run(${WORK}/readme)
endif()
message(STATUS "${output}")

run(${prefix}/bin/runnel --version)
