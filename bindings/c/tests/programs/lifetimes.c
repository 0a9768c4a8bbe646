/* Handles used after free, after close, in every order of freeing, and values that never were handles. */
#include "check.h"

/* The same answers for a freed database as for one that never was. */
static void after_free(void) {
    kvs_db *db = open_memory();
    kvs_error *err = NULL;
    kvs_free_db(db);
    kvs_free_db(db);
    EXPECT(KVS_E_BAD_HANDLE, kvs_put(db, S("k"), S("v"), 0, &err));
    CHECK(kvs_error_code(err) == KVS_E_BAD_HANDLE);
    kvs_error_free(err);
    CHECK(kvs_error_code(err) == KVS_E_BAD_HANDLE && kvs_error_message(err) != NULL);
    kvs_error_free(err);
    EXPECT(KVS_E_BAD_HANDLE, kvs_delete_range(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_E_BAD_HANDLE, kvs_sync(db, 0, NULL));
    EXPECT(KVS_E_BAD_HANDLE, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_E_BAD_HANDLE, kvs_close(db, NULL));

    kvs_batch *batch, *other;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    kvs_batch_free(batch);
    EXPECT(KVS_OK, kvs_batch_new(&other));
    kvs_batch_free(batch);
    EXPECT(KVS_E_BAD_HANDLE, kvs_batch_put(batch, S("k"), S("v")));
    EXPECT(KVS_E_BAD_HANDLE, kvs_batch_delete_range(batch, NULL, 0, NULL, 0));
    EXPECT(KVS_OK, kvs_batch_put(other, S("k"), S("v")));
    CHECK(kvs_batch_count(batch) == 0 && kvs_batch_count(other) == 1);
    kvs_batch_free(other);
}

static void after_close(void) {
    kvs_db *db = open_memory();
    kvs_snapshot *snapshot, *late;
    kvs_batch *batch;
    uint8_t *owned, buffer[4];
    const uint8_t *k, *v;
    size_t n, vn;
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), 0, NULL));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    kvs_iter *iter = iterate(db);
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    EXPECT(KVS_E_CLOSED, kvs_put(db, S("key"), S("value"), 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_delete(db, S("key"), 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_write(db, batch, 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_delete_range(db, S("key"), NULL, 0, 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_sync(db, 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_flush(db, 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_E_CLOSED, kvs_get(db, NULL, S("key"), &owned, &n, NULL));
    EXPECT(KVS_E_CLOSED, kvs_get_into(db, snapshot, S("key"), buffer, sizeof buffer, &n, NULL));
    EXPECT(KVS_E_CLOSED, kvs_contains(NULL, snapshot, S("key"), NULL));
    EXPECT(KVS_E_CLOSED, kvs_snapshot_new(db, &late, NULL));
    CHECK(late == NULL);
    kvs_iter *none;
    EXPECT(KVS_E_CLOSED, kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &none, NULL));
    EXPECT(KVS_E_CLOSED, kvs_iter_new(NULL, snapshot, NULL, 0, NULL, 0, 0, &none, NULL));
    /* What the iterator stands on stays readable; it cannot move. */
    EXPECT(KVS_OK, kvs_iter_item(iter, &k, &n, &v, &vn));
    CHECK(n == 3 && memcmp(k, "key", 3) == 0 && vn == 5 && memcmp(v, "value", 5) == 0);
    EXPECT(KVS_E_CLOSED, kvs_iter_next(iter, NULL));
    EXPECT(KVS_E_CLOSED, kvs_iter_seek(iter, S("key"), NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    EXPECT(KVS_E_CLOSED, kvs_iter_first(iter, NULL));
    kvs_iter_free(iter);
    kvs_snapshot_free(snapshot);
    kvs_batch_free(batch);
}

/* What is freed, in some order, and perhaps closed in between. */
enum { DB, SNAPSHOT, ITER, BATCH, PIN, OBJECTS, CLOSE = OBJECTS, STEPS };

/* Makes one of each in a database at `path`, or in memory if that is NULL, and does the steps. After each, every object answers as promised:
   what is live works, until the database is closed; what is not is BAD_HANDLE; and a pin is readable whatever became of the rest. */
static void in_order(const char *path, const int *steps, int count) {
    kvs_db *db;
    kvs_snapshot *snapshot;
    kvs_batch *batch;
    kvs_pin *pin;
    const uint8_t *value, *at;
    size_t length;
    if (path) EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    else db = open_memory();
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), 0, NULL));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    kvs_iter *iter = iterate(db);
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    EXPECT(KVS_OK, kvs_batch_put(batch, S("key"), S("other")));
    EXPECT(KVS_OK, kvs_get_pinned(db, NULL, S("key"), &pin, &value, &length, NULL));
    int live[OBJECTS] = {1, 1, 1, 1, 1}, closed = 0;
    for (int step = 0; step < count; step++) {
        switch (steps[step]) {
            case DB: kvs_free_db(db); break;
            case SNAPSHOT: kvs_snapshot_free(snapshot); break;
            case ITER: kvs_iter_free(iter); break;
            case BATCH: kvs_batch_free(batch); break;
            case PIN: kvs_pin_free(pin); break;
            default:
                EXPECT(live[DB] ? KVS_OK : KVS_E_BAD_HANDLE, kvs_close(db, NULL));
                closed = live[DB];
        }
        if (steps[step] < OBJECTS) live[steps[step]] = 0;
        const kvs_status open = closed ? KVS_E_CLOSED : KVS_OK;
        EXPECT(live[DB] ? open : KVS_E_BAD_HANDLE, kvs_contains(db, NULL, S("key"), NULL));
        EXPECT(live[DB] && live[BATCH] ? open : KVS_E_BAD_HANDLE, kvs_write(db, batch, 0, NULL));
        EXPECT(live[SNAPSHOT] ? open : KVS_E_BAD_HANDLE, kvs_contains(NULL, snapshot, S("key"), NULL));
        EXPECT(live[ITER] ? open : KVS_E_BAD_HANDLE, kvs_iter_first(iter, NULL));
        CHECK(kvs_batch_count(batch) == (live[BATCH] ? 1 : 0));
        EXPECT(live[PIN] ? KVS_OK : KVS_E_BAD_HANDLE, kvs_pin_data(pin, &at, &length));
        if (live[PIN]) CHECK(at == value && length == 5 && memcmp(value, "value", 5) == 0);
    }
}

/* Every order of the numbers from `done` on; how many those are. */
static int permute(const char *path, int *steps, int done, int count) {
    if (done == count) {
        in_order(path, steps, count);
        return 1;
    }
    int orders = 0;
    for (int i = done; i < count; i++) {
        int first = steps[i];
        steps[i] = steps[done], steps[done] = first;
        orders += permute(path, steps, done + 1, count);
        steps[done] = steps[i], steps[i] = first;
    }
    return orders;
}

/* Every order of freeing five objects; that the last one closes is shown by the lock on the directory, which the next order takes. And every
   order of that and a close. */
static void any_order(const char *directory) {
    char path[4096];
    int steps[STEPS] = {DB, SNAPSHOT, ITER, BATCH, PIN, CLOSE};
    snprintf(path, sizeof path, "%s/orders", directory);
    CHECK(permute(path, steps, 0, OBJECTS) == 120);
    CHECK(permute(NULL, steps, 0, STEPS) == 720);
}

static void another_database(void) {
    kvs_db *one = open_memory(), *two = open_memory();
    kvs_snapshot *snapshot;
    EXPECT(KVS_OK, kvs_snapshot_new(one, &snapshot, NULL));
    EXPECT(KVS_E_INVALID, kvs_contains(two, snapshot, S("key"), NULL));
    EXPECT(KVS_NOT_FOUND, kvs_contains(one, snapshot, S("key"), NULL));
    kvs_snapshot_free(snapshot);
    kvs_free_db(one);
    kvs_free_db(two);
}

/* A million values as every kind of handle: arbitrary bits, and bits close to those of handles that are live. */
static void random_handles(void) {
    kvs_db *db = open_memory();
    kvs_iter *iter = iterate(db);
    kvs_batch *batch;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    const uintptr_t live[3] = {(uintptr_t)db, (uintptr_t)iter, (uintptr_t)batch};
    uint64_t state = 88172645463325252u;
    const uint8_t *p;
    size_t n;
    for (int round = 0; round < times(1000000); round++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uintptr_t value = (uintptr_t)state;
        if (round % 2) value = live[round / 2 % 3] ^ (uintptr_t)1 << state % 64;
        if (value == 0 || value == live[0] || value == live[1] || value == live[2]) continue;
        EXPECT(KVS_E_BAD_HANDLE, kvs_contains((kvs_db *)value, NULL, S("key"), NULL));
        EXPECT(KVS_E_BAD_HANDLE, kvs_contains(db, (kvs_snapshot *)value, S("key"), NULL));
        EXPECT(KVS_E_BAD_HANDLE, kvs_batch_clear((kvs_batch *)value));
        EXPECT(KVS_E_BAD_HANDLE, kvs_iter_item((kvs_iter *)value, &p, &n, &p, &n));
        CHECK(kvs_error_code((kvs_error *)value) == KVS_E_BAD_HANDLE);
        kvs_free_db((kvs_db *)value);
        kvs_iter_free((kvs_iter *)value);
        kvs_batch_free((kvs_batch *)value);
        kvs_snapshot_free((kvs_snapshot *)value);
        kvs_error_free((kvs_error *)value);
        kvs_options_free((kvs_options *)value);
    }
    EXPECT(KVS_END, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_batch_clear(batch));
    kvs_iter_free(iter);
    kvs_batch_free(batch);
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    after_free();
    after_close();
    any_order(argv[1]);
    another_database();
    random_handles();
    return 0;
}
