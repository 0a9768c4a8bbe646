/* A panic in any function stops at the boundary. Needs a library built with the hook of src/fault.rs.
   argv[1] unused, argv[2]: the names of all functions, separated by spaces. */
#include "check.h"

static kvs_options *options;
static kvs_db *db;
static kvs_batch *batch;
static kvs_iter *iter;
static kvs_snapshot *snapshot;

/* Calls one function, arguments as meant; what it returns if that is a status. */
static kvs_status call(const char *name, kvs_error **err) {
    uint8_t *owned = NULL, buffer[8];
    const uint8_t *p;
    const char *s;
    size_t n;
    kvs_db *new_db = NULL;
    kvs_options *new_options = NULL;
    kvs_batch *new_batch = NULL;
    kvs_iter *new_iter = NULL;
    kvs_snapshot *new_snapshot = NULL;
    kvs_status status = KVS_E_PANIC;
#define IS(text) (strcmp(name, text) == 0)
    if (IS("kvs_version")) CHECK(kvs_version());
    else if (IS("kvs_version_number")) CHECK(kvs_version_number() == 0);
    else if (IS("kvs_abi_version")) CHECK(kvs_abi_version() == 0);
    else if (IS("kvs_status_name")) CHECK(kvs_status_name(0));
    else if (IS("kvs_error_code")) status = kvs_error_code(NULL);
    else if (IS("kvs_error_os")) CHECK(kvs_error_os(NULL) == 0);
    else if (IS("kvs_error_message")) CHECK(kvs_error_message(NULL));
    else if (IS("kvs_error_free")) kvs_error_free(NULL);
    else if (IS("kvs_options_new")) status = kvs_options_new(&new_options);
    else if (IS("kvs_options_set")) status = kvs_options_set(options, "create", "true", err);
    else if (IS("kvs_option_count")) CHECK(kvs_option_count() == 0);
    else if (IS("kvs_option_info")) status = kvs_option_info(0, &s, &s, &s);
    else if (IS("kvs_options_free")) kvs_options_free(NULL);
    else if (IS("kvs_open")) status = kvs_open(NULL, options, &new_db, err);
    else if (IS("kvs_close")) status = kvs_close(db, err);
    else if (IS("kvs_free_db")) kvs_free_db(NULL);
    else if (IS("kvs_put")) status = kvs_put(db, S("k"), S("v"), 0, err);
    else if (IS("kvs_delete")) status = kvs_delete(db, S("k"), 0, err);
    else if (IS("kvs_get_into")) status = kvs_get_into(db, NULL, S("k"), buffer, sizeof buffer, &n, err);
    else if (IS("kvs_get")) status = kvs_get(db, NULL, S("k"), &owned, &n, err);
    else if (IS("kvs_free")) kvs_free(NULL);
    else if (IS("kvs_contains")) status = kvs_contains(db, NULL, S("k"), err);
    else if (IS("kvs_delete_range")) status = kvs_delete_range(db, S("k"), S("l"), 0, err);
    else if (IS("kvs_sync")) status = kvs_sync(db, 0, err);
    else if (IS("kvs_flush")) status = kvs_flush(db, 0, err);
    else if (IS("kvs_compact")) status = kvs_compact(db, NULL, 0, NULL, 0, 0, err);
    else if (IS("kvs_batch_new")) status = kvs_batch_new(&new_batch);
    else if (IS("kvs_batch_put")) status = kvs_batch_put(batch, S("k"), S("v"));
    else if (IS("kvs_batch_delete")) status = kvs_batch_delete(batch, S("k"));
    else if (IS("kvs_batch_delete_range")) status = kvs_batch_delete_range(batch, S("k"), S("l"));
    else if (IS("kvs_batch_count")) CHECK(kvs_batch_count(batch) == 0);
    else if (IS("kvs_batch_clear")) status = kvs_batch_clear(batch);
    else if (IS("kvs_write")) status = kvs_write(db, batch, 0, err);
    else if (IS("kvs_batch_free")) kvs_batch_free(NULL);
    else if (IS("kvs_snapshot_new")) status = kvs_snapshot_new(db, &new_snapshot, err);
    else if (IS("kvs_snapshot_free")) kvs_snapshot_free(NULL);
    else if (IS("kvs_iter_new")) status = kvs_iter_new(db, snapshot, NULL, 0, NULL, 0, 0, &new_iter, err);
    else if (IS("kvs_iter_first")) status = kvs_iter_first(iter, err);
    else if (IS("kvs_iter_last")) status = kvs_iter_last(iter, err);
    else if (IS("kvs_iter_next")) status = kvs_iter_next(iter, err);
    else if (IS("kvs_iter_prev")) status = kvs_iter_prev(iter, err);
    else if (IS("kvs_iter_seek")) status = kvs_iter_seek(iter, S("k"), err);
    else if (IS("kvs_iter_seek_for_prev")) status = kvs_iter_seek_for_prev(iter, S("k"), err);
    else if (IS("kvs_iter_item")) status = kvs_iter_item(iter, &p, &n, &p, &n);
    else if (IS("kvs_iter_free")) kvs_iter_free(NULL);
    else {
        fprintf(stderr, "%s is not called here: add it\n", name);
        exit(1);
    }
    CHECK(!owned && !new_db && !new_options && !new_batch && !new_iter && !new_snapshot);
    return status;
}

static void arm(const char *name, const char *mark) {
    char value[128];
    snprintf(value, sizeof value, "%s%s", name, mark);
    EXPECT(KVS_OK, kvs_options_set(options, "fault_panic", value, NULL));
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "in_memory", "true", NULL));
    db = open_memory();
    EXPECT(KVS_OK, kvs_put(db, S("k"), S("v"), 0, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    EXPECT(KVS_OK, kvs_batch_put(batch, S("k"), S("v")));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    iter = iterate(db);
    int called = 0;
    for (char *name = strtok(argv[2], " "); name; name = strtok(NULL, " ")) {
        kvs_error *err = NULL;
        arm(name, "");
        EXPECT(KVS_E_PANIC, call(name, &err));
        if (err) {
            CHECK(kvs_error_code(err) == KVS_E_PANIC);
            CHECK(strstr(kvs_error_message(err), name) && strstr(kvs_error_message(err), "injected"));
            kvs_error_free(err);
        }
        /* Without an error object, and with a payload that panics again. */
        arm(name, "!");
        EXPECT(KVS_E_PANIC, call(name, NULL));
        called++;
    }
    CHECK(called > 40);
    /* Nothing else broke. */
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    EXPECT(KVS_OK, kvs_contains(NULL, snapshot, S("k"), NULL));
    /* A panic inside a write: reads go on, writes don't, opening anew helps. */
    arm("engine_write", "");
    EXPECT(KVS_E_PANIC, kvs_write(db, batch, 0, NULL));
    EXPECT(KVS_E_PANIC, kvs_put(db, S("k"), S("w"), 0, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("k"), NULL));
    CHECK(kvs_batch_count(batch) == 1);
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    kvs_free_db(db);
    kvs_iter_free(iter);
    kvs_snapshot_free(snapshot);
    kvs_batch_free(batch);
    kvs_options_free(options);
    return 0;
}
