/* feedback push against a real Redis: every line of a long list arrives once, with its own label.
 */
#include "common/log.h"
#include "online/command_online.h"
#include "tests/unit/redis_fixture.h"

#define LINES 150 /* two chunks of 64, and a rest */
#define IMAGE 12

static void write_images(const char *dir, char csv[CM_PATH])
{
    char list[LINES * (CM_PATH / 16)], path[CM_PATH], pixels[IMAGE];
    size_t n = 0;
    for (int i = 0; i < LINES; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.raw", i);
        snprintf(pixels, sizeof pixels, "pixels %hhu", (unsigned char)i);
        expect_ok(cm_path_join(path, dir, name));
        expect_ok(cm_file_replace(path, pixels, sizeof pixels));
        n += (size_t)snprintf(list + n, sizeof list - n, "%.200s,class%d\n", path, i);
    }
    expect_ok(cm_path_join(csv, dir, "labels.csv"));
    expect_ok(cm_file_replace(csv, list, n));
}

static void push(struct redis_fixture *f, char *csv)
{
    char word[] = "push", raw[] = "--raw", json[] = "--json", labels[] = "--labels",
         who[] = "--operator", ann[] = "ann", redis[] = "--redis";
    char *argv[] = {word, raw, json, labels, csv, who, ann, redis, f->address, NULL};
    expect_ok(ol_command_push(9, argv));
}

static const struct cm_redis_value *field_of(const struct cm_redis_value *entry, const char *name)
{
    const struct cm_redis_value *pair = entry->element[1].element;
    for (size_t i = 0; i + 1 < entry->element[1].n; i += 2)
        if (strcmp(pair[i].string, name) == 0)
            return &pair[i + 1];
    fail_msg("no field '%s'", name);
    return NULL;
}

static void test_many_lines(void **state)
{
    struct redis_fixture *f = *state;
    char csv[CM_PATH], want[64];
    write_images(f->dir, csv);
    push(f, csv);
    const struct cm_redis_value *list = redis_do(f, "XRANGE", "fw:feedback:ann", "-", "+");
    assert_int_equal(list->n, LINES);
    for (int i = 0; i < LINES; i++) {
        const struct cm_redis_value *label = field_of(&list->element[i], "label"),
                                    *image = field_of(&list->element[i], "image");
        snprintf(want, sizeof want, "class%d", i);
        assert_string_equal(label->string, want);
        snprintf(want, sizeof want, "pixels %d", i);
        assert_int_equal(image->n, IMAGE);
        assert_string_equal(image->string, want);
    }
}

/* Pushed again, an entry has the same id: the loop counts it once. */
static void test_again(void **state)
{
    struct redis_fixture *f = *state;
    char csv[CM_PATH];
    write_images(f->dir, csv);
    push(f, csv);
    push(f, csv);
    const struct cm_redis_value *list = redis_do(f, "XRANGE", "fw:feedback:ann", "-", "+");
    assert_int_equal(list->n, 2 * LINES);
    for (int i = 0; i < LINES; i++)
        assert_string_equal(field_of(&list->element[i], "id")->string,
                            field_of(&list->element[i + LINES], "id")->string);
    assert_string_not_equal(field_of(&list->element[0], "id")->string,
                            field_of(&list->element[1], "id")->string);
}

static int setup(void **state)
{
    cm_log_set_level(CM_LOG_ERROR);
    return redis_fixture_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_lines, setup, redis_fixture_teardown),
        cmocka_unit_test_setup_teardown(test_again, setup, redis_fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
