#include "online/queue_identity.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "wire/feedback.h"
#include "wire/keys.h"

#define OLDEST     7 /* XINFO STREAM tells entries-added from here on */
#define BULK_LIMIT (4 * (long long)WI_FEEDBACK_IMAGE_MAX)

/* ---- who we are ---- */

/* What a folder is told from its copies by: a move within a file system keeps both numbers, a copy
 * none. The device is left out: mounted again, or by another host, it may have another number. ""
 * where there is nothing to go by: FUSE may make up an inode anew at each mount. */
#define PLACE 48
static cm_status find_place(char place[PLACE], const char *dir)
{
    struct statx s;
    struct statfs fs;
    if (statx(AT_FDCWD, dir, 0, STATX_INO | STATX_BTIME, &s) < 0 || statfs(dir, &fs) < 0)
        return CM_FAIL_ERRNO("cannot look at %s", dir);
    bool born = s.stx_mask & STATX_BTIME;
    place[0] = '\0';
    if (born || fs.f_type != FUSE_SUPER_MAGIC)
        snprintf(place, PLACE, "%llu.%llx%08x", (unsigned long long)s.stx_ino,
                 born ? (unsigned long long)s.stx_btime.tv_sec : 0, born ? s.stx_btime.tv_nsec : 0);
    return CM_OK;
}

/* The time of birth in a place; NULL: it has none, or zero, which is none. */
static const char *birth_of(const char *place)
{
    const char *dot = strchr(place, '.');
    return dot && dot[1 + strspn(dot + 1, "0")] ? dot + 1 : NULL;
}

/* Births decide where both are known. Else inodes: a kernel that tells of births may follow one
 * that did not, and a folder is no copy for that. */
static bool is_elsewhere(const char *was, const char *is)
{
    const char *born = birth_of(was), *now = birth_of(is);
    if (!*was || !*is)
        return false;
    if (born && now)
        return strcmp(born, now) != 0;
    return strtoull(was, NULL, 10) != strtoull(is, NULL, 10);
}

/* The file: the UUID, and after a space the place of its folder, which files of earlier builds
 * lack: *place is "" then. */
static cm_status read_name(char uuid[CM_UUID_TEXT], char place[PLACE], const char *path)
{
    char *text;
    size_t n;
    CM_TRY(cm_file_read(&text, &n, path, 256));
    text[strcspn(text, "\n")] = '\0';
    char *space = strchr(text, ' ');
    if (space)
        *space = '\0';
    bool fits = strlen(text) == CM_UUID_TEXT - 1 &&
                strspn(text, "0123456789abcdef-") == strlen(text) &&
                (!space || strlen(space + 1) < PLACE);
    if (fits) {
        memcpy(uuid, text, CM_UUID_TEXT);
        snprintf(place, PLACE, "%s", space ? space + 1 : "");
    }
    cm_free(&text);
    return fits ? CM_OK : CM_FAIL(CM_EFORMAT, "%s: no UUID", path);
}

static cm_status write_name(const char *path, const char *uuid, const char *place)
{
    char text[CM_UUID_TEXT + PLACE + 1];
    snprintf(text, sizeof text, "%s %s\n", uuid, place);
    return cm_file_replace(path, text, strlen(text));
}

cm_status ol_queue_owner(char owner[OL_OWNER], const char *dir)
{
    char path[CM_PATH], uuid[CM_UUID_TEXT], was[PLACE] = "", is[PLACE], host[64] = "";
    CM_TRY(cm_path_join(path, dir, "uuid"));
    CM_TRY(find_place(is, dir));
    cm_status st = read_name(uuid, was, path);
    bool copied = st == CM_OK && is_elsewhere(was, is), made = st == CM_ENOTFOUND || copied;
    if (made) { /* and nothing else: a new name would be another loop's */
        if (copied)
            cm_log_warn("%s is a copy, or came here from another file system: it gets a name of "
                        "its own, and %s stays that of the loop where it was",
                        dir, uuid);
        cm_uuid_format(uuid, cm_uuid_make());
        st = CM_OK;
    }
    CM_TRY(st);
    if (made || (*is && strcmp(was, is) != 0))
        CM_TRY(write_name(path, uuid, is));
    gethostname(host, sizeof host - 1);
    snprintf(owner, OL_OWNER, "%s %s:%.380s", uuid, host, dir);
    return CM_OK;
}

