/*
 * What a call through the C interface costs, to be counted: `make instructions` runs it under callgrind, which looks at measured() only.
 * The rows of the same names in benches/instructions.rs do the same from Rust.
 *
 *   doors ROW DIRECTORY
 */
#include "check.h"

enum { KEYS = 40000, OPERATIONS = 4000, VALUE = 100 };

static uint8_t value[VALUE];

/* Keys in no order: SplitMix64. */
static void key_of(uint64_t i, uint8_t *key) {
    uint64_t z = i * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    for (int byte = 0; byte < 8; byte++) {
        key[byte] = (uint8_t)(z >> (56 - 8 * byte));
        key[8 + byte] = (uint8_t)(i >> (56 - 8 * byte));
    }
}

__attribute__((noinline)) static void measured(const char *row, kvs_db *db, kvs_iter *iter, const uint8_t *key) {
    uint8_t buffer[VALUE];
    size_t length;
    if (strcmp(row, "get") == 0) {
        for (int i = 0; i < OPERATIONS; i++) {
            EXPECT(KVS_OK, kvs_get_into(db, NULL, key, 16, buffer, sizeof buffer, &length, NULL));
        }
    } else if (strcmp(row, "put") == 0) {
        for (int i = 0; i < OPERATIONS; i++) {
            EXPECT(KVS_OK, kvs_put(db, key, 16, value, sizeof value, 0, NULL));
        }
    } else {
        static uint8_t items[64 << 10];
        size_t seen = 0, count, used;
        CHECK(strcmp(row, "fill") == 0);
        while (seen < OPERATIONS) {
            EXPECT(KVS_OK, kvs_iter_fill(iter, items, sizeof items, OPERATIONS - seen, 0, &count, &used, NULL));
            seen += count;
        }
    }
}

int main(int argc, char **argv) {
    kvs_options *options;
    kvs_db *db;
    kvs_iter *iter;
    uint8_t key[16];
    CHECK(argc == 3);
    memset(value, 'v', sizeof value);
    EXPECT(KVS_OK, kvs_options_new(&options));
    /* One segment holds all, so that none is changed while it is counted. */
    EXPECT(KVS_OK, kvs_options_set(options, "segment_bytes_min", "16m", NULL));
    EXPECT(KVS_OK, kvs_open(argv[2], options, &db, NULL));
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of(i, key);
        EXPECT(KVS_OK, kvs_put(db, key, sizeof key, value, sizeof value, 0, NULL));
    }
    if (strcmp(argv[1], "fill") == 0) {
        EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    }
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, NULL));
    key_of(7, key);
    measured(argv[1], db, iter, key);
    /* As if it were killed: a close would flush, on this thread. */
    _Exit(0);
}
