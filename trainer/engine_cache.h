/* Ways of products that were found by timing (model/engines.h), kept from run to run in one file
 * for all runs of a user, $XDG_CACHE_HOME/flywheel/engines.json or ~/.cache/flywheel/engines.json:
 *
 *   {"format": "1.0", "devices": {
 *     "NVIDIA H200 sm_90, CUDA 13.0, cuDNN 9.19.0, cuBLASLt 13.1.0, driver 13010":
 *       {"engines": "nn_engines_write's text", "xxh64": "of that text"}}}
 *
 * A device is its kind and the versions of driver and libraries, since ways are numbers of theirs.
 * Jobs may read and write at the same time: the file is replaced as a whole, and what one of them
 * loses by that is found again. It saves time and decides nothing else, so whatever is wrong with
 * it is a warning. */
#ifndef TRAINER_ENGINE_CACHE_H
#define TRAINER_ENGINE_CACHE_H

#include "model/device.h"
#include "model/engines.h"

/* Adds what is known of such a device. */
void tr_engine_cache_read(struct nn_engines *found, const struct nn_device *device);
/* Takes up found, beside what the file holds by now. Says so once, where there is no place for the
 * file. */
void tr_engine_cache_write(const struct nn_engines *found, const struct nn_device *device);

#endif
