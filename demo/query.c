/*
 * The demonstration's C program.
 *
 *   query read DIR     prints the demonstration's queries to stdout, and how fast it read to stderr
 *   query write DIR    writes numbered pairs for ever, and prints each number once its write is acknowledged
 *
 * query.py and query_ctypes.py print the same bytes as `read`; crash.py reads what `write` prints and kills it.
 */
#define _POSIX_C_SOURCE 200809L

#include <kvs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Ends the program with a message unless the call succeeded. */
static void must(const char *what, kvs_status status, kvs_error *err) {
    if (status == KVS_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, kvs_status_name(status), err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    exit(1);
}

/* Keys and values are bytes with a length; the keys here are strings. */
static const uint8_t *bytes(const char *text) { return (const uint8_t *)text; }

static void print_bytes(const uint8_t *data, size_t length) { fwrite(data, 1, length, stdout); }

static void point(const kvs_db *db, const char *key) {
    uint8_t *value;
    size_t length;
    kvs_error *err = NULL;
    kvs_status status = kvs_get(db, NULL, bytes(key), strlen(key), &value, &length, &err);
    if (status == KVS_NOT_FOUND) {
        puts("Key not found");
        return;
    }
    must("get", status, err);
    print_bytes(value, length);
    putchar('\n');
    kvs_free(value);
}

/* Prints the pairs from low to before high, at most limit, from the first on or from the last back. */
static void range(const kvs_db *db, const char *low, const char *high, int reverse, unsigned long limit) {
    kvs_iter *iter;
    kvs_error *err = NULL;
    must("iterate", kvs_iter_new(db, NULL, bytes(low), strlen(low), bytes(high), strlen(high), 0, &iter, &err), err);
    for (; limit > 0; limit--) {
        const uint8_t *key, *value;
        size_t key_len, value_len;
        /* A new iterator stands outside, so the first step back leads to the last pair. */
        kvs_status status = reverse ? kvs_iter_prev(iter, &err) : kvs_iter_next(iter, &err);
        if (status == KVS_END) break;
        must("move", status, err);
        must("item", kvs_iter_item(iter, &key, &key_len, &value, &value_len), NULL);
        print_bytes(key, key_len);
        putchar('\t');
        print_bytes(value, value_len);
        putchar('\n');
    }
    kvs_iter_free(iter);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Walks over all pairs, then gets every character's value, in an order far from that of the keys. */
static void measure(const kvs_db *db) {
    enum { KEY = 11, STEP = 1000003 }; /* "char/" and six digits; a prime above the number of code points that are named */
    kvs_iter *iter;
    kvs_error *err = NULL;
    size_t pairs = 0, count = 0, room = 0;
    uint8_t(*keys)[KEY] = NULL;
    double began = now();
    must("iterate", kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, &err), err);
    kvs_status status;
    while ((status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_len, value_len;
        must("item", kvs_iter_item(iter, &key, &key_len, &value, &value_len), NULL);
        pairs++;
    }
    if (status != KVS_END) must("move", status, err);
    kvs_iter_free(iter);
    double scanned = now() - began;

    must("iterate", kvs_iter_new(db, NULL, bytes("char/"), 5, bytes("char0"), 5, 0, &iter, &err), err);
    while ((status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_len, value_len;
        must("item", kvs_iter_item(iter, &key, &key_len, &value, &value_len), NULL);
        if (key_len != KEY) continue;
        if (count == room) {
            room = room ? 2 * room : 1024;
            keys = realloc(keys, room * sizeof *keys);
            if (!keys) exit(1);
        }
        memcpy(keys[count++], key, KEY);
    }
    if (status != KVS_END) must("move", status, err);
    kvs_iter_free(iter);

    began = now();
    for (size_t i = 0; i < count; i++) {
        uint8_t value[512];
        size_t length;
        must("get", kvs_get_into(db, NULL, keys[i * STEP % count], KEY, value, sizeof value, &length, &err), err);
    }
    double got = now() - began;
    fprintf(stderr, "C: %zu pairs scanned, %.0f k/s; %zu values got at random, %.0f k/s\n", pairs,
            (double)pairs / scanned / 1e3, count, (double)count / got / 1e3);
    free(keys);
}

static int read_queries(const char *dir) {
    kvs_options *options;
    kvs_db *db;
    kvs_error *err = NULL;
    must("options", kvs_options_new(&options), NULL);
    must("options", kvs_options_set(options, "read_only", "true", &err), err);
    must("open", kvs_open(dir, options, &db, &err), err);
    kvs_options_free(options);

    puts("# point: U+1F600, and U+10FFFF, which is no character");
    point(db, "char/01F600");
    point(db, "char/10FFFF");
    puts("# range: the block Greek and Coptic, U+0370 to U+03FF");
    range(db, "char/000370", "char/000400", 0, -1UL);
    puts("# prefix: words that begin with durab");
    range(db, "word/durab", "word/durac", 0, -1UL);
    puts("# reverse: the last five characters");
    range(db, "char/", "char0", 1, 5);
    if (fflush(stdout) != 0) return 1;

    measure(db);
    must("close", kvs_close(db, &err), err);
    kvs_free_db(db);
    return 0;
}

/* The number goes out, by itself and past all buffers, as soon as kvs_put has returned: whoever reads it holds a receipt. */
static int write_for_ever(const char *dir) {
    kvs_options *options;
    kvs_db *db;
    kvs_error *err = NULL;
    /* Little memory, so that it is killed among flushes. */
    must("options", kvs_options_new(&options), NULL);
    must("options", kvs_options_set(options, "segment_bytes_max", "1m", &err), err);
    must("options", kvs_options_set(options, "memtable_bytes_max", "4m", &err), err);
    must("open", kvs_open(dir, options, &db, &err), err);
    kvs_options_free(options);
    for (unsigned long number = 0;; number++) {
        char key[32], value[128], receipt[32];
        int key_len = snprintf(key, sizeof key, "%012lu", number);
        int value_len = snprintf(value, sizeof value, "%-99lu.", number);
        must("put", kvs_put(db, bytes(key), (size_t)key_len, bytes(value), (size_t)value_len, 0, &err), err);
        int length = snprintf(receipt, sizeof receipt, "%lu\n", number);
        if (write(STDOUT_FILENO, receipt, (size_t)length) != length) return 1;
    }
}

int main(int argc, char **argv) {
    if (kvs_abi_version() != KVS_ABI_VERSION || kvs_version_number() < KVS_VERSION_MINOR * 1000u + KVS_VERSION_PATCH) {
        fprintf(stderr, "the library is older than the header\n");
        return 2;
    }
    if (argc == 3 && strcmp(argv[1], "read") == 0) return read_queries(argv[2]);
    if (argc == 3 && strcmp(argv[1], "write") == 0) return write_for_ever(argv[2]);
    fprintf(stderr, "usage: %s read|write DIRECTORY\n", argv[0]);
    return 2;
}
