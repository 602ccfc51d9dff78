#pragma once
// The one choice of back end: BACKEND(device, op(args)) calls cpu::op or cuda::op and notes the op's name for
// the progress beats; BACKEND_RETURN returns its value. Nothing else above the kernels asks which device it is on.

#include "base/check.h"
#include "base/device.h"
#include "base/progress.h"

#if TRIREME_WITH_CUDA
#define BACKEND(device, call)                                   \
  do {                                                          \
    ::trireme::rank_progress().tick(#call);                     \
    if ((device).is_cuda()) ::trireme::cuda::call; else ::trireme::cpu::call; \
  } while (0)
#define BACKEND_RETURN(device, call)                            \
  do {                                                          \
    ::trireme::rank_progress().tick(#call);                     \
    if ((device).is_cuda()) return ::trireme::cuda::call;       \
    return ::trireme::cpu::call;                                \
  } while (0)
#else
#define BACKEND(device, call)                                   \
  do {                                                          \
    ::trireme::rank_progress().tick(#call);                     \
    CHECK((device).is_cpu()) << "this build has no CUDA";       \
    ::trireme::cpu::call;                                       \
  } while (0)
#define BACKEND_RETURN(device, call)                            \
  do {                                                          \
    ::trireme::rank_progress().tick(#call);                     \
    CHECK((device).is_cpu()) << "this build has no CUDA";       \
    return ::trireme::cpu::call;                                \
  } while (0)
#endif
