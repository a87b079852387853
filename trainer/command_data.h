/* "flywheel data get|verify|show": what is there, is it whole, and how does it get here. */
#ifndef TRAINER_COMMAND_DATA_H
#define TRAINER_COMMAND_DATA_H

#include "common/status.h"

/* argv[0] is "data", argv[1] the word after it. --help of each word ends with CM_OK. */
CM_MUST_CHECK cm_status tr_command_data(int argc, char **argv);

#endif
