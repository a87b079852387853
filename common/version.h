/* Which build this is. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

/* "0.1.0 (1a2b3c4)": version and the commit it was configured from ("unknown" outside a checkout).
 * Static. */
const char *cm_version(void);

#endif
