execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 OUTPUT_VARIABLE commit
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()
string(REPLACE "\"" "" CUDA_ARCHS "${CUDA_ARCHS}")
set(text "#pragma once
#define TRIREME_VERSION \"${VERSION}\"
#define TRIREME_COMMIT \"${commit}\"
#define TRIREME_CUDA_ARCHS \"${CUDA_ARCHS}\"
#define TRIREME_BUILD_TYPE \"${BUILD_TYPE}\"
")
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "${text}" @ONLY)
