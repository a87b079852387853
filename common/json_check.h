/* The strict half of reading JSON: RFC 8259's grammar, and json.h's limits that need no tree. */
#ifndef COMMON_JSON_CHECK_H
#define COMMON_JSON_CHECK_H

#include <stddef.h>

#include "common/status.h"

#define CM_JSON_DEPTH 32 /* containers inside each other */

/* CM_EFORMAT "what:3:14: …" with line and column (in bytes, from 1) of the first fault. Never
 * allocates. */
CM_MUST_CHECK cm_status cm_json_check(const char *text, size_t n, const char *what);

#endif