bool ol_queue_same_owner(const char *a, const char *b)
{
    return strncmp(a, b, CM_UUID_TEXT - 1) == 0;
}

/* ---- the server ---- */

int ol_queue_version(const char *info)
{
    static const char key[] = "redis_version:";
    const char *at = strstr(info, key);
    return at ? (int)strtol(at + strlen(key), NULL, 10) : 0;
}

/* A user that may not ask is a user that may not ask. */
static cm_status unless_forbidden(cm_status st)
{
    return st == CM_EUNSUPPORTED ? CM_OK : st;
}

static cm_status check_bulk(struct cm_redis *redis)
{
    const struct cm_redis_value *v;
    cm_status st = cm_redis_call(redis, &v, "CONFIG", "GET", "proto-max-bulk-len", NULL);
    if (st == CM_OK && v->n == 2 && v->element[1].type == CM_REDIS_STRING &&
        strtoll(v->element[1].string, NULL, 10) > BULK_LIMIT)
        cm_log_warn(
            "Redis takes values of %s bytes (proto-max-bulk-len), feedback has at most %zu: "
            "an operator can fill its memory and this program's",
            v->element[1].string, WI_FEEDBACK_IMAGE_MAX);
    return st == CM_EINVAL ? CM_OK : unless_forbidden(st); /* renamed away, as hosts of Redis do */
}

cm_status ol_queue_check_server(struct cm_redis *redis)
{
    const struct cm_redis_value *v;
    cm_status st = cm_redis_call(redis, &v, "INFO", "server", NULL);
    int version = st == CM_OK && v->type == CM_REDIS_STRING ? ol_queue_version(v->string) : 0;
    CM_TRY(unless_forbidden(st));
    if (version > 0 && version < OLDEST)
        return CM_FAIL(CM_EUNSUPPORTED, "this is Redis %d; feedback needs %d or newer", version,
                       OLDEST);
    return check_bulk(redis);
}

/* ---- its data ---- */

/* The text under key, "" when there is none. */
static cm_status get_text(char *out, size_t size, struct cm_redis *redis, const char *key)
{
    const struct cm_redis_value *v;
    CM_TRY(cm_redis_call(redis, &v, "GET", key, NULL));
    if (v->type != CM_REDIS_NIL && (v->type != CM_REDIS_STRING || v->n == 0 || v->n >= size))
        return CM_FAIL(CM_EINVAL, "%s: no value that a loop has set", key);
    snprintf(out, size, "%s", v->type == CM_REDIS_NIL ? "" : v->string);
    return CM_OK;
}

/* The text under key; `fresh` when nobody was there before. */
static cm_status settle_text(char *out, size_t size, struct cm_redis *redis, const char *key,
                             const char *fresh)
{
    const struct cm_redis_value *v;
    CM_TRY(get_text(out, size, redis, key));
    if (*out)
        return CM_OK;
    CM_TRY(cm_redis_call(redis, &v, "SET", key, fresh, "NX", NULL));
    CM_TRY(get_text(out, size, redis, key));
    return *out ? CM_OK : CM_FAIL(CM_EINVAL, "%s: set, and gone again", key);
}

cm_status ol_queue_claim(struct cm_redis *redis, const char *owner)
{
    char there[OL_OWNER];
    CM_TRY(settle_text(there, sizeof there, redis, WI_KEY_OWNER, owner));
    if (ol_queue_same_owner(there, owner))
        return CM_OK;
    return CM_FAIL(
        CM_EMISMATCH,
        "this Redis feeds another loop, %s: two would take each other's entries. If that "
        "one is gone for good: redis-cli DEL " WI_KEY_OWNER,
        there);
}

cm_status ol_queue_epoch(char epoch[CM_UUID_TEXT], struct cm_redis *redis)
{
    char fresh[CM_UUID_TEXT];
    cm_uuid_format(fresh, cm_uuid_make());
    return settle_text(epoch, CM_UUID_TEXT, redis, WI_KEY_EPOCH, fresh);
}

cm_status ol_queue_confirm(bool *same, struct cm_redis *redis, const char *owner, const char *epoch)
{
    char text[OL_OWNER];
    *same = false;
    CM_TRY(get_text(text, sizeof text, redis, WI_KEY_EPOCH));
    if (strcmp(text, epoch) != 0)
        return CM_OK;
    CM_TRY(get_text(text, sizeof text, redis, WI_KEY_OWNER));
    *same = ol_queue_same_owner(text, owner);
    return CM_OK;
}
