/* One writer: races, dead and living owners, take-over. */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/unit/store_fixture.h"

#include "common/hash.h"
#include "parameter/lease.h"

static void is_taken_once(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    struct ps_lease_owner owner;
    char host[256] = "", pid[32];
    assert_fails(ps_lease_show(&owner, f->dir), CM_ENOTFOUND);
    assert_ok(ps_lease_acquire(&a, f->dir, "run-uuid", false));
    assert_int_equal(ps_lease_generation(a), 1);
    assert_ok(ps_lease_check(a));

    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY);
    assert_null(b);
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_says(host);
    assert_says(pid);
    assert_says("since");
    assert_says("--force");

    assert_ok(ps_lease_show(&owner, f->dir));
    assert_int_equal(owner.pid, getpid());
    assert_string_equal(owner.run, "run-uuid");
    assert_false(owner.released);
    ps_lease_release(&a);
    ps_lease_release(&a);
    assert_ok(ps_lease_show(&owner, f->dir));
    assert_true(owner.released);

    assert_ok(ps_lease_acquire(&b, f->dir, "", false));
    assert_int_equal(ps_lease_generation(b), 2); /* never reused: versions are ranked by it */
    ps_lease_release(&b);
}

static void force_fences_the_old_owner(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));
    assert_ok(ps_lease_acquire(&b, f->dir, "", true));
    assert_fails(ps_lease_check(a), CM_EFENCED);
    assert_says("generation 2");
    assert_ok(ps_lease_check(b));
    ps_lease_release(&a);        /* must not release b's */
    assert_says("generation 2"); /* nor hide why a's owner is on its way out */
    assert_ok(ps_lease_check(b));
    struct ps_lease_owner owner;
    assert_ok(ps_lease_show(&owner, f->dir));
    assert_false(owner.released);
    ps_lease_release(&b);
}

/* Also while the dead one is a zombie, which a parent that does not wait may leave for long. */
static void a_killed_holder_is_succeeded(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        struct ps_lease *lease = NULL;
        setenv("FLYWHEEL_INJECT", "test.holding=kill", 1);
        if (ps_lease_acquire(&lease, f->dir, "", false) == CM_OK)
            _exit(cm_fault("test.holding"));
        _exit(9);
    }
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_code, CLD_KILLED);
    struct ps_lease *lease = NULL;
    assert_ok(ps_lease_acquire(&lease, f->dir, "", false));
    assert_int_equal(ps_lease_generation(lease), 2);
    fixture_wait(child);
    ps_lease_release(&lease);
}

/* A claimant killed before its rename leaves a folder that nobody takes for a lease, and the next
 * one removes. */
static void a_half_made_claim_is_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        struct ps_lease *lease = NULL;
        setenv("FLYWHEEL_INJECT", "store.lease=kill", 1);
        _exit(ps_lease_acquire(&lease, f->dir, "", false));
    }
    assert_int_equal(fixture_wait(child), 128 + SIGKILL);
    struct ps_lease *lease = NULL;
    char **names;
    size_t n;
    assert_ok(ps_lease_acquire(&lease, f->dir, "", false));
    assert_int_equal(ps_lease_generation(lease), 1);
    assert_ok(cm_dir_list(&names, &n, f->dir));
    assert_int_equal(n, 1);
    cm_dir_list_free(&names, n);
    ps_lease_release(&lease);
}

/* A claimant sleeps between looking and claiming, while two generations pass and the number that it
 * wants becomes free again. */
static void a_slow_claimant_does_not_win_an_old_number(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *lease = NULL;
    int status;
    pid_t child = fork();
    if (child == 0) {
        setenv("FLYWHEEL_INJECT", "store.lease.seen=stop", 1);
        _exit(ps_lease_acquire(&lease, f->dir, "", false));
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_ok(ps_lease_acquire(&lease, f->dir, "", false));
    ps_lease_release(&lease);
    assert_ok(ps_lease_acquire(&lease, f->dir, "", false)); /* removes generation 1 */
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(fixture_wait(child), CM_EBUSY);
    assert_ok(ps_lease_check(lease));
    ps_lease_release(&lease);
}

/* Rewrites owner.json of generation 1 with one text replaced, under a new seal. */
static void forge(const struct fixture *f, const char *from, const char *to)
{
    char path[CM_PATH], out[8192], digits[CM_XXH_TEXT];
    char *text;
    size_t n;
    snprintf(path, sizeof path, "%s/gen-000001/owner.json", f->dir);
    assert_ok(cm_file_read(&text, &n, path, 4096));
    *strstr(text, ",\"xxh3\"") = '\0';
    char *at = strstr(text, from);
    assert_non_null(at);
    int size = snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    cm_xxh_format(digits, cm_xxh64(out, (size_t)size));
    size += snprintf(out + size, sizeof out - (size_t)size, ",\"xxh3\": \"%s\"}\n", digits);
    fixture_overwrite(path, out, (size_t)size);
    cm_free(&text);
}

static void judges_owners_by_what_can_be_seen(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));

    forge(f, "\"host\": \"", "\"host\": \"far-");
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY);
    assert_says("far-");
    assert_says("not released");
    forge(f, "\"host\": \"far-", "\"host\": \"");

    forge(f, "\"pid_space\": ", "\"pid_space\": 1");
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY); /* another container */
    forge(f, "\"pid_space\": 1", "\"pid_space\": ");

    forge(f, "\"start_ticks\": ", "\"start_ticks\": 1"); /* the pid is used again */
    assert_ok(ps_lease_acquire(&b, f->dir, "", false));
    ps_lease_release(&a);
    ps_lease_release(&b);
}

