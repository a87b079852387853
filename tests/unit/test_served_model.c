/* A version that answers: what is loaded, what is refused, and that a bad image harms nobody else.
 */
#include "tests/unit/store_fixture.h"

#include "common/clock.h"
#include "model/image.h"
#include "tests/unit/model_fixture.h"

#include "tests/unit/answer_fixture.h"

static const int batches[] = {1, 4};

static struct sv_model_config config(const struct fixture *f)
{
    return (struct sv_model_config){
        .store_dir = f->store,
        .engine = {.batches = batches, .nbatches = 2, .threads = 1, .precision = NN_PRECISION_FP32},
        .max_pixels = 1 << 20};
}

static void write_versions(const struct fixture *f, struct model_fixture *m, int n,
                           const enum model_kind *kinds)
{
    int64_t version = 0;
    *m = (struct model_fixture){0};
    assert_ok(ps_store_open_writer(&m->store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(m, "lenet"));
    for (int i = 0; i < n; i++) {
        assert_ok(model_fixture_version(m, 5, kinds[i], &version));
        assert_int_equal(version, i + 1);
    }
}

static void release(struct model_fixture *m)
{
    ps_store_close(&m->store);
    model_fixture_release(m);
}

static void test_opens_what_is_good(void **state)
{
    const struct fixture *f = *state;
    const enum model_kind kinds[] = {MODEL_GOOD, MODEL_WRONG, MODEL_NAN};
    struct sv_model_config cfg = config(f);
    struct model_fixture m;
    struct sv_model *model;
    struct sv_engine *spare = NULL;
    write_versions(f, &m, 3, kinds);
    assert_ok(sv_model_open(&model, 1, 0, &cfg, &spare));
    uint64_t hash = sv_model_version(model).hash;
    sv_model_close(&model);
    assert_ok(sv_model_open(&model, 1, hash, &cfg, &spare));
    assert_string_equal(sv_model_spec(model)->name, "lenet");
    sv_model_close(&model);
    assert_fails(sv_model_open(&model, 1, hash + 1, &cfg, &spare), CM_EMISMATCH);
    assert_null(model);
    assert_fails(sv_model_open(&model, 2, 0, &cfg, &spare), CM_EMISMATCH);
    assert_says("golden");
    assert_int_not_equal(sv_model_open(&model, 3, 0, &cfg, &spare), CM_OK);
    assert_says("nan");
    assert_fails(sv_model_open(&model, 4, 0, &cfg, &spare), CM_ENOTFOUND);
    sv_model_close(&model);
    sv_engine_close(&spare);
    release(&m);
}

/* Of four: one good, one that is no image, one of too many pixels, one too late. */
static void test_each_for_itself(void **state)
{
    const struct fixture *f = *state;
    const enum model_kind good = MODEL_GOOD;
    struct sv_model_config cfg = config(f);
    struct wi_buffer body = {0}, answer = {0};
    struct nn_image large = {64, 64, 3, NULL};
    struct model_fixture m;
    struct sv_model *model;
    struct sv_engine *spare = NULL;
    void *png;
    size_t npng;
    write_versions(f, &m, 1, &good);
    cfg.max_pixels = 64 * 64 - 1;
    assert_ok(sv_model_open(&model, 1, 0, &cfg, &spare));
    assert_ok(cm_alloc(&large.pixels, 64 * 64 * 3, 1, "pixels"));
    assert_ok(nn_image_encode_png(&large, &png, &npng));
    struct wi_image pixels = {WI_IMAGE_PIXELS, 0, 0, 0, m.images, nn_shape_count(m.spec->input)};
    struct wi_image bomb = {WI_IMAGE_FILE, 0, 0, 0, png, npng};
    struct wi_image none = {WI_IMAGE_FILE, 0, 0, 0, "\xff\xd8\xff nothing", 11};
    int64_t received_ns = cm_now_ns() - 2000000;
    answer_fixture_add(&body, 10, 0, pixels);
    answer_fixture_add(&body, 11, 60000000, bomb);
    answer_fixture_add(&body, 12, 1000, pixels); /* 1 ms after it was received, 2 ms ago */
    answer_fixture_add(&body, 13, 60000000, none);
    assert_ok(sv_model_answer(model, body.data, body.n, 4, received_ns, &answer));
    static const struct {
        uint32_t slot;
        enum wi_status status;
    } want[] = {{11, WI_BAD_INPUT}, {12, WI_TIMED_OUT}, {13, WI_BAD_INPUT}, {10, WI_OK}};
    struct wi_items items = {answer.data, answer.n, 4};
    for (int i = 0; i < 4; i++) {
        struct wi_item item;
        assert_ok(wi_item_next(&items, &item));
        assert_int_equal(item.slot, want[i].slot);
        assert_int_equal(item.status, want[i].status);
    }
    answer.n = 0;
    assert_fails(sv_model_answer(model, body.data, body.n, 0, received_ns, &answer), CM_EFORMAT);
    assert_fails(sv_model_answer(model, body.data, body.n, 5, received_ns, &answer), CM_EFORMAT);
    assert_fails(sv_model_answer(model, body.data, body.n - 8, 4, received_ns, &answer),
                 CM_EFORMAT);
    wi_buffer_release(&body);
    wi_buffer_release(&answer);
    cm_free(&png);
    nn_image_release(&large);
    sv_model_close(&model);
    sv_engine_close(&spare);
    release(&m);
}

/* Whatever images cost, a batch ends: the first is answered, the others have to come again. */
static void test_no_time_for_all(void **state)
{
    const struct fixture *f = *state;
    const enum model_kind good = MODEL_GOOD;
    struct sv_model_config cfg = config(f);
    struct wi_buffer body = {0}, answer = {0};
    struct model_fixture m;
    struct sv_model *model;
    struct sv_engine *spare = NULL;
    struct wi_item item;
    write_versions(f, &m, 1, &good);
    cfg.decode_ns = 1;
    assert_ok(sv_model_open(&model, 1, 0, &cfg, &spare));
    struct wi_image pixels = {WI_IMAGE_PIXELS, 0, 0, 0, m.images, nn_shape_count(m.spec->input)};
    for (uint32_t slot = 10; slot < 13; slot++)
        answer_fixture_add(&body, slot, 0, pixels);
    assert_ok(sv_model_answer(model, body.data, body.n, 3, cm_now_ns(), &answer));
    struct wi_items items = {answer.data, answer.n, 3};
    for (uint32_t slot = 11; slot < 13; slot++) {
        assert_ok(wi_item_next(&items, &item));
        assert_int_equal(item.slot, slot);
        assert_int_equal(item.status, WI_OVERLOADED);
    }
    assert_ok(wi_item_next(&items, &item));
    assert_int_equal(item.slot, 10);
    assert_int_equal(item.status, WI_OK);
    wi_buffer_release(&body);
    wi_buffer_release(&answer);
    sv_model_close(&model);
    sv_engine_close(&spare);
    release(&m);
}

static void test_the_right_class(void **state)
{
    const struct fixture *f = *state;
    const enum model_kind good = MODEL_GOOD;
    struct sv_model_config cfg = config(f);
    struct sv_engine *spare = NULL;
    struct model_fixture m;
    struct sv_model *model;
    write_versions(f, &m, 1, &good);
    assert_ok(sv_model_open(&model, 1, 0, &cfg, &spare));
    assert_int_equal(answer_fixture_ask(model, &m, 3), 3);
    sv_model_close(&model);
    release(&m);
}

/* An engine goes from version to version of a network, through one that is refused, and not to
 * another network. */
static void test_takes_an_engine_over(void **state)
{
    const struct fixture *f = *state;
    struct sv_model_config cfg = config(f);
    struct model_fixture m = {0};
    struct sv_engine *first, *spare = NULL;
    struct sv_model *model;
    int64_t version;
    assert_ok(ps_store_open_writer(&m.store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(&m, "lenet"));
    assert_ok(model_fixture_version(&m, 5, MODEL_GOOD, &version));
    assert_ok(sv_model_open(&model, 1, 0, &cfg, &spare));
    assert_null(spare);
    first = spare = sv_model_detach(&model);
    assert_null(model);

    assert_ok(model_fixture_version(&m, 6, MODEL_WRONG, &version));
    assert_fails(sv_model_open(&model, 2, 0, &cfg, &spare), CM_EMISMATCH);
    assert_ptr_equal(spare, first);
    assert_fails(sv_model_open(&model, 9, 0, &cfg, &spare), CM_ENOTFOUND);
    assert_ptr_equal(spare, first);

    assert_ok(model_fixture_version(&m, 7, MODEL_GOOD, &version));
    assert_ok(sv_model_open(&model, 3, 0, &cfg, &spare));
    assert_null(spare);
    assert_int_equal(answer_fixture_ask(model, &m, 3), 3);
    spare = sv_model_detach(&model);
    assert_ptr_equal(spare, first);

    model_fixture_release(&m);
    assert_ok(model_fixture_take(&m, "convnet-gray"));
    assert_ok(model_fixture_version(&m, 8, MODEL_GOOD, &version));
    assert_ok(sv_model_open(&model, 4, 0, &cfg, &spare));
    assert_null(spare);
    assert_int_equal(answer_fixture_ask(model, &m, 3), 3);
    sv_model_close(&model);
    assert_null(sv_model_detach(&model));
    release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_opens_what_is_good, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_each_for_itself, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_no_time_for_all, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_the_right_class, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_takes_an_engine_over, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
