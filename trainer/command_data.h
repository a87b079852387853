/* "flywheel data get|verify|show|export": what is there, is it whole, how does it get here,
 * and out as images. */
#ifndef TRAINER_COMMAND_DATA_H
#define TRAINER_COMMAND_DATA_H

#include "common/status.h"

/* argv[0] is "data", argv[1] the verb. */
CM_MUST_CHECK cm_status tr_command_data(int argc, char **argv);

/* command_export.c */
CM_MUST_CHECK cm_status tr_command_data_export(int argc, char **argv);

#endif
