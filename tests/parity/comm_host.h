/* Communicators for a GPU that is the host (driver_host.h): processes of one host reach each other
 * through memory that they share, so real ranks exchange real data where no GPU is. Work waits in
 * its stream, as all of the host's does, and goes on piece by piece as the other ranks come.
 *
 *   rank 1 ─► box [1][0]: full? n bytes ─► rank 0        a box for each pair and direction
 *
 * An id names the memory as a file of the process that made it, so nothing is left behind.
 * FLYWHEEL_HOST_COMM_MS=n: a slow link; an exchange takes at least n milliseconds.
 * FLYWHEEL_HOST_COMM_STUCK: an abort does not come back. */
#ifndef TESTS_PARITY_COMM_HOST_H
#define TESTS_PARITY_COMM_HOST_H

#include "model/comm_driver.h"

extern const struct nn_comm_driver comm_host;

#endif
