/* Any bytes into the reader; what it accepts must be readable to the last byte and cover the file
 * exactly. */
#include <stddef.h>
#include <stdint.h>

#include "parameter/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ps_tensors set;
    if (ps_safetensors_parse(&set, data, n, "input") != CM_OK)
        return 0;
    const uint8_t *end = NULL;
    for (size_t i = 0; i < set.n; i++) {
        const uint8_t *begin = set.t[i].data;
        if (begin < data || begin + set.t[i].nbytes > data + n || (end && begin != end))
            __builtin_trap();
        end = begin + set.t[i].nbytes;
        /* Reads every element; the sum keeps the reads. */
        volatile double largest = ps_tensor_abs_max(&set.t[i]);
        (void)largest;
    }
    if (end && end != data + n)
        __builtin_trap();
    ps_tensors_release(&set);
    return 0;
}