/* Namespaces of one's own, in which it may mount: root as it is, others as the root of a namespace
 * of users. */
static bool may_mount(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* /proc may hide a process (hidepid): it is not dead for that. Here a folder is mounted over its
 * entry, in namespaces of a child's own. */
static void a_hidden_owner_is_not_dead(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    char entry[64];
    enum { NOT_ALLOWED = 77 };
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));
    snprintf(entry, sizeof entry, "/proc/%d", (int)getpid());
    pid_t child = fork();
    if (child == 0) {
        if (!may_mount() || mount(f->dir, entry, NULL, MS_BIND, NULL))
            _exit(NOT_ALLOWED);
        _exit(ps_lease_acquire(&b, f->dir, "", false));
    }
    int code = fixture_wait(child);
    ps_lease_release(&a);
    if (code == NOT_ALLOWED) {
        print_message("neither this user nor one of a namespace of its own may mount\n");
        skip();
    }
    assert_int_equal(code, CM_EBUSY);
}

/* A job's later life takes over from an earlier one whose host it cannot look at; nobody else does.
 */
static void a_later_life_succeeds_one_out_of_sight(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    setenv("FLYWHEEL_JOB", "job-7", 1);
    setenv("FLYWHEEL_LIFE", "2", 1);
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));
    forge(f, "\"host\": \"", "\"host\": \"far-");
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY); /* the same life */
    setenv("FLYWHEEL_LIFE", "1", 1);
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY); /* an earlier one */
    setenv("FLYWHEEL_LIFE", "3", 1);
    setenv("FLYWHEEL_JOB", "job-8", 1);
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY); /* another job */
    unsetenv("FLYWHEEL_JOB");
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_EBUSY);
    setenv("FLYWHEEL_JOB", "job-7", 1);
    assert_ok(ps_lease_acquire(&b, f->dir, "", false));
    assert_fails(ps_lease_check(a), CM_EFENCED);
    unsetenv("FLYWHEEL_JOB");
    unsetenv("FLYWHEEL_LIFE");
    ps_lease_release(&a);
    ps_lease_release(&b);
}

static void a_rebooted_host_has_no_owners(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));
    forge(f, "\"boot\": \"", "\"boot\": \"0");
    assert_ok(ps_lease_acquire(&b, f->dir, "", false));
    ps_lease_release(&a);
    ps_lease_release(&b);
}

static void an_unreadable_owner_needs_force(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *a = NULL, *b = NULL;
    char path[CM_PATH];
    assert_ok(ps_lease_acquire(&a, f->dir, "", false));
    snprintf(path, sizeof path, "%s/gen-000001/owner.json", f->dir);
    fixture_flip(path, 30, 1);
    assert_fails(ps_lease_acquire(&b, f->dir, "", false), CM_ECORRUPT);
    assert_says("--force");
    assert_ok(ps_lease_acquire(&b, f->dir, "", true));
    assert_int_equal(ps_lease_generation(b), 2);
    ps_lease_release(&a);
    ps_lease_release(&b);
}

/* Eight processes at once, many rounds: one winner each, who keeps the lease until all have been
 * refused. */
static void exactly_one_of_many_wins(void **state)
{
    struct fixture *f = *state;
    enum { RACERS = 8, ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        int start[2], refused[2], won = 0;
        pid_t child[RACERS];
        assert_int_equal(pipe(start), 0);
        assert_int_equal(pipe(refused), 0);
        for (int i = 0; i < RACERS; i++) {
            child[i] = fork();
            if (child[i] == 0) {
                struct ps_lease *lease = NULL;
                char c;
                close(start[1]);
                close(refused[1]);
                if (read(start[0], &c, 1) != 0)
                    _exit(99);
                cm_status st = ps_lease_acquire(&lease, f->dir, "", false);
                if (st == CM_OK && read(refused[0], &c, 1) != 0)
                    _exit(98);
                if (st == CM_OK)
                    st = ps_lease_check(lease);
                _exit(st);
            }
        }
        close(start[0]);
        close(refused[0]);
        close(start[1]); /* go */
        for (int lost = 0; lost < RACERS - 1; lost++) {
            int status;
            pid_t done = waitpid(-1, &status, 0);
            assert_int_equal(WEXITSTATUS(status), CM_EBUSY);
            for (int i = 0; i < RACERS; i++)
                if (child[i] == done)
                    child[i] = 0;
        }
        close(refused[1]); /* the winner may end */
        for (int i = 0; i < RACERS; i++)
            if (child[i] != 0) {
                assert_int_equal(fixture_wait(child[i]), CM_OK);
                won++;
            }
        assert_int_equal(won, 1);
    }
    struct ps_lease_owner owner;
    assert_ok(ps_lease_show(&owner, f->dir));
    assert_int_equal(owner.generation, ROUNDS);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(is_taken_once),
        WITH_FOLDER(force_fences_the_old_owner),
        WITH_FOLDER(a_killed_holder_is_succeeded),
        WITH_FOLDER(a_half_made_claim_is_nothing),
        WITH_FOLDER(a_slow_claimant_does_not_win_an_old_number),
        WITH_FOLDER(judges_owners_by_what_can_be_seen),
        WITH_FOLDER(a_hidden_owner_is_not_dead),
        WITH_FOLDER(a_later_life_succeeds_one_out_of_sight),
        WITH_FOLDER(a_rebooted_host_has_no_owners),
        WITH_FOLDER(an_unreadable_owner_needs_force),
        WITH_FOLDER(exactly_one_of_many_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
