#include "parameter/store_command.h"

cm_status ps_command_open(struct ps_store **out, char run_dir[CM_PATH], const char *dir)
{
    char inside[CM_PATH];
    *out = NULL;
    CM_TRY(cm_path_join(inside, dir, "checkpoints"));
    bool is_run = cm_path_is_dir(inside);
    CM_TRY(cm_path_join(run_dir, dir, is_run ? "" : ".."));
    return ps_store_open(out, is_run ? inside : dir, 'v');
}
