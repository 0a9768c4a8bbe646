/* Reads without a copy and calls that do the work of many: pinned values, many keys, filled buffers, packed writes, prefixes, and
   writes that do not wait. argv[1]: an empty directory. */
#include "check.h"

static uint32_t u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static kvs_db *open_at(const char *directory, const char *name) {
    char path[4096];
    kvs_db *db;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    return db;
}

/* A pin outlives overwriting, flushing, merging, closing and freeing, and its bytes stay what they were. */
static void pins(const char *directory, const char *io) {
    char path[4096];
    kvs_options *options;
    kvs_db *db;
    snprintf(path, sizeof path, "%s/pins-%s", directory, io);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "table_io", io, NULL));
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    kvs_options_free(options);
    enum { SIZE = 1 << 20 };
    uint8_t *large = malloc(SIZE);
    CHECK(large);
    for (size_t i = 0; i < SIZE; i++) large[i] = (uint8_t)(i * 31 + i / 251);
    kvs_pin *of_log, *of_table, *empty, *none;
    const uint8_t *in_log, *in_table, *at, *untouched = large;
    size_t length = 77;
    EXPECT(KVS_OK, kvs_put(db, S("large"), large, SIZE, 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("empty"), NULL, 0, 0, NULL));
    none = (kvs_pin *)1;
    EXPECT(KVS_NOT_FOUND, kvs_get_pinned(db, NULL, S("none"), &none, &untouched, &length, NULL));
    CHECK(none == NULL && untouched == large && length == 77);
    EXPECT(KVS_OK, kvs_get_pinned(db, NULL, S("empty"), &empty, &at, &length, NULL));
    CHECK(at != NULL && length == 0);
    EXPECT(KVS_OK, kvs_get_pinned(db, NULL, S("large"), &of_log, &in_log, &length, NULL));
    CHECK(length == SIZE && memcmp(in_log, large, SIZE) == 0);
    EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    kvs_snapshot *snapshot;
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("large"), S("small"), 0, NULL));
    EXPECT(KVS_OK, kvs_get_pinned(NULL, snapshot, S("large"), &of_table, &in_table, &length, NULL));
    CHECK(length == SIZE && in_table != in_log && memcmp(in_table, large, SIZE) == 0);
    kvs_snapshot_free(snapshot);
    EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    EXPECT(KVS_OK, kvs_pin_data(of_log, &at, &length));
    CHECK(at == in_log && length == SIZE);
    kvs_free_db(db);
    CHECK(memcmp(in_log, large, SIZE) == 0 && memcmp(in_table, large, SIZE) == 0);
    kvs_pin_free(of_log);
    kvs_pin_free(of_log);
    EXPECT(KVS_E_BAD_HANDLE, kvs_pin_data(of_log, &at, &length));
    CHECK(memcmp(in_table, large, SIZE) == 0);
    kvs_pin_free(of_table);
    kvs_pin_free(empty);
    free(large);
}

