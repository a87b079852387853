/* Which version serves: a new one takes over only when enough workers proved it, a refused one
 * never, and the old one goes on meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/rollout.h"

#define TIMEOUT 1000

static const struct sv_version v1 = {1, 11}, v2 = {2, 22}, v3 = {3, 33};

static void join(struct sv_rollout *r, int w)
{
    static uint8_t lives;
    sv_rollout_join(r, w, (struct wi_id){{++lives}});
}

static struct sv_rollout rollout(int workers)
{
    struct sv_rollout r = {.load_timeout_ns = TIMEOUT};
    for (int w = 0; w < workers; w++)
        join(&r, w);
    return r;
}

/* What w is asked for, and now is. */
static int64_t ask_at(struct sv_rollout *r, int w, int64_t now_ns)
{
    struct sv_version v = sv_rollout_wants(r, w, now_ns);
    if (v.number)
        sv_rollout_asked(r, w, v, now_ns);
    return v.number;
}

static int64_t ask(struct sv_rollout *r, int w)
{
    return ask_at(r, w, 0);
}

static enum sv_refusal refuse(struct sv_rollout *r, int w, struct sv_version v)
{
    return sv_rollout_refused(r, w, v, false, 0);
}

static void lose(struct sv_rollout *r, int w)
{
    sv_rollout_part(r, w, true, 0);
}

static bool is_condemned(struct sv_rollout *r, int64_t now_ns)
{
    struct sv_version v;
    return sv_rollout_condemn(r, now_ns, &v);
}

/* Asked for v, and has it. */
static void load(struct sv_rollout *r, int w, struct sv_version v)
{
    assert_int_equal(ask(r, w), v.number);
    sv_rollout_loaded(r, w, v);
}

static struct sv_rollout serving_v1(int workers)
{
    struct sv_rollout r = rollout(workers);
    assert_int_equal(sv_rollout_aim(&r, v1, true, 0), SV_AIM_NEW);
    for (int w = 0; w < workers; w++)
        load(&r, w, v1);
    assert_true(sv_rollout_may_switch(&r, 0));
    assert_int_equal(sv_rollout_switch(&r).number, 0);
    assert_true(sv_rollout_is_ready(&r));
    return r;
}

static void test_starts_with_the_first_worker(void **state)
{
    struct sv_rollout r = rollout(2);
    (void)state;
    assert_int_equal(ask(&r, 0), 0);
    assert_false(sv_rollout_is_ready(&r));
    sv_rollout_aim(&r, v1, true, 0);
    assert_false(sv_rollout_may_switch(&r, TIMEOUT));
    load(&r, 0, v1);
    assert_true(sv_rollout_may_switch(&r, 0));
    sv_rollout_switch(&r);
    assert_true(sv_rollout_can_serve(&r, 0));
    assert_false(sv_rollout_can_serve(&r, 1));
    load(&r, 1, v1);
    assert_true(sv_rollout_can_serve(&r, 1));
}

static void test_waits_for_all(void **state)
{
    struct sv_rollout r = serving_v1(3);
    (void)state;
    assert_int_equal(sv_rollout_aim(&r, v2, true, 100), SV_AIM_NEW);
    load(&r, 0, v2);
    load(&r, 1, v2);
    assert_false(sv_rollout_may_switch(&r, 100));
    assert_int_equal(r.serving.number, 1);
    load(&r, 2, v2);
    assert_true(sv_rollout_may_switch(&r, 100));
    assert_int_equal(sv_rollout_switch(&r).number, 1);
    assert_int_equal(r.serving.number, 2);
    for (int w = 0; w < 3; w++) {
        assert_true(sv_rollout_can_serve(&r, w));
        assert_int_equal(ask(&r, w), 0);
    }
}

static void test_half_are_enough_after_a_while(void **state)
{
    struct sv_rollout r = serving_v1(3);
    (void)state;
    sv_rollout_aim(&r, v2, true, 100);
    load(&r, 0, v2);
    assert_false(sv_rollout_may_switch(&r, 100 + TIMEOUT)); /* one of three */
    load(&r, 1, v2);
    assert_false(sv_rollout_may_switch(&r, 99 + TIMEOUT));
    assert_true(sv_rollout_may_switch(&r, 100 + TIMEOUT));
    sv_rollout_switch(&r);
    assert_false(sv_rollout_can_serve(&r, 2)); /* the slow one gets no batch until it has it */
}

