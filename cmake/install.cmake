# `cmake --install`: the program, and the libraries for find_package(runnel) and pkg-config.
include(CMakePackageConfigHelpers)

install(TARGETS runnel RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS runnel_contract runnel_engine runnel_dsp runnel_assets runnel_models runnel_rt
        EXPORT runnelTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(room engine dsp assets models rt)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/runnel
          FILES_MATCHING PATTERN "*.h" PATTERN "assets/models" EXCLUDE)
endforeach()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/runnel)
install(EXPORT runnelTargets NAMESPACE runnel:: DESTINATION ${config_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/runnelConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/runnelConfig.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/runnelConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/runnelConfig.cmake
              ${PROJECT_BINARY_DIR}/runnelConfigVersion.cmake DESTINATION ${config_dir})

# The prefix is told from where runnel.pc lies, so `cmake --install --prefix` and moving work.
file(RELATIVE_PATH RUNNEL_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
     ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/runnel.pc.in ${PROJECT_BINARY_DIR}/runnel.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/runnel.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/runnel)
