find_package(Threads REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Boost 1.81 REQUIRED)   # headers only: Asio, Beast, JSON (compiled once in base/json.cpp)

add_library(trireme_boost INTERFACE)
target_link_libraries(trireme_boost INTERFACE Boost::headers)
target_compile_definitions(trireme_boost INTERFACE BOOST_ALL_NO_LIB BOOST_JSON_NO_LIB BOOST_CONTAINER_NO_LIB)

# PCRE2 serves Split patterns that no hand scanner knows; the known tokenizers do without.
find_library(PCRE2_LIBRARY pcre2-8)
find_path(PCRE2_INCLUDE pcre2.h)

# yaml-cpp reads serve's --config; without it that flag is refused.
find_package(yaml-cpp QUIET)
set(TRIREME_WITH_YAML 0)
add_library(trireme_yaml INTERFACE)
if(yaml-cpp_FOUND)
  set(TRIREME_WITH_YAML 1)
  target_link_libraries(trireme_yaml INTERFACE yaml-cpp)
endif()
target_compile_definitions(trireme_yaml INTERFACE TRIREME_WITH_YAML=${TRIREME_WITH_YAML})

# OpenSSL serves TLS; without it --ssl-* flags are refused.
find_package(OpenSSL)
set(TRIREME_WITH_TLS 0)
add_library(trireme_tls INTERFACE)
if(OPENSSL_FOUND)
  set(TRIREME_WITH_TLS 1)
  target_link_libraries(trireme_tls INTERFACE OpenSSL::SSL)
endif()
target_compile_definitions(trireme_tls INTERFACE TRIREME_WITH_TLS=${TRIREME_WITH_TLS})

set(TRIREME_WITH_CUDA 0)
if(TRIREME_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES OFF)   # set below, per -gencode
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    find_path(NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
    if(NCCL_INCLUDE AND NCCL_LIBRARY AND TARGET CUDA::cublasLt)
      set(TRIREME_WITH_CUDA 1)
    else()
      message(WARNING "nvcc found, but not NCCL or cuBLASLt: building the CPU back end only")
    endif()
  endif()
endif()

# CUPTI's headers only: base/device_profiler.cpp loads the library when it is asked for.
set(TRIREME_WITH_CUPTI 0)
if(TRIREME_WITH_CUDA)
  find_path(CUPTI_INCLUDE cupti.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_ROOT}/extras/CUPTI/include
            ${CUDAToolkit_TARGET_DIR}/extras/CUPTI/include)
  if(CUPTI_INCLUDE)
    set(TRIREME_WITH_CUPTI 1)
  endif()
endif()

add_library(trireme_cuda INTERFACE)
if(TRIREME_WITH_CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")    # CMake 3.25 does not know nvcc 13
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  target_include_directories(trireme_cuda SYSTEM INTERFACE ${NCCL_INCLUDE})
  target_link_libraries(trireme_cuda INTERFACE CUDA::cudart_static CUDA::cublasLt ${NCCL_LIBRARY})
  set(TRIREME_CUDA_ARCHS "90a" CACHE STRING "GPU architectures to compile for, e.g. 80;90a")
  foreach(arch ${TRIREME_CUDA_ARCHS})
    target_compile_options(trireme_cuda INTERFACE
      $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_${arch},code=sm_${arch}>)
  endforeach()
  target_compile_options(trireme_cuda INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo -diag-suppress=20012>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${TRIREME_WERROR}>>:-Werror=all-warnings>)
endif()
# wgmma exists in code for sm_90a only.
set(TRIREME_WITH_WGMMA 0)
if("90a" IN_LIST TRIREME_CUDA_ARCHS)
  set(TRIREME_WITH_WGMMA 1)
endif()
target_compile_definitions(trireme_flags INTERFACE TRIREME_WITH_CUDA=${TRIREME_WITH_CUDA})
target_compile_definitions(trireme_cuda INTERFACE TRIREME_WITH_WGMMA=${TRIREME_WITH_WGMMA})
message(STATUS "CUDA back end: ${TRIREME_WITH_CUDA}")
