#include "online/gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const reason_name[OL_GATE_REASONS] = {
    [OL_GATE_PASSED] = "passed", [OL_GATE_NOTHING] = "nothing",
    [OL_GATE_FEW] = "few",       [OL_GATE_NOT_FINITE] = "not finite",
    [OL_GATE_UPDATE] = "update", [OL_GATE_ACCURACY] = "accuracy",
    [OL_GATE_RECALL] = "recall", [OL_GATE_FEEDBACK] = "feedback",
    [OL_GATE_ANCHOR] = "anchor",
};

const char *ol_gate_reason_name(enum ol_gate_reason reason)
{
    return reason_name[reason];
}

bool ol_gate_reason_parse(enum ol_gate_reason *out, const char *name)
{
    for (int i = 0; i < OL_GATE_REASONS; i++) {
        if (strcmp(name, reason_name[i]) != 0)
            continue;
        *out = (enum ol_gate_reason)i;
        return true;
    }
    return false;
}

double ol_gate_statistic(int64_t n, int64_t b, int64_t c, double margin)
{
    double N = (double)n, worse = (double)b, better = (double)c, m = margin;
    double A = 2 * N;
    double B = (2 * N - worse + better) * m - worse - better;
    double C = -better * m * (1 - m);
    double root = sqrt(fmax(B * B - 4 * A * C, 0));
    double q = fmax(root - B, 0) / (2 * A);
    double variance = N * (2 * q + m * (1 - m));
    double difference = worse - better - N * m;
    if (variance <= 0) /* margin 0 and not one answer differs: nothing is shown */
        return difference < 0 ? (double)-INFINITY : 0;
    return difference / sqrt(variance);
}

/* b = c = 0 gives q = 0 and T = -sqrt(n m / (1 - m)). */
int64_t ol_gate_least_holdout(double margin)
{
    if (margin <= 0)
        return 0;
    return (int64_t)ceil(OL_GATE_Z * OL_GATE_Z * (1 - margin) / margin);
}

/* With b = c = changed n / 2 the variance is n (changed - m^2) near H0. */
int64_t ol_gate_fair_holdout(double margin, double changed)
{
    if (margin <= 0)
        return 0;
    double n = OL_GATE_Z * OL_GATE_Z * fmax(changed - margin * margin, 0) / (margin * margin);
    return (int64_t)fmax(ceil(n), (double)ol_gate_least_holdout(margin));
}

struct recall {
    int64_t n, champion, candidate;
    int64_t worse, better;
};

static struct recall recall_of(const struct ol_gate_case *k, int class)
{
    struct recall r = {0};
    for (size_t i = 0; i < k->n; i++) {
        if (k->label[i] != class)
            continue;
        bool a = k->champion[i] == class, b = k->candidate[i] == class;
        r.n++;
        r.champion += a;
        r.candidate += b;
        r.worse += a && !b;
        r.better += b && !a;
    }
    return r;
}

int64_t ol_gate_smallest_class(const int32_t *label, size_t n, int nclasses)
{
    int64_t least = 0;
    const struct ol_gate_case k = {.n = n, .label = label, .champion = label, .candidate = label};
    for (int c = 0; c < nclasses; c++) {
        int64_t images = recall_of(&k, c).n;
        if (images > 0 && (least == 0 || images < least))
            least = images;
    }
    return least;
}

static void compare(struct ol_gate_verdict *v, const struct ol_gate_case *k, double margin)
{
    int64_t champion = 0, candidate = 0;
    v->worse = v->better = 0;
    for (size_t i = 0; i < k->n; i++) {
        bool a = k->champion[i] == k->label[i], b = k->candidate[i] == k->label[i];
        champion += a;
        candidate += b;
        v->worse += a && !b;
        v->better += b && !a;
    }
    v->champion_accuracy = (double)champion / (double)k->n;
    v->candidate_accuracy = (double)candidate / (double)k->n;
    v->statistic = ol_gate_statistic((int64_t)k->n, v->worse, v->better, margin);
}

/* True when a class is shown to have fallen and fell too far, or lies too low thereafter: a floor
 * that the champion already misses must not lock out what improves on it, and a class of few images
 * nothing by chance. */