static void many(void) {
    kvs_db *db = open_memory();
    kvs_results *results;
    kvs_snapshot *snapshot;
    const uint8_t *data = NULL;
    size_t length = 77;
    EXPECT(KVS_OK, kvs_put(db, S("a"), S("1"), 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("ccc"), S(""), 0, NULL));
    EXPECT(KVS_OK, kvs_put(db, S(""), S("of the empty key"), 0, NULL));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("a"), S("22"), 0, NULL));
    /* a, bb, ccc, the empty key, a */
    const size_t ends[] = {1, 3, 6, 6, 7};
    for (int old = 0; old < 2; old++) {
        EXPECT(KVS_OK, kvs_multi_get(old ? NULL : db, old ? snapshot : NULL, S("abbccca"), ends, 5, &results, NULL));
        CHECK(kvs_results_count(results) == 5);
        EXPECT(KVS_NOT_FOUND, kvs_results_get(results, 1, &data, &length));
        CHECK(length == 77 && data == NULL);
        for (size_t i = 0; i < 5; i += 4) {
            EXPECT(KVS_OK, kvs_results_get(results, i, &data, &length));
            CHECK(length == (old ? 1u : 2u) && *data == (old ? '1' : '2'));
        }
        EXPECT(KVS_OK, kvs_results_get(results, 2, &data, &length));
        CHECK(length == 0 && data != NULL);
        EXPECT(KVS_OK, kvs_results_get(results, 3, &data, &length));
        CHECK(length == 16 && memcmp(data, "of the empty key", 16) == 0);
        EXPECT(KVS_E_INVALID, kvs_results_get(results, 5, &data, &length));
        kvs_results_free(results);
        kvs_results_free(results);
        CHECK(kvs_results_count(results) == 0);
        length = 77, data = NULL;
    }
    EXPECT(KVS_OK, kvs_multi_get(db, NULL, NULL, 0, NULL, 0, &results, NULL));
    CHECK(kvs_results_count(results) == 0);
    kvs_results_free(results);
    /* Ends that descend, lie behind keys_len or stop before it. */
    const size_t bad[3][2] = {{2, 1}, {1, 4}, {1, 2}};
    for (int i = 0; i < 3; i++) {
        EXPECT(KVS_E_INVALID, kvs_multi_get(db, NULL, S("abc"), bad[i], 2, &results, NULL));
        CHECK(results == NULL);
    }
    EXPECT(KVS_E_INVALID, kvs_multi_get(db, NULL, S("abc"), bad[0], 0, &results, NULL));
    static uint8_t key[(64 << 10) + 1];
    size_t one = sizeof key;
    EXPECT(KVS_E_TOO_LARGE, kvs_multi_get(db, NULL, key, one, &one, 1, &results, NULL));
    EXPECT(KVS_E_TOO_LARGE, kvs_multi_get(db, NULL, key, one, &one, (1 << 20) + 1, &results, NULL));
    one--;
    EXPECT(KVS_OK, kvs_multi_get(db, NULL, key, one, &one, 1, &results, NULL));
    EXPECT(KVS_NOT_FOUND, kvs_results_get(results, 0, &data, &length));
    kvs_results_free(results);
    /* The values stay when the database is gone. */
    EXPECT(KVS_OK, kvs_multi_get(db, NULL, S("abbccca"), ends, 5, &results, NULL));
    kvs_snapshot_free(snapshot);
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_results_get(results, 0, &data, &length));
    CHECK(length == 2 && memcmp(data, "22", 2) == 0);
    kvs_results_free(results);
}

enum { ENTRIES = 1000 };