/* The other one's load hangs: it is told, and holds nothing up for ever. */
static void test_one_of_two_is_half(void **state)
{
    struct sv_rollout r = serving_v1(2);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(ask(&r, 0), 2);
    assert_int_equal(ask(&r, 1), 2);
    assert_false(sv_rollout_is_stalled(&r, TIMEOUT - 1));
    assert_true(sv_rollout_is_stalled(&r, TIMEOUT));
    sv_rollout_loaded(&r, 0, v2);
    assert_int_equal(sv_rollout_ahead(&r), 1);
    assert_false(sv_rollout_may_switch(&r, TIMEOUT - 1));
    assert_true(sv_rollout_may_switch(&r, TIMEOUT));
    assert_false(sv_rollout_is_stalled(&r, TIMEOUT));
    sv_rollout_switch(&r);
    assert_false(sv_rollout_is_stalled(&r, INT64_MAX));
}

/* Workers die of loading it: the second death is enough, wherever the first one sat. */
static void test_a_version_that_kills(void **state)
{
    struct sv_rollout r = serving_v1(2);
    struct sv_version v;
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(ask(&r, 0), 2);
    lose(&r, 0);
    assert_false(is_condemned(&r, 0));
    join(&r, 0);
    load(&r, 0, v1);
    assert_int_equal(ask(&r, 0), 2);
    lose(&r, 0);
    assert_true(sv_rollout_condemn(&r, 0, &v));
    assert_int_equal(v.number, 2);
    assert_true(sv_rollout_is_banned(&r, v2));
    assert_true(sv_rollout_can_serve(&r, 1));
    assert_int_equal(ask(&r, 1), 0);
    sv_rollout_aim(&r, v3, true, 0); /* another version starts afresh */
    assert_int_equal(ask(&r, 1), 3);
    lose(&r, 1);
    assert_false(is_condemned(&r, 0));
}

/* Two lose their GPU over it, and a third one has it: the version is good, and goes on. */
static void test_a_version_that_others_have(void **state)
{
    struct sv_rollout r = serving_v1(3);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    load(&r, 0, v2);
    for (int w = 1; w < 3; w++) {
        assert_int_equal(ask(&r, w), 2);
        sv_rollout_part(&r, w, true, 10);
        assert_false(is_condemned(&r, 10));
    }
    assert_true(sv_rollout_may_switch(&r, 10));
    join(&r, 1);
    assert_int_equal(ask_at(&r, 1, 10), 1);
    sv_rollout_loaded(&r, 1, v1);
    assert_int_equal(ask_at(&r, 1, 9 + TIMEOUT), 0); /* not at once to its death again */
    assert_int_equal(ask_at(&r, 1, 10 + TIMEOUT), 2);
    lose(&r, 0); /* it had it: what it showed counts */
    sv_rollout_part(&r, 1, true, 10 + TIMEOUT);
    assert_false(is_condemned(&r, 10 + TIMEOUT));
}

/* A third one is still at it: its word decides, unless it never comes. */
static void test_a_verdict_waits_for_who_is_loading(void **state)
{
    struct sv_rollout start = serving_v1(4), r;
    (void)state;
    sv_rollout_aim(&start, v2, true, 0);
    for (int w = 0; w < 3; w++)
        assert_int_equal(ask(&start, w), 2);
    lose(&start, 0);
    lose(&start, 1);
    assert_false(is_condemned(&start, 0));
    assert_int_equal(ask(&start, 3), 0); /* nobody follows meanwhile */
    r = start;
    sv_rollout_loaded(&r, 2, v2);
    assert_false(is_condemned(&r, INT64_MAX));
    r = start;
    lose(&r, 2);
    assert_true(is_condemned(&r, 0));
    r = start;
    sv_rollout_refused(&r, 2, v2, true, 0);
    assert_true(is_condemned(&r, 0));
    r = start;
    assert_false(is_condemned(&r, TIMEOUT - 1));
    assert_true(is_condemned(&r, TIMEOUT)); /* it hangs */
}

