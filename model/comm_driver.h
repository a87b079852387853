/* What a library of collectives gives (NCCL), without its types: a part of a GPU's driver table
 * (driver.h). The plug-in fills it (cuda/nccl_cuda.c), tests with a script (tests/unit/
 * test_gpu_comm.c) or with memory that processes of one host share (tests/parity/comm_host.h).
 * No call waits for another rank: what one began goes on behind it, and state says how it stands.
 * While it is NN_COMM_BUSY nothing else may be begun. Codes are the library's own, 0 is success.
 * One thread at a time but for abort, which may cut another thread's call short. */
#ifndef MODEL_COMM_DRIVER_H
#define MODEL_COMM_DRIVER_H

#include <stddef.h>

#define NN_COMM_ID  128 /* bytes */
#define NN_COMM_WHY 256

enum nn_comm_state {
    NN_COMM_BUSY,        /* with what was begun last: opening, connecting, finishing */
    NN_COMM_READY,       /* it is on its stream */
    NN_COMM_FAILED,      /* here; nothing but abort is left */
    NN_COMM_PEER_FAILED, /* elsewhere, as far as the library can tell; the same */
};

/* What goes to a peer, and what comes from it. An empty half is left out there, too. */
struct nn_comm_part {
    int peer;
    const void *out;
    void *in;
    size_t nout, nin; /* bytes */
};

struct nn_comm_driver {
    /* NULL: the library is there, and library says which ("NCCL 2.28.9"). Else what is missing. */
    const char *(*missing)(void);
    const char *(*library)(void);
    const char *(*text_of)(int code); /* "ncclInvalidUsage (5): …" */

    /* One rank makes the id, which serves once; all of them open with it, each on the GPU that its
     * thread uses. */
    int (*make_id)(unsigned char id[NN_COMM_ID]);
    int (*open)(void **out, const unsigned char id[NN_COMM_ID], int rank, int size);
    enum nn_comm_state (*state)(void *comm, char why[NN_COMM_WHY]); /* why: after a failure */

    /* On stream: n parts, all at once. */
    int (*swap)(void *comm, void *stream, const struct nn_comm_part *parts, int n);
    /* On stream, in place: the sum over all ranks, in an order of the library's own. */
    int (*sum)(void *comm, void *stream, float *buf, size_t n);

    int (*finish)(void *comm); /* collective; once it is READY, close comes back at once */
    void (*close)(void *comm);
    void (*abort)(void *comm); /* ends what is under way on the GPU, and frees comm */
};

#endif
