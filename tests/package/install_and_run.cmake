# cmake -DWAY=find_package|pkg_config -DBUILD=… -DSOURCE=… -DWORK=… -DCXX=… -P this
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

if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${prefix}
      -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_BUILD_TYPE=Release)
  run(${CMAKE_COMMAND} --build ${WORK}/build)
  run(${WORK}/build/separate_buffer)
else()
  file(GLOB_RECURSE pc ${prefix}/runnel.pc)
  get_filename_component(folder ${pc} DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${folder}:$ENV{PKG_CONFIG_PATH})
  run(pkg-config --cflags --libs runnel)
  separate_arguments(flags UNIX_COMMAND "${output}")
  run(${CXX} -O2 ${SOURCE}/separate_buffer.cc -o ${WORK}/separate_buffer ${flags})
  run(${WORK}/separate_buffer)
endif()
message(STATUS "${output}")

run(${prefix}/bin/runnel --version)
