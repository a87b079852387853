/* Golden images: a version carries 8 raw images and the logits that its trainer got for them on the
 * fp32 path. A loader that does not get the same logits has loaded, converted or computed something
 * else, and refuses the version. */
#ifndef MODEL_GOLDEN_H
#define MODEL_GOLDEN_H

#include "common/status.h"
#include "model/op.h"

#define NN_GOLDEN_IMAGES 8

/* Passes when max |got - want| <= tolerance * max |want| (1e-3 fp32, 2e-2 fp16, 5e-2 bf16), and for
 * each image whose margin between the two highest wanted logits is above twice that bound the top
 * class agrees. want, got: (n, classes). CM_EMISMATCH says where and by how much; CM_ENUMERIC when
 * a logit is not finite. */
CM_MUST_CHECK cm_status nn_golden_check(const float *want, const float *got, int n, int classes,
                                        enum nn_dtype dtype);

#endif
