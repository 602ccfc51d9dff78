find_package(GTest REQUIRED)
include(GoogleTest)

# What stands in the tests' own files is not worth the optimizer's time: a third of it.
add_library(test_options INTERFACE)
target_compile_options(test_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-O1>)
target_compile_definitions(test_options INTERFACE TRIREME_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
target_link_libraries(test_options INTERFACE GTest::gtest)

add_library(rank_main OBJECT ${CMAKE_SOURCE_DIR}/tests/support/rank_main.cpp)
target_link_libraries(rank_main PUBLIC test_options base MPI::MPI_CXX)

# add_unit_test(FOLDER/NAME LAYERS layer ...): tests/FOLDER/NAME.cpp, one process, label "unit".
function(add_unit_test path)
  cmake_parse_arguments(TEST "" "TIMEOUT" "LAYERS;ARGS" ${ARGN})
  get_filename_component(name ${path} NAME)
  add_executable(${name} ${CMAKE_SOURCE_DIR}/tests/${path}.cpp)
  target_link_libraries(${name} PRIVATE test_options ${TEST_LAYERS} GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${name} ${TEST_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT ${TEST_TIMEOUT})
endfunction()

# add_rank_test(FOLDER/NAME LAYERS layer ... RANKS 2 4): the same program under mpirun at each size, label
# "ranks"; its main() starts MPI (tests/support/rank_main.cpp). Flags: docs/design.md 1.
function(add_rank_test path)
  cmake_parse_arguments(TEST "" "TIMEOUT" "LAYERS;RANKS" ${ARGN})
  get_filename_component(name ${path} NAME)
  add_executable(${name} ${CMAKE_SOURCE_DIR}/tests/${path}.cpp)
  target_link_libraries(${name} PRIVATE rank_main ${TEST_LAYERS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 120)
  endif()
  foreach(ranks ${TEST_RANKS})
    add_test(NAME ${name}_np${ranks}
      COMMAND ${CMAKE_SOURCE_DIR}/scripts/mpirun_test.sh ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}_np${ranks} PROPERTIES LABELS ranks TIMEOUT ${TEST_TIMEOUT} PROCESSORS 2)
  endforeach()
endfunction()
