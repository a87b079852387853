/* A driver whose GPU is the host: memory is malloc's, streams are queues that run as late and as
 * unevenly as events allow (host_streams.h), and a kernel's threads run one after the other, phase
 * by phase. So the GPU backend, its kernels, their launches and the order between streams are
 * tested where no GPU is. It proves what is computed, never the speed or what a compiler for GPUs
 * makes of it. FLYWHEEL_HOST_GPUS=n: it shows n GPUs, which ranks can tell apart.
 * FLYWHEEL_HOST_WAYS=30,0: its library has two ways of a product, "loops" and "loops 1", all with
 * the same bits, which take 30 and 0 ms longer by its timers. */
#ifndef TESTS_PARITY_DRIVER_HOST_H
#define TESTS_PARITY_DRIVER_HOST_H

#include "model/driver.h"

extern const struct nn_driver driver_host;

#endif