static bool judge_recall(struct ol_gate_verdict *v, const struct ol_gate_limits *limits,
                         const struct ol_gate_case *k)
{
    int low = -1;
    double lowest = 0;
    v->worst_class = -1;
    v->worst_drop = 0;
    for (int c = 0; c < k->nclasses; c++) {
        struct recall r = recall_of(k, c);
        if (r.n == 0)
            continue;
        if (ol_gate_statistic(r.n, r.worse, r.better, 0) < OL_GATE_Z)
            continue;
        double drop = (double)(r.champion - r.candidate) / (double)r.n;
        double recall = (double)r.candidate / (double)r.n;
        if (v->worst_class < 0 || drop > v->worst_drop) {
            v->worst_class = c;
            v->worst_drop = drop;
        }
        if (recall < limits->recall_floor && (low < 0 || recall < lowest)) {
            low = c;
            lowest = recall;
        }
    }
    if (v->worst_drop > limits->recall_drop) {
        snprintf(v->text, sizeof v->text, "recall of class %d falls by %.4f, more than %g",
                 v->worst_class, v->worst_drop, limits->recall_drop);
        return true;
    }
    if (low >= 0)
        snprintf(v->text, sizeof v->text, "recall of class %d falls to %.4f, below %g", low, lowest,
                 limits->recall_floor);
    return low >= 0;
}

void ol_gate_judge(struct ol_gate_verdict *v, const struct ol_gate_limits *limits,
                   const struct ol_gate_case *holdout)
{
    compare(v, holdout, limits->margin);
    bool recall = judge_recall(v, limits, holdout);
    double gain = v->feedback_candidate - v->feedback_champion;

    if (!(v->update <= limits->max_update)) { /* also when it is not a number */
        v->reason = OL_GATE_UPDATE;
        snprintf(v->text, sizeof v->text, "the weights move by %.4f of their norm, more than %g",
                 v->update, limits->max_update);
    } else if (v->statistic > -OL_GATE_Z) {
        v->reason = OL_GATE_ACCURACY;
        snprintf(v->text, sizeof v->text,
                 "holdout accuracy %.4f -> %.4f (%lld worse, %lld better): not shown to lose less "
                 "than %g (T %.2f)",
                 v->champion_accuracy, v->candidate_accuracy, (long long)v->worse,
                 (long long)v->better, limits->margin, v->statistic);
    } else if (recall) {
        v->reason = OL_GATE_RECALL;
    } else if (!(gain >= limits->min_gain)) {
        v->reason = OL_GATE_FEEDBACK;
        snprintf(v->text, sizeof v->text, "accuracy on the feedback %.4f -> %.4f, a gain below %g",
                 v->feedback_champion, v->feedback_candidate, limits->min_gain);
    } else {
        v->reason = OL_GATE_PASSED;
        snprintf(v->text, sizeof v->text,
                 "holdout accuracy %.4f -> %.4f (T %.2f), on the feedback %.4f -> %.4f",
                 v->champion_accuracy, v->candidate_accuracy, v->statistic, v->feedback_champion,
                 v->feedback_candidate);
    }
}

void ol_gate_judge_anchor(struct ol_gate_verdict *v, const struct ol_gate_limits *limits,
                          const struct ol_gate_case *anchor)
{
    struct ol_gate_verdict held = {.worst_class = -1};
    if (v->reason != OL_GATE_PASSED)
        return;
    compare(&held, anchor, limits->margin);
    if (held.statistic > -OL_GATE_Z)
        snprintf(held.text, sizeof held.text,
                 "holdout accuracy %.4f -> %.4f (T %.2f): not shown to lose less than %g",
                 held.champion_accuracy, held.candidate_accuracy, held.statistic, limits->margin);
    else if (!judge_recall(&held, limits, anchor))
        return;
    v->reason = OL_GATE_ANCHOR;
    snprintf(v->text, sizeof v->text, "against the best champion so far: %.120s", held.text);
}

void ol_gate_refuse(struct ol_gate_verdict *v, enum ol_gate_reason reason, const char *text)
{
    *v = (struct ol_gate_verdict){.reason = reason, .worst_class = -1};
    snprintf(v->text, sizeof v->text, "%s", text);
}