/* Nobody had a core for a while: links broke, and their workers came back on others. */
static void test_who_comes_back_has_not_died(void **state)
{
    struct sv_rollout r = serving_v1(3);
    (void)state;
    r.mourn_ns = 10;
    sv_rollout_aim(&r, v2, true, 0);
    for (int w = 0; w < 2; w++) {
        assert_int_equal(ask(&r, w), 2);
        lose(&r, w);
    }
    assert_false(is_condemned(&r, 9));
    struct sv_rollout after = r;
    assert_true(is_condemned(&after, 10));
    struct wi_id life = r.dead[0];
    sv_rollout_join(&r, 1, life);
    assert_false(is_condemned(&r, INT64_MAX));
    load(&r, 1, v1);
    assert_int_equal(ask(&r, 1), 2); /* and is asked again */
    sv_rollout_part(&r, 1, true, 20);
    assert_false(is_condemned(&r, 29));
    assert_true(is_condemned(&r, 30));
}

static void test_deaths_that_are_not_its_fault(void **state)
{
    struct sv_rollout r = serving_v1(3);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    lose(&r, 0); /* was not asked yet */
    assert_int_equal(ask(&r, 1), 2);
    sv_rollout_part(&r, 1, false, 0); /* was told to stop */
    assert_int_equal(r.ndead, 0);
    join(&r, 0);
    load(&r, 0, v1);
    assert_int_equal(ask(&r, 0), 2);
    lose(&r, 0); /* the first that counts */
    assert_int_equal(r.ndead, 1);
    assert_false(is_condemned(&r, 0));
    load(&r, 2, v2);
    lose(&r, 2); /* had loaded it */
    assert_int_equal(r.ndead, 1);
}

/* The store is away for a moment: that is no verdict, and is asked about again. */
static void test_could_not_be_read_just_now(void **state)
{
    struct sv_rollout r = serving_v1(2);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(ask(&r, 0), 2);
    assert_int_equal(sv_rollout_refused(&r, 0, v2, true, 5), SV_REFUSED_FOR_NOW);
    assert_false(sv_rollout_is_banned(&r, v2));
    assert_int_equal(ask_at(&r, 0, 4 + TIMEOUT), 0);
    assert_int_equal(ask_at(&r, 0, 5 + TIMEOUT), 2);
    join(&r, 1); /* a new life, which cannot read what serves */
    assert_int_equal(ask(&r, 1), 1);
    assert_int_equal(sv_rollout_refused(&r, 1, v1, true, 5), SV_REFUSED_FOR_NOW);
    assert_int_equal(ask(&r, 1), 2); /* the next one gets its chance meanwhile */
    assert_int_equal(sv_rollout_refused(&r, 1, v2, true, 6), SV_REFUSED_FOR_NOW);
    assert_int_equal(ask_at(&r, 1, 5 + TIMEOUT), 1);
}

/* All workers were replaced, and the files are no good any more. */
static void test_nobody_can_load_what_serves(void **state)
{
    struct sv_rollout r = serving_v1(2);
    struct sv_version was;
    bool put_off;
    (void)state;
    join(&r, 0);
    assert_int_equal(ask(&r, 0), 1);
    assert_int_equal(refuse(&r, 0, v1), SV_REFUSED_SERVING);
    assert_false(sv_rollout_forsake(&r, 9, &was, &put_off)); /* the other still serves it */
    join(&r, 1);
    assert_int_equal(ask(&r, 1), 1);
    assert_false(sv_rollout_forsake(&r, 9, &was, &put_off)); /* it may still succeed */
    assert_int_equal(refuse(&r, 1, v1), SV_REFUSED_SERVING);
    assert_true(sv_rollout_forsake(&r, 9, &was, &put_off));
    assert_false(put_off);
    assert_int_equal(was.number, 1);
    assert_int_equal(r.serving.number, 0);
    assert_false(sv_rollout_forsake(&r, 9, &was, &put_off));
    assert_true(sv_rollout_is_banned(&r, v1));
    assert_int_equal(sv_rollout_aim(&r, v2, false, 0), SV_AIM_NEW); /* what it falls back to */
    load(&r, 0, v2);
    assert_true(sv_rollout_may_switch(&r, 0));
}

