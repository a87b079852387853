/* When is a loss a spike? Pure arithmetic over the losses of the last steps.
 *
 * The rule is the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers,
 * 1993):
 *
 *     loss > median + k * max(1.4826 * MAD, median / 50)
 *
 * over the last TR_SPIKE_WINDOW losses, MAD being the median of |loss - median|. Median and MAD do
 * not move when one of the losses was odd, as a mean and its deviation would. The second term keeps
 * a run whose loss hardly moves any more from tripping over nothing. The mean over an epoch's
 * last, smaller batch scatters as one over the root of its size, so k grows with that. What to do
 * about it is PaLM's (Chowdhery et al. 2022, section 5.1): go back to a checkpoint and leave the
 * data of the steps out.
 *
 * A loss that is not finite is not asked about here: the engine has refused the step before. */
#ifndef TRAINER_SPIKE_H
#define TRAINER_SPIKE_H

#include <stdbool.h>
#include <stdint.h>

#define TR_SPIKE_WINDOW 64
#define TR_SPIKE_LEAST  16 /* losses seen before the first verdict */

/* A part of the run's state: a resume must come to the same verdicts. Zeroed is empty. */
struct tr_losses {
    double loss[TR_SPIKE_WINDOW]; /* a ring: that of step number n at n % TR_SPIKE_WINDOW */
    int64_t n;                    /* noted so far */
};

/* The limit that the next loss may not pass, under k; infinite while there are too few. share: of a
 * full batch, 0 to 1, that the loss is a mean over. */
double tr_losses_limit(const struct tr_losses *l, double k, double share);
/* Spikes are not noted: they would hide the next one. */
void tr_losses_note(struct tr_losses *l, double loss);

/* Steps that a run left out, both ends included. */
struct tr_skip {
    int64_t first, last;
};
#define TR_SKIPS 64 /* a run that needs more has another problem */

/* How many skips at the end of the list left nothing that was trained since, up to `step`, that of
 * the version to go back to now. A later skip that begins before an earlier one has gone back
 * further, and holds all of it. */
int tr_skips_in_a_row(const struct tr_skip *skip, int64_t n, int64_t step);

#endif
