/* What every function does when it is used as meant, and at the limits of its arguments. argv[1]: an empty directory. */
#include "check.h"

static void versions(void) {
    CHECK(kvs_version_number() == KVS_VERSION_MAJOR * 1000000u + KVS_VERSION_MINOR * 1000u + KVS_VERSION_PATCH);
    CHECK(kvs_abi_version() == KVS_ABI_VERSION);
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", KVS_VERSION_MAJOR, KVS_VERSION_MINOR, KVS_VERSION_PATCH);
    CHECK(strcmp(kvs_version(), text) == 0);
    CHECK(strcmp(kvs_status_name(KVS_E_NOT_A_DATABASE), "KVS_E_NOT_A_DATABASE") == 0);
    CHECK(strcmp(kvs_status_name(12345), "unknown status") == 0);
    CHECK(strcmp(kvs_status_name(INT32_MIN), "unknown status") == 0);
}

static void options(void) {
    kvs_options *options;
    EXPECT(KVS_OK, kvs_options_new(&options));
    size_t count = kvs_option_count(), memory = 0;
    CHECK(count > 1);
    for (size_t i = 0; i < count; i++) {
        const char *name, *value, *doc;
        EXPECT(KVS_OK, kvs_option_info(i, &name, &value, &doc));
        CHECK(*name && *value && *doc);
        EXPECT(KVS_OK, kvs_options_set(options, name, value, NULL));
        memory += strcmp(name, "in_memory") == 0;
    }
    CHECK(memory == 1);
    const char *unset = "untouched", *name = unset;
    EXPECT(KVS_E_INVALID, kvs_option_info(count, &name, &name, &name));
    EXPECT(KVS_E_INVALID, kvs_option_info(SIZE_MAX, &name, &name, &name));
    CHECK(name == unset);
    kvs_error *err;
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "colour", "red", &err));
    CHECK(kvs_error_code(err) == KVS_E_INVALID && kvs_error_os(err) == 0);
    CHECK(strstr(kvs_error_message(err), "colour") && strstr(kvs_error_message(err), "kvs_options_set"));
    kvs_error_free(err);
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "in_memory", "perhaps", NULL));
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "cr\xff\xfe", "true", NULL));
    kvs_options_free(options);
}

static void paths(const char *directory) {
    kvs_options *options;
    kvs_db *db;
    kvs_error *err;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_E_INVALID, kvs_open(NULL, NULL, &db, NULL));
    EXPECT(KVS_E_INVALID, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_E_INVALID, kvs_open("", options, &db, NULL));
    EXPECT(KVS_OK, kvs_options_set(options, "create", "false", NULL));
    char path[4096];
    snprintf(path, sizeof path, "%s/absent", directory);
    EXPECT(KVS_E_NOT_A_DATABASE, kvs_open(path, options, &db, &err));
    CHECK(db == NULL && strstr(kvs_error_message(err), path));
    kvs_error_free(err);
    EXPECT(KVS_OK, kvs_options_set(options, "in_memory", "true", NULL));
    EXPECT(KVS_E_INVALID, kvs_open(path, options, &db, NULL));
    kvs_options_free(options);
    snprintf(path, sizeof path, "%s/not/there", directory);
    kvs_status status = kvs_open(path, NULL, &db, &err);
    CHECK(status < 0 && db == NULL && kvs_error_code(err) == status);
    CHECK(status != KVS_E_IO || kvs_error_os(err) != 0);
    kvs_error_free(err);
    /* Bytes that are not UTF-8. */
    snprintf(path, sizeof path, "%s/b\xff\xfe", directory);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), KVS_SYNC, NULL));
    EXPECT(KVS_OK, kvs_sync(db, 0, NULL));
    EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("key"), NULL));
    kvs_free_db(db);
    /* Freeing alone closes. */
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("more"), S(""), 0, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("more"), NULL));
    kvs_free_db(db);
}