/* Nothing serves and nobody can read the champion: it is put off, and no verdict is passed. */
static void test_nobody_can_read_the_candidate(void **state)
{
    struct sv_rollout r = rollout(2);
    struct sv_version v;
    (void)state;
    assert_false(sv_rollout_put_off(&r, 9, &v)); /* there is none */
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(ask(&r, 0), 2);
    assert_int_equal(ask(&r, 1), 2);
    sv_rollout_refused(&r, 0, v2, true, 5);
    assert_false(sv_rollout_put_off(&r, 9, &v)); /* the other is loading it */
    assert_int_equal(ask_at(&r, 0, 5 + TIMEOUT), 2);
    sv_rollout_refused(&r, 1, v2, true, 6);
    assert_false(sv_rollout_put_off(&r, 9, &v)); /* it is being tried again */
    sv_rollout_refused(&r, 0, v2, true, 7);
    assert_true(sv_rollout_put_off(&r, 9, &v));
    assert_int_equal(v.number, 2);
    assert_false(sv_rollout_is_banned(&r, v2));
    assert_int_equal(r.candidate.number, 0);
    assert_int_equal(sv_rollout_aim(&r, v1, false, 8), SV_AIM_NEW); /* stands in */
    assert_int_equal(ask(&r, 0), 1);
    sv_rollout_loaded(&r, 0, v1);
    sv_rollout_switch(&r);
    assert_int_equal(sv_rollout_aim(&r, v2, false, 9), SV_AIM_NEW);
    sv_rollout_part(&r, 1, false, 0);
    assert_int_equal(ask_at(&r, 0, 9), 2);
    sv_rollout_refused(&r, 0, v2, true, 9);
    assert_false(sv_rollout_put_off(&r, 9, &v)); /* the other serves, so it may take its time */
    assert_int_equal(ask_at(&r, 0, 9 + TIMEOUT), 2);
    sv_rollout_loaded(&r, 0, v2);
    assert_int_equal(sv_rollout_switch(&r).number, 1);
}

/* All workers are new while the store is away: what serves is put off, not condemned. */
static void test_nobody_can_read_what_serves(void **state)
{
    struct sv_rollout r = serving_v1(2);
    struct sv_version was;
    bool put_off;
    (void)state;
    for (int w = 0; w < 2; w++) {
        join(&r, w);
        assert_int_equal(ask(&r, w), 1);
    }
    assert_int_equal(sv_rollout_refused(&r, 0, v1, true, 5), SV_REFUSED_FOR_NOW);
    assert_false(sv_rollout_forsake(&r, 9, &was, &put_off)); /* the other may succeed */
    assert_int_equal(refuse(&r, 1, v1), SV_REFUSED_SERVING);
    assert_true(sv_rollout_forsake(&r, 9, &was, &put_off));
    assert_true(put_off); /* one could not read it: the other's word may be its own fault */
    assert_int_equal(was.number, 1);
    assert_false(sv_rollout_is_banned(&r, v1));
    assert_int_equal(sv_rollout_aim(&r, v1, false, 6), SV_AIM_NEW);
}

/* The one that could not read it is at it again: it may succeed this time. */
static void test_what_serves_is_being_read_again(void **state)
{
    struct sv_rollout r = serving_v1(2);
    struct sv_version was;
    bool put_off;
    (void)state;
    join(&r, 0);
    assert_int_equal(ask(&r, 0), 1);
    assert_int_equal(sv_rollout_refused(&r, 0, v1, true, 5), SV_REFUSED_FOR_NOW);
    assert_int_equal(ask_at(&r, 0, 5 + TIMEOUT), 1);
    lose(&r, 1); /* the last that had it */
    assert_false(sv_rollout_forsake(&r, 9, &was, &put_off));
    sv_rollout_loaded(&r, 0, v1);
    assert_true(sv_rollout_can_serve(&r, 0));
}

/* One hangs in loading what shall stand in, another cannot read it: it is put off, so that the
 * champion is tried again, by whoever is free. */
static void test_a_load_that_hangs_holds_nothing_up(void **state)
{
    struct sv_rollout r = rollout(2);
    struct sv_version v;
    (void)state;
    sv_rollout_aim(&r, v1, false, 0);
    assert_int_equal(ask(&r, 0), 1);
    assert_false(sv_rollout_put_off(&r, TIMEOUT, &v)); /* nobody is free to load another */
    assert_int_equal(ask(&r, 1), 1);
    sv_rollout_refused(&r, 1, v1, true, 5);
    assert_false(sv_rollout_put_off(&r, TIMEOUT - 1, &v));
    assert_true(sv_rollout_put_off(&r, TIMEOUT, &v));
    assert_int_equal(v.number, 1);
    assert_false(sv_rollout_is_banned(&r, v1));
    sv_rollout_aim(&r, v2, false, TIMEOUT);
    assert_int_equal(ask_at(&r, 0, TIMEOUT), 0);
    assert_int_equal(ask_at(&r, 1, TIMEOUT), 2);
    assert_false(sv_rollout_put_off(&r, TIMEOUT, &v));
    sv_rollout_refused(&r, 1, v2, true, TIMEOUT);
    assert_true(sv_rollout_put_off(&r, TIMEOUT, &v)); /* nor is the first one waited for here */
    sv_rollout_aim(&r, v2, false, TIMEOUT);
    assert_int_equal(ask_at(&r, 1, TIMEOUT), 2);
    sv_rollout_loaded(&r, 1, v2);
    assert_true(sv_rollout_may_switch(&r, TIMEOUT));
    sv_rollout_switch(&r);
    sv_rollout_loaded(&r, 0, v1); /* its load ends after all */
    assert_int_equal(ask_at(&r, 0, TIMEOUT), 2);
}

