/* For test programs that need this host's GPU. */
#ifndef TESTS_FIRST_GPU_H
#define TESTS_FIRST_GPU_H

#include "model/device.h"

/* This host's first GPU, named on stdout; else NULL, why on stdout, and in *code what the program
 * returns: 77 (skipped) where there is no GPU, 1 where it cannot be opened. */
struct nn_device *first_gpu_open(int *code);

#endif
