/* What the test programs share: a check that says where it failed, short forms for keys, and how often to repeat things. */
#ifndef CHECK_H
#define CHECK_H

#include <kvs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                           \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                               \
        }                                                                          \
    } while (0)

#define EXPECT(status, call)                                                                      \
    do {                                                                                          \
        kvs_status got_ = (call);                                                                 \
        if (got_ != (status)) {                                                                   \
            fprintf(stderr, "%s:%d: %s instead of %s: %s\n", __FILE__, __LINE__,                  \
                    kvs_status_name(got_), kvs_status_name(status), #call);                       \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* The bytes and the length of a string literal. */
#define S(text) (const uint8_t *)(text), sizeof(text) - 1

/* As many as that, or as much of it as KVS_REPEAT_PERCENT says: for valgrind, in which everything takes 50 times as long. */
static inline int times(int count) {
    const char *percent = getenv("KVS_REPEAT_PERCENT");
    int scaled = percent ? (int)((double)count * atof(percent) / 100) : count;
    return scaled < 1 ? 1 : scaled;
}

static inline kvs_db *open_memory(void) {
    kvs_options *options;
    kvs_db *db;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "in_memory", "true", NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    kvs_options_free(options);
    return db;
}

static inline kvs_iter *iterate(const kvs_db *db) {
    kvs_iter *iter;
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, NULL));
    return iter;
}

#endif
