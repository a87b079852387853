/* The one primitive under versions, lease and aliases: numbered folders that appear whole, by one
 * rename to a name not taken. rename() refuses a target folder that is not empty, on local disks as
 * on NFS and Lustre, so of several writers of one number exactly one succeeds, without locks. */
#ifndef PARAMETER_NUMBERED_H
#define PARAMETER_NUMBERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/file.h"
#include "common/status.h"

#define PS_NUMBERED 96 /* longest numbered name, with its NUL */

/* "gen-" and 7: "gen-000007". */
void ps_numbered_format(char text[PS_NUMBERED], const char *stem, int64_t number);
/* Only the canonical form of a number from 1. */
bool ps_numbered_parse(int64_t *number, const char *name, const char *stem);
/* Those in dir, ascending; *out from cm_alloc. */
CM_MUST_CHECK cm_status ps_numbered_list(int64_t **out, size_t *n, const char *dir,
                                         const char *stem);
/* The highest; 0 when there is none. */
CM_MUST_CHECK cm_status ps_numbered_highest(int64_t *out, const char *dir, const char *stem);
/* Makes dir/STEMnumber with this one file in it, at once and durably. CM_EEXIST: another was first.
 * fault names the fault point passed before the rename. */
CM_MUST_CHECK cm_status ps_numbered_claim(const char *dir, const char *stem, int64_t number,
                                          const char *file, const char *text, size_t n,
                                          const char *fault);

#endif
