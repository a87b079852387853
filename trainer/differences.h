/* What a run that goes on has in other ways than the version it goes on from. */
#ifndef TRAINER_DIFFERENCES_H
#define TRAINER_DIFFERENCES_H

#include "parameter/manifest.h"
#include "trainer/session.h"

/* A warning for each: build or machine, data, and every changed key of the config. Going on is
 * right where it was meant, so nothing is refused. */
void tr_warn_of_differences(const struct tr_session *s, const struct ps_manifest *m);

#endif
