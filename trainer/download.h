/* A file from the network, by the curl program: resumed where it broke, retried, and given up only
 * when it stalls. */
#ifndef TRAINER_DOWNLOAD_H
#define TRAINER_DOWNLOAD_H

#include "common/status.h"

struct tr_download {
    const char *url; /* http, https, ftp or file */
    const char
        *path; /* of the result; path.part holds what has come so far, also between two runs */
    const char *md5; /* lower-case hex, of the whole */
    int attempts;    /* tries in a row that bring no new byte before it gives up */
    int stall_s;     /* a try that brings less than 1 KiB/s for so long is broken off */
    int progress;    /* 1: show it */
};

/* path exists afterwards, with that MD5. CM_ECONNECT: gave up (what came stays for the next run);
 * CM_ECORRUPT: the whole came and its MD5 is another: the part is removed, as a resume cannot mend
 * it. Both name url and path. */
CM_MUST_CHECK cm_status tr_download(const struct tr_download *d);

#endif