static void reads(void) {
    kvs_db *db = open_memory();
    uint8_t buffer[8] = {9, 9, 9, 9, 9, 9, 9, 9}, *owned = buffer;
    size_t length = 77;
    EXPECT(KVS_NOT_FOUND, kvs_get_into(db, NULL, S("key"), buffer, sizeof buffer, &length, NULL));
    EXPECT(KVS_NOT_FOUND, kvs_get(db, NULL, S("key"), &owned, &length, NULL));
    EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, S("key"), NULL));
    CHECK(length == 77 && owned == NULL);
    kvs_iter *iter;
    EXPECT(KVS_E_INVALID, kvs_get_into(NULL, NULL, S("key"), buffer, sizeof buffer, &length, NULL));
    EXPECT(KVS_E_INVALID, kvs_get(NULL, NULL, S("key"), &owned, &length, NULL));
    EXPECT(KVS_E_INVALID, kvs_contains(NULL, NULL, S("key"), NULL));
    EXPECT(KVS_E_INVALID, kvs_iter_new(NULL, NULL, NULL, 0, NULL, 0, 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("a\0b\0c"), 0, NULL));
    EXPECT(KVS_E_BUFFER, kvs_get_into(db, NULL, S("key"), buffer, 4, &length, NULL));
    CHECK(length == 5 && buffer[0] == 9);
    EXPECT(KVS_E_BUFFER, kvs_get_into(db, NULL, S("key"), NULL, 0, &length, NULL));
    EXPECT(KVS_OK, kvs_get_into(db, NULL, S("key"), buffer, 5, &length, NULL));
    CHECK(length == 5 && memcmp(buffer, "a\0b\0c\x9", 6) == 0);
    EXPECT(KVS_OK, kvs_get(db, NULL, S("key"), &owned, &length, NULL));
    CHECK(length == 5 && memcmp(owned, "a\0b\0c", 5) == 0);
    kvs_free(owned);
    kvs_free(NULL);
    /* Empty keys and values are keys and values. */
    EXPECT(KVS_OK, kvs_put(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_OK, kvs_get(db, NULL, S(""), &owned, &length, NULL));
    CHECK(owned != NULL && length == 0);
    kvs_free(owned);
    EXPECT(KVS_OK, kvs_get_into(db, NULL, NULL, 0, NULL, 0, &length, NULL));
    EXPECT(KVS_OK, kvs_delete(db, NULL, 0, KVS_SYNC, NULL));
    EXPECT(KVS_OK, kvs_delete(db, NULL, 0, 0, NULL));
    EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, NULL, 0, NULL));
    /* Limits: the byte that is too many is refused before anything is read. */
    static uint8_t key[(64 << 10) + 1];
    EXPECT(KVS_OK, kvs_put(db, key, sizeof key - 1, S("long"), 0, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, key, sizeof key - 1, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_put(db, key, sizeof key, S("long"), 0, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_put(db, S("key"), key, ((size_t)1 << 30) + 1, 0, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_put(db, S("key"), key, (size_t)1 << 32, 0, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_put(db, S("key"), key, (size_t)1 << 63, 0, NULL));
    kvs_free_db(db);
}

static void batches(void) {
    kvs_db *db = open_memory();
    kvs_batch *batch;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    CHECK(kvs_batch_count(batch) == 0);
    EXPECT(KVS_OK, kvs_put(db, S("old"), S("1"), 0, NULL));
    EXPECT(KVS_OK, kvs_batch_put(batch, S("new"), S("2")));
    EXPECT(KVS_OK, kvs_batch_delete(batch, S("old")));
    static uint8_t key[(64 << 10) + 1];
    EXPECT(KVS_E_TOO_LARGE, kvs_batch_put(batch, key, sizeof key, S("")));
    EXPECT(KVS_E_TOO_LARGE, kvs_batch_delete(batch, key, sizeof key));
    CHECK(kvs_batch_count(batch) == 2);
    EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, S("new"), NULL));
    EXPECT(KVS_OK, kvs_write(db, batch, KVS_SYNC, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("new"), NULL));
    EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, S("old"), NULL));
    CHECK(kvs_batch_count(batch) == 2);
    EXPECT(KVS_OK, kvs_batch_clear(batch));
    CHECK(kvs_batch_count(batch) == 0);
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    kvs_batch_free(batch);
    kvs_free_db(db);
}

