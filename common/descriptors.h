/* File descriptors of this process: how many it may have, and how many it has. */
#ifndef COMMON_DESCRIPTORS_H
#define COMMON_DESCRIPTORS_H

/* Raises the limit to want, as far as the hard limit allows; never lowers it. Returns the limit. */
int cm_descriptors_raise(int want);
/* The lowest number that is free, found by a copy of fd that is closed at once: so many are open at
 * least. INT_MAX: none is free. */
int cm_descriptors_lowest(int fd);

#endif
