/* The GPU plug-in, libflywheel_cuda.so: opened at run time, so that one build serves hosts with and
 * without NVIDIA's libraries. It calls nothing of its host; all that it gives is one symbol. */
#ifndef MODEL_PLUGIN_H
#define MODEL_PLUGIN_H

#include <stdint.h>

#include "common/status.h"
#include "model/comm_driver.h"
#include "model/cuda/kernels_list.h"
#include "model/driver.h"

#define NN_PLUGIN_FILE   "libflywheel_cuda.so"
#define NN_PLUGIN_SYMBOL "flywheel_plugin"

struct nn_plugin {
    const char *build; /* cm_version() of the build that it belongs to: refused by any other … */
    uint64_t shapes; /* … and so is one whose structs differ, of a build that was not committed */
    const struct nn_driver *driver;
};

/* The sizes of what both sides see, each times a number of its own. */
#define NN_PLUGIN_SIZE(name, type, phases)                                                         \
    +UINT64_C(0x100000001b3) * (NN_KERNEL_##name + 16) * sizeof(type)
#define NN_PLUGIN_KERNELS                                                                          \
    (UINT64_C(0) NN_TYPED_KERNELS(NN_PLUGIN_SIZE) NN_PLAIN_KERNELS(NN_PLUGIN_SIZE))
#define NN_PLUGIN_SHAPES                                                                           \
    (NN_PLUGIN_KERNELS + UINT64_C(11) * NN_KERNEL_COUNT +                                          \
     UINT64_C(1009) * sizeof(struct nn_driver) + UINT64_C(10007) * sizeof(struct nn_driver_info) + \
     UINT64_C(100003) * sizeof(struct nn_product) +                                                \
     UINT64_C(1000003) * sizeof(struct nn_product_plan) +                                          \
     UINT64_C(10000019) * sizeof(struct nn_step_values) +                                          \
     UINT64_C(100000007) * sizeof(struct nn_comm_driver))

/* path: a file; NULL: NN_PLUGIN_FILE beside this program or in ../lib. It stays open for the
 * process's life. CM_EUNSUPPORTED says which file or library is missing, CM_EVERSION that it is of
 * another build. */
CM_MUST_CHECK cm_status nn_plugin_open(const struct nn_plugin **out, const char *path);

#endif