/* Fills with every capacity and count, and both ways: the same entries as one by one, each once. */
static void fills(const char *directory) {
    kvs_db *db = open_at(directory, "fills");
    char key[16], value[64];
    for (int i = 0; i < ENTRIES; i++) {
        int n = snprintf(key, sizeof key, "key%04d", i), m = snprintf(value, sizeof value, "%0*d", 1 + i % 40, i);
        EXPECT(KVS_OK, kvs_put(db, (uint8_t *)key, (size_t)n, (uint8_t *)value, i % 10 ? (size_t)m : 0, 0, NULL));
        if (i == ENTRIES / 2) EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    }
    kvs_iter *iter = iterate(db), *check = iterate(db);
    static uint8_t buffer[8192];
    for (int reverse = 0; reverse < 2; reverse++) {
        for (size_t capacity = 40; capacity <= sizeof buffer; capacity = capacity * 3 / 2 + 7) {
            size_t most = capacity % 5 == 0 ? 3 : SIZE_MAX;
            size_t seen = 0, items, used;
            kvs_status status, moved = reverse ? kvs_iter_last(check, NULL) : kvs_iter_first(check, NULL);
            /* Anew: before the first, or behind the last. */
            kvs_iter_free(iter);
            iter = iterate(db);
            while (1) {
                items = used = 77777;
                memset(buffer, 0xee, sizeof buffer);
                status = kvs_iter_fill(iter, buffer, capacity, most, reverse ? KVS_REVERSE : 0, &items, &used, NULL);
                for (size_t i = status == KVS_OK ? used : 0; i < sizeof buffer; i++) CHECK(buffer[i] == 0xee);
                if (status == KVS_E_BUFFER) {
                    /* Unmoved: with what it needs, it fits. */
                    CHECK(items == 77777 && used > capacity && used <= sizeof buffer);
                    size_t needed = used;
                    EXPECT(KVS_E_BUFFER, kvs_iter_fill(iter, NULL, 0, most, reverse ? KVS_REVERSE : 0, &items, &used, NULL));
                    CHECK(used == needed);
                    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, used, 1, reverse ? KVS_REVERSE : 0, &items, &used, NULL));
                    CHECK(items == 1 && used == needed);
                    status = KVS_OK;
                }
                if (status == KVS_END) break;
                EXPECT(KVS_OK, status);
                CHECK(items >= 1 && items <= most && used <= sizeof buffer);
                size_t at = 0;
                for (size_t i = 0; i < items; i++, seen++) {
                    const uint8_t *k, *v;
                    size_t kn, vn;
                    EXPECT(KVS_OK, moved);
                    EXPECT(KVS_OK, kvs_iter_item(check, &k, &kn, &v, &vn));
                    CHECK(at + 8 + kn + vn <= used);
                    CHECK(u32(buffer + at) == kn && u32(buffer + at + 4) == vn);
                    CHECK(memcmp(buffer + at + 8, k, kn) == 0 && memcmp(buffer + at + 8 + kn, v, vn) == 0);
                    at += 8 + kn + vn;
                    moved = reverse ? kvs_iter_prev(check, NULL) : kvs_iter_next(check, NULL);
                }
                CHECK(at == used);
            }
            CHECK(seen == ENTRIES && moved == KVS_END && items == 77777 && used == 77777);
            EXPECT(KVS_END, kvs_iter_fill(iter, buffer, capacity, most, reverse ? KVS_REVERSE : 0, &items, &used, NULL));
        }
    }
    /* From where it stands, that entry included; then it stands on the first one that was not put. */
    size_t items, used;
    const uint8_t *k, *v;
    size_t kn, vn;
    EXPECT(KVS_OK, kvs_iter_seek(iter, S("key0500"), NULL));
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, 2, 0, &items, &used, NULL));
    CHECK(items == 2 && memcmp(buffer + 8, "key0500", 7) == 0);
    EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
    CHECK(kn == 7 && memcmp(k, "key0502", 7) == 0);
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, 2, KVS_REVERSE, &items, &used, NULL));
    CHECK(items == 2 && memcmp(buffer + 8, "key0502", 7) == 0);
    EXPECT(KVS_E_INVALID, kvs_iter_fill(iter, buffer, sizeof buffer, 0, 0, &items, &used, NULL));
    EXPECT(KVS_E_INVALID, kvs_iter_fill(iter, buffer, sizeof buffer, 1, KVS_SYNC, &items, &used, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    EXPECT(KVS_E_CLOSED, kvs_iter_fill(iter, buffer, sizeof buffer, 2, 0, &items, &used, NULL));
    kvs_iter_free(iter);
    kvs_iter_free(check);
    kvs_free_db(db);
}

/* What a fill meets after it has put something is told by the next call, once; what stands before it is not lost. */
static void fill_meets_damage(const char *directory) {
    char path[4096];
    kvs_db *db;
    kvs_options *options;
    kvs_error *err = NULL;
    static uint8_t value[3000], buffer[1 << 20];
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "table_io", "positioned", NULL));
    EXPECT(KVS_OK, kvs_options_set(options, "cache_bytes", "0", NULL));
    snprintf(path, sizeof path, "%s/damaged", directory);
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    for (int i = 0; i < 100; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "key%04d", i);
        memset(value, 'a' + i % 26, sizeof value);
        if (i == 50) memset(value, '!', sizeof value);
        EXPECT(KVS_OK, kvs_put(db, (uint8_t *)key, (size_t)n, value, sizeof value, 0, NULL));
    }
    EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    /* One byte of the value of key0050, in the one table. */
    char command[8300];
    snprintf(command, sizeof command,
             "f=$(ls '%s'/*.tbl) && o=$(grep -abo '!!!!' \"$f\" | head -1 | cut -d: -f1) && "
             "printf '?' | dd of=\"$f\" bs=1 seek=$((o + 100)) conv=notrunc 2>/dev/null", path);
    CHECK(system(command) == 0);
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    kvs_iter *iter = iterate(db);
    size_t items, used;
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, NULL));
    CHECK(items == 50 && memcmp(buffer + used - 3000 - 7, "key0049", 7) == 0);
    EXPECT(KVS_E_CORRUPTION, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, &err));
    CHECK(strstr(kvs_error_message(err), ".tbl"));
    kvs_error_free(err);
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, NULL));
    EXPECT(KVS_E_CORRUPTION, kvs_iter_next(iter, NULL));
    /* A seek has nothing to do with it. */
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, NULL));
    EXPECT(KVS_OK, kvs_iter_seek(iter, S("key0070"), NULL));
    EXPECT(KVS_OK, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, NULL));
    CHECK(items == 30);
    EXPECT(KVS_END, kvs_iter_fill(iter, buffer, sizeof buffer, SIZE_MAX, 0, &items, &used, NULL));
    kvs_iter_free(iter);
    kvs_free_db(db);
    kvs_options_free(options);
}

