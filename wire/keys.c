#include "wire/keys.h"

#include <stdio.h>
#include <string.h>

#include "wire/text.h"

#define FEEDBACK "fw:feedback:"

bool wi_key_feedback(char key[WI_KEY], const char *operator_name)
{
    size_t n = strlen(operator_name);
    if (!wi_text_is_name(operator_name, n, WI_OPERATOR - 1))
        return false;
    snprintf(key, WI_KEY, FEEDBACK "%.*s", WI_OPERATOR - 1, operator_name);
    return true;
}

bool wi_key_operator(char operator_name[WI_OPERATOR], const char *key, size_t n)
{
    size_t nprefix = sizeof(FEEDBACK) - 1;
    if (n < nprefix || memcmp(key, FEEDBACK, nprefix) != 0 ||
        !wi_text_is_name(key + nprefix, n - nprefix, WI_OPERATOR - 1))
        return false;
    memcpy(operator_name, key + nprefix, n - nprefix);
    operator_name[n - nprefix] = '\0';
    return true;
}

void wi_key_capture(char key[WI_KEY], struct wi_id prediction_id)
{
    char text[WI_ID_TEXT];
    wi_id_format(text, prediction_id);
    snprintf(key, WI_KEY, "fw:capture:%s", text);
}