static void at(const kvs_iter *iter, const char *key, const char *value) {
    const uint8_t *k, *v;
    size_t kn, vn;
    EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
    CHECK(kn == strlen(key) && memcmp(k, key, kn) == 0 && vn == strlen(value) && memcmp(v, value, vn) == 0);
}

/* The keys that are there, in order, against those of a string. */
static void keys(const kvs_db *db, const char *expected) {
    kvs_iter *iter = iterate(db);
    const uint8_t *k, *v;
    size_t kn, vn;
    for (; kvs_iter_next(iter, NULL) == KVS_OK; expected += kn) {
        EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
        CHECK(strlen(expected) >= kn && memcmp(k, expected, kn) == 0);
    }
    CHECK(*expected == 0);
    kvs_iter_free(iter);
}

static void ranges(void) {
    kvs_db *db = open_memory();
    kvs_batch *batch;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    static const struct {
        const char *start, *stop, *left;
    } cases[] = {
        {"b", "d", "ad"}, {NULL, "c", "cd"},    {"c", NULL, "ab"}, {NULL, NULL, ""}, {"", NULL, ""},
        {"", "", "abcd"}, {NULL, "", "abcd"}, {"d", "b", "abcd"}, {"b", "b", "abcd"}, {"x", NULL, "abcd"},
    };
    for (size_t i = 0; i < 4 * sizeof cases / sizeof *cases; i++) {
        const char *start = cases[i / 4].start, *stop = cases[i / 4].stop;
        size_t start_len = start ? strlen(start) : 0, stop_len = stop ? strlen(stop) : 0;
        for (const char *key = "abcd"; *key; key++) {
            EXPECT(KVS_OK, kvs_put(db, (const uint8_t *)key, 1, S("value"), 0, NULL));
        }
        if (i & 1) EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
        if (i & 2) {
            EXPECT(KVS_OK, kvs_batch_delete_range(batch, (const uint8_t *)start, start_len, (const uint8_t *)stop, stop_len));
            CHECK(kvs_batch_count(batch) == 1);
            EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
            EXPECT(KVS_OK, kvs_batch_clear(batch));
        } else {
            EXPECT(KVS_OK, kvs_delete_range(db, (const uint8_t *)start, start_len, (const uint8_t *)stop, stop_len,
                                            i & 1 ? KVS_SYNC : 0, NULL));
        }
        keys(db, cases[i / 4].left);
        EXPECT(KVS_OK, kvs_compact(db, (const uint8_t *)start, start_len, (const uint8_t *)stop, stop_len, 0, NULL));
        keys(db, cases[i / 4].left);
    }
    EXPECT(KVS_OK, kvs_sync(db, 0, NULL));
    EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    /* In a batch, what stands before the range delete goes and what stands after it stays. */
    EXPECT(KVS_OK, kvs_batch_put(batch, S("b"), S("1")));
    EXPECT(KVS_OK, kvs_batch_delete_range(batch, NULL, 0, NULL, 0));
    EXPECT(KVS_OK, kvs_batch_put(batch, S("c"), S("2")));
    EXPECT(KVS_OK, kvs_write(db, batch, KVS_SYNC, NULL));
    keys(db, "c");
    kvs_error *err;
    EXPECT(KVS_E_INVALID, kvs_delete_range(db, NULL, 1, NULL, 0, 0, &err));
    CHECK(strstr(kvs_error_message(err), "start"));
    kvs_error_free(err);
    EXPECT(KVS_E_INVALID, kvs_compact(db, NULL, 0, NULL, SIZE_MAX, 0, &err));
    CHECK(strstr(kvs_error_message(err), "stop"));
    kvs_error_free(err);
    EXPECT(KVS_E_INVALID, kvs_compact(db, NULL, 0, NULL, 0, KVS_SYNC, NULL));
    EXPECT(KVS_E_INVALID, kvs_sync(db, KVS_SYNC, NULL));
    static uint8_t key[(64 << 10) + 1];
    EXPECT(KVS_OK, kvs_delete_range(db, key, sizeof key - 1, key, sizeof key - 1, 0, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_delete_range(db, key, sizeof key, NULL, 0, 0, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_batch_delete_range(batch, NULL, 0, key, sizeof key));
    EXPECT(KVS_E_TOO_LARGE, kvs_compact(db, key, sizeof key, NULL, 0, 0, NULL));
    keys(db, "c");
    kvs_batch_free(batch);
    kvs_free_db(db);
}

static void iterators(void) {
    kvs_db *db = open_memory();
    kvs_iter *iter;
    kvs_snapshot *snapshot;
    const uint8_t *p = NULL;
    size_t n = 77;
    EXPECT(KVS_OK, kvs_put(db, S("a"), S("1"), 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("b"), S("2"), 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("c"), S("3"), 0, NULL));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("b"), S("new"), 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("d"), S("4"), 0, NULL));
    for (int with_db = 0; with_db < 2; with_db++) {
        EXPECT(KVS_OK, kvs_iter_new(with_db ? db : NULL, snapshot, NULL, 0, NULL, 0, 0, &iter, NULL));
        EXPECT(KVS_END, kvs_iter_item(iter, &p, &n, &p, &n));
        CHECK(p == NULL && n == 77);
        EXPECT(KVS_OK, kvs_iter_next(iter, NULL)); at(iter, "a", "1");
        EXPECT(KVS_OK, kvs_iter_next(iter, NULL)); at(iter, "b", "2");
        EXPECT(KVS_OK, kvs_iter_next(iter, NULL)); at(iter, "c", "3");
        EXPECT(KVS_END, kvs_iter_next(iter, NULL));
        EXPECT(KVS_END, kvs_iter_next(iter, NULL));
        EXPECT(KVS_END, kvs_iter_item(iter, &p, &n, &p, &n));
        EXPECT(KVS_OK, kvs_iter_prev(iter, NULL)); at(iter, "c", "3");
        EXPECT(KVS_OK, kvs_iter_first(iter, NULL)); at(iter, "a", "1");
        EXPECT(KVS_END, kvs_iter_prev(iter, NULL));
        kvs_iter_free(iter);
    }
    EXPECT(KVS_OK, kvs_iter_new(db, snapshot, NULL, 0, NULL, 0, 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_iter_prev(iter, NULL)); at(iter, "c", "3");
    kvs_snapshot_free(snapshot);
    EXPECT(KVS_OK, kvs_iter_seek(iter, S("aa"), NULL)); at(iter, "b", "2");
    EXPECT(KVS_END, kvs_iter_seek(iter, S("d"), NULL));
    EXPECT(KVS_OK, kvs_iter_seek_for_prev(iter, S("bb"), NULL)); at(iter, "b", "2");
    EXPECT(KVS_END, kvs_iter_seek_for_prev(iter, NULL, 0, NULL));
    kvs_iter_free(iter);
    /* Bounds: low included, high excluded, none and the empty key. */
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, S("b"), S("d"), 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL)); at(iter, "b", "new");
    EXPECT(KVS_OK, kvs_iter_last(iter, NULL)); at(iter, "c", "3");
    kvs_iter_free(iter);
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, NULL, 0, S(""), 0, &iter, NULL));
    EXPECT(KVS_END, kvs_iter_first(iter, NULL));
    kvs_iter_free(iter);
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, S("d"), S("b"), 0, &iter, NULL));
    EXPECT(KVS_END, kvs_iter_last(iter, NULL));
    kvs_iter_free(iter);
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, S(""), NULL, 0, 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_iter_last(iter, NULL)); at(iter, "d", "4");
    kvs_iter_free(iter);
    kvs_free_db(db);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    versions();
    options();
    paths(argv[1]);
    reads();
    batches();
    ranges();
    iterators();
    return 0;
}
