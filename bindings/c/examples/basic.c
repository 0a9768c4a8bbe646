/*
 * A first program: open, put, get, a batch, and a walk backwards over the keys with a prefix.
 *
 *   cc basic.c -lkvs -o basic && ./basic /tmp/my-database
 */
#include <kvs.h>
#include <stdio.h>
#include <string.h>

/* Prints what failed and frees the error object. */
static int failed(const char *what, kvs_status status, kvs_error *err) {
    fprintf(stderr, "%s: %s: %s\n", what, kvs_status_name(status), err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    return 1;
}

/* Keys and values are bytes with a length; here they are strings. */
static const uint8_t *bytes(const char *text) { return (const uint8_t *)text; }

static int run(const kvs_db *db) {
    kvs_status status;
    kvs_error *err = NULL;

    /* One write. KVS_SYNC: it survives a power failure once the call has returned. */
    status = kvs_put(db, bytes("greeting"), 8, bytes("hello"), 5, KVS_SYNC, &err);
    if (status != KVS_OK) return failed("put", status, err);

    /* One read, into a buffer of ours: no allocation. A missing key is no error. */
    uint8_t buffer[64];
    size_t length;
    status = kvs_get_into(db, NULL, bytes("greeting"), 8, buffer, sizeof buffer, &length, &err);
    if (status == KVS_NOT_FOUND) puts("no greeting");
    else if (status != KVS_OK) return failed("get", status, err);
    else printf("greeting = %.*s\n", (int)length, (const char *)buffer);

    /* Writes that happen together or not at all. */
    kvs_batch *batch;
    status = kvs_batch_new(&batch);
    for (int i = 1; i <= 5 && status == KVS_OK; i++) {
        char key[32], value[32];
        int key_len = snprintf(key, sizeof key, "user:%03d", i);
        int value_len = snprintf(value, sizeof value, "name %d", i);
        status = kvs_batch_put(batch, bytes(key), (size_t)key_len, bytes(value), (size_t)value_len);
    }
    if (status == KVS_OK) status = kvs_write(db, batch, 0, &err);
    kvs_batch_free(batch);
    if (status != KVS_OK) return failed("batch", status, err);

    /* The keys that begin with "user:", last first: from "user:" up to the first key behind all of them. */
    kvs_iter *iter;
    status = kvs_iter_new(db, NULL, bytes("user:"), 5, bytes("user;"), 5, 0, &iter, &err);
    if (status != KVS_OK) return failed("iterate", status, err);
    for (status = kvs_iter_last(iter, &err); status == KVS_OK; status = kvs_iter_prev(iter, &err)) {
        const uint8_t *key, *value;
        size_t key_len, value_len;
        /* Borrowed: valid until the iterator moves. */
        if (kvs_iter_item(iter, &key, &key_len, &value, &value_len) != KVS_OK) break;
        printf("%.*s = %.*s\n", (int)key_len, (const char *)key, (int)value_len, (const char *)value);
    }
    kvs_iter_free(iter);
    /* KVS_END is the good end of the walk. */
    return status == KVS_END ? 0 : failed("walk", status, err);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    kvs_db *db;
    kvs_error *err = NULL;
    kvs_status status = kvs_open(argv[1], NULL, &db, &err);
    if (status != KVS_OK) return failed("open", status, err);

    int result = run(db);

    /* Close reports what the disk has to say; free gives the handle back. */
    status = kvs_close(db, &err);
    if (status != KVS_OK) result = failed("close", status, err);
    kvs_free_db(db);
    return result;
}
