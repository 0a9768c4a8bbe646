/* A panic in any function stops at the boundary. Needs a library built with the hook of src/fault.rs.
   argv[1] unused, argv[2]: the names of all functions, separated by spaces. */
#include "check.h"

static kvs_options *options;
static kvs_db *db;
static kvs_batch *batch;
static kvs_iter *iter;
static kvs_snapshot *snapshot;
static kvs_pin *pin;
static kvs_results *results;

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
    kvs_pin *new_pin = NULL;
    kvs_results *new_results = NULL;
    kvs_report *new_report = NULL;
    kvs_stats stats;
    kvs_verified verified;
    kvs_repaired repaired;
    kvs_left_out left_out;
    uint64_t number;
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
    else if (IS("kvs_iter_new_prefix")) status = kvs_iter_new_prefix(db, snapshot, S("k"), 0, &new_iter, err);
    else if (IS("kvs_iter_fill")) status = kvs_iter_fill(iter, buffer, sizeof buffer, 1, 0, &n, &n, err);
    else if (IS("kvs_options_set_create")) status = kvs_options_set_create(options, 1, err);
    else if (IS("kvs_options_set_read_only")) status = kvs_options_set_read_only(options, 0, err);
    else if (IS("kvs_options_set_in_memory")) status = kvs_options_set_in_memory(options, 1, err);
    else if (IS("kvs_options_set_durability")) status = kvs_options_set_durability(options, KVS_DURABILITY_PROCESS, err);
    else if (IS("kvs_options_set_cache_bytes")) status = kvs_options_set_cache_bytes(options, 1 << 20, err);
    else if (IS("kvs_options_set_memory_bytes_max")) status = kvs_options_set_memory_bytes_max(options, 1 << 30, err);
    else if (IS("kvs_options_set_memtable_bytes_max")) status = kvs_options_set_memtable_bytes_max(options, 1 << 26, err);
    else if (IS("kvs_get_pinned")) status = kvs_get_pinned(db, NULL, S("k"), &new_pin, &p, &n, err);
    else if (IS("kvs_pin_data")) status = kvs_pin_data(pin, &p, &n);
    else if (IS("kvs_pin_free")) kvs_pin_free(NULL);
    else if (IS("kvs_multi_get")) status = kvs_multi_get(db, NULL, S("k"), (n = 1, &n), 1, &new_results, err);
    else if (IS("kvs_results_count")) CHECK(kvs_results_count(results) == 0);
    else if (IS("kvs_results_get")) status = kvs_results_get(results, 0, &p, &n);
    else if (IS("kvs_results_free")) kvs_results_free(NULL);
    else if (IS("kvs_get_stats")) status = kvs_get_stats(db, &stats, sizeof stats, err);
    else if (IS("kvs_property")) status = kvs_property(db, "stats", &owned, &n, err);
    else if (IS("kvs_verify")) status = kvs_verify(db, 0, &verified, sizeof verified, err);
    else if (IS("kvs_repair")) status = kvs_repair("none", "none", NULL, &new_report, err);
    else if (IS("kvs_report_summary")) status = kvs_report_summary(NULL, &repaired, sizeof repaired);
    else if (IS("kvs_report_text")) status = kvs_report_text(NULL, &s);
    else if (IS("kvs_report_left_out")) status = kvs_report_left_out(NULL, 0, &left_out, sizeof left_out);
    else if (IS("kvs_report_warning")) status = kvs_report_warning(NULL, 0, &s);
    else if (IS("kvs_report_free")) kvs_report_free(NULL);
    else if (IS("kvs_options_set_log")) status = kvs_options_set_log(options, NULL, NULL, NULL, err);
    else if (IS("kvs_interrupt")) status = kvs_interrupt(db, err);
    else if (IS("kvs_batch_append_packed")) status = kvs_batch_append_packed(batch, NULL, 0, err);
    else if (IS("kvs_batch_bytes")) CHECK(kvs_batch_bytes(batch) == 0);
    else if (IS("kvs_snapshot_sequence")) status = kvs_snapshot_sequence(snapshot, &number, err);
    else {
        fprintf(stderr, "%s is not called here: add it\n", name);
        exit(1);
    }
    CHECK(!owned && !new_db && !new_options && !new_batch && !new_iter && !new_snapshot);
    CHECK(!new_pin && !new_results && !new_report);
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
    const uint8_t *data;
    size_t length, end = 1;
    EXPECT(KVS_OK, kvs_get_pinned(db, NULL, S("k"), &pin, &data, &length, NULL));
    EXPECT(KVS_OK, kvs_multi_get(db, NULL, S("k"), &end, 1, &results, NULL));
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
    EXPECT(KVS_OK, kvs_pin_data(pin, &data, &length));
    CHECK(length == 1 && *data == 'v');
    kvs_pin_free(pin);
    kvs_results_free(results);
    return 0;
}
