# generated/version.h at build time, touched only when something changed, so that a commit relinks two files.
add_custom_target(trireme_version
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUTPUT=${CMAKE_BINARY_DIR}/generated/version.h
    -DVERSION=${PROJECT_VERSION} -DCUDA_ARCHS="${TRIREME_CUDA_ARCHS}" -DBUILD_TYPE=${CMAKE_BUILD_TYPE}
    -P ${CMAKE_SOURCE_DIR}/cmake/WriteVersion.cmake
  BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/version.h VERBATIM)
