/* For test programs that need this host's GPU, or take one where there is one. */
#ifndef TESTS_FIRST_GPU_H
#define TESTS_FIRST_GPU_H

#include "model/device.h"

/* This host's first GPU, named on stdout; else NULL, why on stdout, and in *code what the program
 * returns: 77 (skipped) where there is no GPU, 1 where it cannot be opened. */
struct nn_device *first_gpu_open(int *code);

/* Runs tests on the host as a GPU (driver_host.h), and on this host's first one where there is one.
 * Returns how many failed. */
int on_host_and_gpu(int (*run)(struct nn_device *device));

#endif
