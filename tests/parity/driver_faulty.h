/* The host as a GPU (driver_host.h) at which things go wrong as a test says, or as the environment
 * says to programs that open it as their plug-in. */
#ifndef TESTS_PARITY_DRIVER_FAULTY_H
#define TESTS_PARITY_DRIVER_FAULTY_H

#include <stdatomic.h>
#include <stdbool.h>

#include "model/driver.h"

struct driver_faults {
    atomic_long limit;      /* bytes of its memory; 0: as much as the host's */
    atomic_long used, made; /* bytes now; allocations ever: its memory and pinned */
    atomic_int launch_code; /* of every launch from now on; 0: none fails */
    atomic_bool hangs;      /* no stream gets idle any more … */
    _Atomic(void *) stuck;  /* … or only this one */
    void *newest;           /* the stream that was opened last */
    bool no_capture, no_products;
    bool no_driver;
};
extern struct driver_faults driver_faults;

#define DRIVER_LOST 700 /* a code of its own */

/* Fills the table; the limit is FLYWHEEL_FAULTY_GPU's number, and "none" there means no driver. */
const struct nn_driver *driver_faulty(void);

#endif