/* The same with what served: who came last hangs in loading it, and the other cannot. */
static void test_a_load_of_what_serves_hangs(void **state)
{
    struct sv_rollout r = serving_v1(2);
    struct sv_version was;
    bool put_off;
    (void)state;
    for (int w = 0; w < 2; w++) {
        join(&r, w);
        assert_int_equal(ask(&r, w), 1);
    }
    assert_int_equal(refuse(&r, 1, v1), SV_REFUSED_SERVING);
    assert_false(sv_rollout_forsake(&r, TIMEOUT - 1, &was, &put_off));
    assert_true(sv_rollout_forsake(&r, TIMEOUT, &was, &put_off));
    assert_true(put_off); /* who hangs has not refused it */
    assert_false(sv_rollout_is_banned(&r, v1));
}

static void test_a_dead_worker_holds_nothing_up(void **state)
{
    struct sv_rollout r = serving_v1(2);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    load(&r, 0, v2);
    assert_int_equal(ask(&r, 1), 2);
    assert_false(sv_rollout_may_switch(&r, 0));
    lose(&r, 1);
    assert_true(sv_rollout_may_switch(&r, 0));
}

static void test_one_refusal_quarantines(void **state)
{
    struct sv_rollout r = serving_v1(2);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    load(&r, 0, v2);
    assert_int_equal(ask(&r, 1), 2);
    assert_int_equal(refuse(&r, 1, v2), SV_REFUSED_CANDIDATE);
    assert_true(sv_rollout_is_banned(&r, v2));
    assert_false(sv_rollout_may_switch(&r, INT64_MAX));
    assert_true(sv_rollout_can_serve(&r, 0) && sv_rollout_can_serve(&r, 1));
    assert_int_equal(ask(&r, 0), 0);
    assert_int_equal(sv_rollout_aim(&r, v2, false, 0), SV_AIM_QUARANTINED);
    /* A late word about it changes nothing. */
    sv_rollout_loaded(&r, 0, v2);
    assert_false(sv_rollout_may_switch(&r, INT64_MAX));
    assert_int_equal(refuse(&r, 0, v2), SV_REFUSED_OTHER);
    /* A person may decide to try again. */
    assert_int_equal(sv_rollout_aim(&r, v2, true, 0), SV_AIM_NEW);
    assert_false(sv_rollout_is_banned(&r, v2));
}

static void test_same_number_other_bytes(void **state)
{
    struct sv_rollout r = serving_v1(1);
    const struct sv_version forged = {1, 99};
    (void)state;
    assert_int_equal(sv_rollout_aim(&r, forged, true, 0), SV_AIM_NEW);
    sv_rollout_loaded(&r, 0, v1);
    assert_false(sv_rollout_may_switch(&r, 0));
    assert_int_equal(refuse(&r, 0, forged), SV_REFUSED_CANDIDATE);
    assert_false(sv_rollout_is_banned(&r, v1));
}

static void test_back_and_forth(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(sv_rollout_aim(&r, v1, true, 0), SV_AIM_KNOWN); /* the alias went back */
    assert_int_equal(r.candidate.number, 0);
    sv_rollout_aim(&r, v3, true, 0);
    load(&r, 0, v3);
    sv_rollout_switch(&r);
    assert_int_equal(sv_rollout_aim(&r, v1, true, 0), SV_AIM_NEW); /* a rollback */
    load(&r, 0, v1);
    assert_true(sv_rollout_may_switch(&r, 0));
    assert_int_equal(sv_rollout_switch(&r).number, 3);
}