static size_t pack(uint8_t *to, uint8_t kind, const char *key, const char *value) {
    uint32_t kn = (uint32_t)strlen(key), vn = (uint32_t)strlen(value);
    to[0] = kind;
    for (int i = 0; i < 4; i++) to[1 + i] = (uint8_t)(kn >> 8 * i), to[5 + i] = (uint8_t)(vn >> 8 * i);
    memcpy(to + 9, key, kn);
    memcpy(to + 9 + kn, value, vn);
    return 9 + kn + vn;
}

/* All keys in order, as one string. */
static void keys(const kvs_db *db, const char *expected) {
    char seen[64] = "";
    kvs_iter *iter = iterate(db);
    const uint8_t *k, *v;
    size_t kn, vn;
    while (kvs_iter_next(iter, NULL) == KVS_OK) {
        EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
        strncat(seen, (const char *)k, kn);
    }
    if (strcmp(seen, expected) != 0) fprintf(stderr, "%s instead of %s\n", seen, expected);
    CHECK(strcmp(seen, expected) == 0);
    kvs_iter_free(iter);
}

static void packed(void) {
    kvs_db *db = open_memory();
    kvs_batch *batch;
    kvs_error *err = NULL;
    uint8_t ops[512], bad[512];
    size_t n = 0;
    for (const char *c = "abcdefgh"; *c; c++) EXPECT(KVS_OK, kvs_put(db, (const uint8_t *)c, 1, S("old"), 0, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    EXPECT(KVS_OK, kvs_batch_append_packed(batch, NULL, 0, NULL));
    CHECK(kvs_batch_count(batch) == 0 && kvs_batch_bytes(batch) == 0);
    n += pack(ops + n, KVS_PACKED_PUT, "new", "value");
    n += pack(ops + n, KVS_PACKED_DELETE, "a", "");
    n += pack(ops + n, KVS_PACKED_DELETE_RANGE, "c", "e");
    n += pack(ops + n, KVS_PACKED_PUT, "d", "");
    n += pack(ops + n, KVS_PACKED_PUT, "z", "gone at once");
    n += pack(ops + n, KVS_PACKED_DELETE_FROM, "g", "");
    n += pack(ops + n, KVS_PACKED_PUT, "", "of the empty key");
    EXPECT(KVS_OK, kvs_batch_append_packed(batch, ops, n, NULL));
    CHECK(kvs_batch_count(batch) == 7);
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    keys(db, "bdef");
    uint8_t value[32];
    size_t length;
    EXPECT(KVS_OK, kvs_get_into(db, NULL, S(""), value, sizeof value, &length, NULL));
    CHECK(length == 16 && memcmp(value, "of the empty key", 16) == 0);
    EXPECT(KVS_OK, kvs_get_into(db, NULL, S("d"), value, sizeof value, &length, NULL));
    CHECK(length == 0);
    /* Cut at every byte but where a write ends, nothing is added, and the message says where. */
    EXPECT(KVS_OK, kvs_batch_clear(batch));
    int whole = 0;
    for (size_t cut = 0; cut <= n; cut++) {
        kvs_status status = kvs_batch_append_packed(batch, ops, cut, &err);
        if (status == KVS_OK) {
            whole++;
            EXPECT(KVS_OK, kvs_batch_clear(batch));
        } else {
            EXPECT(KVS_E_INVALID, status);
            CHECK(strstr(kvs_error_message(err), "at byte") && kvs_batch_count(batch) == 0 && kvs_batch_bytes(batch) == 0);
            kvs_error_free(err);
        }
    }
    CHECK(whole == 8);
    /* Kinds without a meaning, deletes with a value, lengths beyond the limits. */
    EXPECT(KVS_OK, kvs_batch_put(batch, S("kept"), S("kept")));
    for (int kind = 0; kind < 256; kind++) {
        n = pack(bad, KVS_PACKED_PUT, "good", "one");
        size_t second = n;
        n += pack(bad + n, (uint8_t)kind, "key", "value");
        kvs_status expected = kind == KVS_PACKED_PUT || kind == KVS_PACKED_DELETE_RANGE ? KVS_OK : KVS_E_INVALID;
        EXPECT(expected, kvs_batch_append_packed(batch, bad, n, &err));
        if (expected == KVS_OK) {
            CHECK(kvs_batch_count(batch) == 3);
            EXPECT(KVS_OK, kvs_batch_clear(batch));
            EXPECT(KVS_OK, kvs_batch_put(batch, S("kept"), S("kept")));
        } else {
            char where[32];
            snprintf(where, sizeof where, "at byte %zu ", second);
            CHECK(strstr(kvs_error_message(err), where) && kvs_batch_count(batch) == 1 && kvs_batch_bytes(batch) == 8);
            kvs_error_free(err);
        }
    }
    for (int byte = 1; byte < 9; byte++) {
        n = pack(bad, KVS_PACKED_PUT, "key", "value");
        bad[byte] = 0xff;
        kvs_status status = kvs_batch_append_packed(batch, bad, n, NULL);
        CHECK(status == KVS_E_INVALID || status == KVS_E_TOO_LARGE);
        if (byte == 4 || byte == 8) CHECK(status == KVS_E_TOO_LARGE);
        CHECK(kvs_batch_count(batch) == 1);
    }
    kvs_batch_free(batch);
    kvs_free_db(db);
}

static void prefixes(void) {
    kvs_db *db = open_memory();
    kvs_snapshot *snapshot;
    static const char *all[] = {"a", "b", "b\xff", "b\xff\xff", "ba", "c", "\xff", "\xff\xff"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        EXPECT(KVS_OK, kvs_put(db, (const uint8_t *)all[i], strlen(all[i]), S("v"), 0, NULL));
    }
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("bb"), S("late"), 0, NULL));
    static const struct { const char *prefix; int count, before; } cases[] = {
        {"", 9, 8}, {"a", 1, 1}, {"b", 5, 4}, {"b\xff", 2, 2}, {"\xff", 2, 2}, {"\xff\xff", 1, 1}, {"x", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int old = 0; old < 2; old++) {
            kvs_iter *iter;
            int count = 0;
            EXPECT(KVS_OK, kvs_iter_new_prefix(db, old ? snapshot : NULL, (const uint8_t *)cases[i].prefix,
                                               strlen(cases[i].prefix), 0, &iter, NULL));
            while (kvs_iter_prev(iter, NULL) == KVS_OK) count++;
            CHECK(count == (old ? cases[i].before : cases[i].count));
            kvs_iter_free(iter);
        }
    }
    uint64_t sequence;
    EXPECT(KVS_OK, kvs_snapshot_sequence(snapshot, &sequence, NULL));
    CHECK(sequence == 8);
    kvs_snapshot_free(snapshot);
    kvs_free_db(db);
}

