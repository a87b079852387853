/* Whether a candidate may take the champion's place: pure arithmetic on what both said about the
 * same images.
 *
 * Accuracy is compared in pairs, image by image, with a margin (Tango, "Equivalence test and
 * confidence interval for the difference in proportions for the paired-sample design", Statistics
 * in Medicine 17, 1998; without a margin it is McNemar's test): of n images the champion alone got
 * b right and the candidate alone c. H0: the candidate's accuracy is lower by the margin m or more.
 *
 *   T = (b - c - n m) / sqrt(n (2 q + m (1 - m)))       q = (sqrt(B^2 - 4 A C) - B) / (2 A)
 *   A = 2 n    B = (2 n - b + c) m - b - c    C = -c m (1 - m)
 *
 * T < -1.645 refuses H0 at one-sided 95 %: the burden of proof is the candidate's.
 *
 * A class's recall has fewer images, so there the burden is turned round: a fall counts when it is
 * shown by McNemar's test at the same level. */
#ifndef ONLINE_GATE_H
#define ONLINE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define OL_GATE_Z     1.6448536269514722 /* 95 % of a normal variable lie below */
#define OL_GATE_SHOWN 3                  /* fewest images of a class, lost, that show a fall */

double ol_gate_statistic(int64_t n, int64_t b, int64_t c, double margin);
/* Fewest images on which a candidate that answers as the champion does passes; 0 for margin 0. */
int64_t ol_gate_least_holdout(double margin);
/* Images on which a candidate that is as good, but answers this share of them otherwise, passes
 * every second time; 0 for margin 0. */
int64_t ol_gate_fair_holdout(double margin, double changed);
#define OL_GATE_CHANGED 0.05 /* of the answers: what a round of fine-tuning may well change */

struct ol_gate_limits {
    double margin, recall_drop, recall_floor, max_update, min_gain;
};

struct ol_gate_case { /* borrowed: n images with what they are and what the two said */
    size_t n;
    int nclasses;
    const int32_t *label, *champion, *candidate;
};

enum ol_gate_reason {
    OL_GATE_PASSED,
    OL_GATE_NOTHING,    /* no entry to train on */
    OL_GATE_FEW,        /* fewer than show anything */
    OL_GATE_NOT_FINITE, /* a loss, gradient or weight */
    OL_GATE_UPDATE,
    OL_GATE_ACCURACY,
    OL_GATE_RECALL,
    OL_GATE_FEEDBACK,
    OL_GATE_ANCHOR, /* against the best champion so far */
    OL_GATE_REASONS
};
const char *ol_gate_reason_name(enum ol_gate_reason reason); /* "accuracy" */
bool ol_gate_reason_parse(enum ol_gate_reason *out, const char *name);

struct ol_gate_verdict {
    enum ol_gate_reason reason;                   /* the first that speaks against it */
    char text[160];                               /* the same for people, with the numbers */
    double champion_accuracy, candidate_accuracy; /* on the holdout; 0 … 1 */
    int64_t worse, better;                        /* b and c */
    double statistic;
    int worst_class; /* with the largest fall of recall that is shown, -1: none is */
    double worst_drop;
    double update; /* relative norm */
    double feedback_champion, feedback_candidate;
};

/* Judges; v->update and the two feedback accuracies are set by the caller. holdout->n > 0. */
void ol_gate_judge(struct ol_gate_verdict *v, const struct ol_gate_limits *limits,
                   const struct ol_gate_case *holdout);
/* A verdict that passed is put to the same test against the anchor: what the best champion so far
 * said is then anchor->champion. Without it the small losses that the margin allows would add up,
 * champion by champion. */
void ol_gate_judge_anchor(struct ol_gate_verdict *v, const struct ol_gate_limits *limits,
                          const struct ol_gate_case *anchor);
/* Images of the class of which the holdout has fewest, not counting classes without any; 0: no
 * image. */
int64_t ol_gate_smallest_class(const int32_t *label, size_t n, int nclasses);
/* A verdict without a comparison: v is otherwise zero. */
void ol_gate_refuse(struct ol_gate_verdict *v, enum ol_gate_reason reason, const char *text);

#endif