static void test_a_newer_candidate_replaces(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    assert_int_equal(ask(&r, 0), 2);
    sv_rollout_aim(&r, v3, true, 0);
    assert_int_equal(ask(&r, 0), 0); /* still loading the other */
    sv_rollout_loaded(&r, 0, v2);
    assert_false(sv_rollout_may_switch(&r, 0));
    load(&r, 0, v3);
    assert_true(sv_rollout_may_switch(&r, 0));
}

static void test_a_new_worker_gets_what_serves_first(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    join(&r, 1);
    load(&r, 1, v1);
    assert_true(sv_rollout_can_serve(&r, 1));
    load(&r, 1, v2);
    assert_false(sv_rollout_may_switch(&r, 0));
    load(&r, 0, v2);
    assert_true(sv_rollout_may_switch(&r, 0));
}

static void test_a_worker_that_cannot_load_what_serves(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    join(&r, 1);
    assert_int_equal(ask(&r, 1), 1);
    assert_int_equal(refuse(&r, 1, v1), SV_REFUSED_SERVING);
    assert_int_equal(r.serving.number, 1);
    assert_true(sv_rollout_can_serve(&r, 0));
    assert_int_equal(ask(&r, 1), 0);
    sv_rollout_aim(&r, v2, true, 0);
    load(&r, 1, v2); /* the next version gets its chance */
}

static void test_lost_what_it_had(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    sv_rollout_lacks(&r, 0);
    assert_false(sv_rollout_is_ready(&r));
    load(&r, 0, v1);
    assert_true(sv_rollout_is_ready(&r));
}

static void test_all_dead_then_only_the_candidate(void **state)
{
    struct sv_rollout r = serving_v1(2);
    (void)state;
    sv_rollout_aim(&r, v2, true, 0);
    lose(&r, 0);
    lose(&r, 1);
    assert_false(sv_rollout_may_switch(&r, INT64_MAX));
    join(&r, 0);
    assert_int_equal(ask(&r, 0), 1);
    refuse(&r, 0, v1); /* its files are gone */
    load(&r, 0, v2);
    assert_true(sv_rollout_may_switch(&r, 0));
}

static void test_quarantine_forgets_the_oldest(void **state)
{
    struct sv_rollout r = serving_v1(1);
    (void)state;
    for (int64_t i = 0; i <= SV_QUARANTINE_MAX; i++)
        sv_rollout_ban(&r, (struct sv_version){100 + i, 1});
    assert_false(sv_rollout_is_banned(&r, (struct sv_version){100, 1}));
    assert_true(sv_rollout_is_banned(&r, (struct sv_version){101, 1}));
    assert_int_equal(r.nquarantine, SV_QUARANTINE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_with_the_first_worker),
        cmocka_unit_test(test_waits_for_all),
        cmocka_unit_test(test_half_are_enough_after_a_while),
        cmocka_unit_test(test_one_of_two_is_half),
        cmocka_unit_test(test_a_version_that_kills),
        cmocka_unit_test(test_a_version_that_others_have),
        cmocka_unit_test(test_a_verdict_waits_for_who_is_loading),
        cmocka_unit_test(test_who_comes_back_has_not_died),
        cmocka_unit_test(test_deaths_that_are_not_its_fault),
        cmocka_unit_test(test_could_not_be_read_just_now),
        cmocka_unit_test(test_nobody_can_load_what_serves),
        cmocka_unit_test(test_nobody_can_read_the_candidate),
        cmocka_unit_test(test_nobody_can_read_what_serves),
        cmocka_unit_test(test_what_serves_is_being_read_again),
        cmocka_unit_test(test_a_load_that_hangs_holds_nothing_up),
        cmocka_unit_test(test_a_load_of_what_serves_hangs),
        cmocka_unit_test(test_a_dead_worker_holds_nothing_up),
        cmocka_unit_test(test_one_refusal_quarantines),
        cmocka_unit_test(test_same_number_other_bytes),
        cmocka_unit_test(test_back_and_forth),
        cmocka_unit_test(test_a_newer_candidate_replaces),
        cmocka_unit_test(test_a_new_worker_gets_what_serves_first),
        cmocka_unit_test(test_a_worker_that_cannot_load_what_serves),
        cmocka_unit_test(test_lost_what_it_had),
        cmocka_unit_test(test_all_dead_then_only_the_candidate),
        cmocka_unit_test(test_quarantine_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
