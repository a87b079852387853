/* Functions that the CPU and a GPU both compile: the one place where C and CUDA C++ differ. */
#ifndef COMMON_HOST_DEVICE_H
#define COMMON_HOST_DEVICE_H

#ifdef __CUDACC__
#define CM_HD static inline __host__ __device__
#else
#define CM_HD static inline
#endif

#endif