/* Faster than flushes: sooner or later a write would have to wait, says so, and has written nothing. */
static void without_waiting(const char *directory) {
    char path[4096];
    kvs_options *options;
    kvs_db *db;
    kvs_batch *batch;
    static uint8_t value[256 << 10];
    snprintf(path, sizeof path, "%s/full", directory);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "segment_bytes_min", "1m", NULL));
    EXPECT(KVS_OK, kvs_options_set(options, "segment_bytes_max", "1m", NULL));
    EXPECT(KVS_OK, kvs_options_set_memtable_bytes_max(options, 2 << 20, NULL));
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    int refused = 0, number = 0;
    for (; number < 20000 && refused < 3; number++) {
        uint8_t key[4];
        memcpy(key, &number, 4);
        kvs_status status;
        if (number % 2) {
            status = kvs_put(db, key, 4, value, sizeof value, KVS_NO_WAIT, NULL);
        } else {
            EXPECT(KVS_OK, kvs_batch_clear(batch));
            EXPECT(KVS_OK, kvs_batch_put(batch, key, 4, value, sizeof value));
            status = kvs_write(db, batch, KVS_NO_WAIT, NULL);
        }
        CHECK(status == KVS_OK || status == KVS_E_WOULD_BLOCK);
        EXPECT(status == KVS_OK ? KVS_OK : KVS_NOT_FOUND, kvs_contains(db, NULL, key, 4, NULL));
        if (status == KVS_E_WOULD_BLOCK) {
            refused++;
            /* Who can wait, can write. */
            EXPECT(KVS_OK, kvs_put(db, key, 4, value, sizeof value, 0, NULL));
        }
    }
    CHECK(refused == 3);
    EXPECT(KVS_OK, kvs_delete(db, S("none"), KVS_NO_WAIT | KVS_SYNC, NULL));
    EXPECT(KVS_OK, kvs_delete_range(db, NULL, 0, NULL, 0, KVS_NO_WAIT, NULL));
    keys(db, "");
    kvs_batch_free(batch);
    kvs_options_free(options);
    kvs_free_db(db);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pins(argv[1], "mapped");
    pins(argv[1], "positioned");
    many();
    fills(argv[1]);
    fill_meets_damage(argv[1]);
    packed();
    prefixes();
    without_waiting(argv[1]);
    return 0;
}
