/* Sixteen threads read and iterate while the database is closed, and freed, under them; iterators and batches that
   threads fight for. Every answer is one of those promised. The database is on disk and opened again each round: when the last
   handle is freed the lock must be free, too, even if readers held up the reclaiming of memory. argv[1]: an empty directory. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include "check.h"

enum { THREADS = 16 };

static int rounds;

static kvs_db *volatile current;
static kvs_iter *contested;
static kvs_batch *batch;
static pthread_barrier_t start;
static volatile int told_concurrent;

static int ended(kvs_status status) { return status == KVS_E_CLOSED || status == KVS_E_BAD_HANDLE; }

static void *reader(void *argument) {
    int number = (int)(intptr_t)argument;
    for (int round = 0; round < rounds; round++) {
        pthread_barrier_wait(&start);
        kvs_db *db = current;
        uint8_t buffer[16];
        size_t n;
        kvs_status status;
        do {
            if (number % 2) {
                status = kvs_get_into(db, NULL, S("key"), buffer, sizeof buffer, &n, NULL);
                if (status == KVS_OK) CHECK(n == 5 && memcmp(buffer, "value", 5) == 0);
            } else {
                kvs_iter *iter;
                status = kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, NULL);
                if (status == KVS_OK) {
                    const uint8_t *k, *v;
                    size_t vn;
                    if ((status = kvs_iter_first(iter, NULL)) == KVS_OK) {
                        EXPECT(KVS_OK, kvs_iter_item(iter, &k, &n, &v, &vn));
                        CHECK(n == 3 && memcmp(k, "key", 3) == 0 && vn == 5 && memcmp(v, "value", 5) == 0);
                    }
                    kvs_iter_free(iter);
                }
            }
            CHECK(status == KVS_OK || ended(status));
        } while (!ended(status));
        pthread_barrier_wait(&start);
    }
    return NULL;
}

static void *fighter(void *argument) {
    (void)argument;
    int concurrent = 0;
    for (int i = 0; i < times(100000); i++) {
        kvs_status status = kvs_iter_first(contested, NULL);
        CHECK(status == KVS_OK || status == KVS_E_CONCURRENT);
        concurrent += status == KVS_E_CONCURRENT;
        status = kvs_batch_put(batch, S("k"), S("v"));
        CHECK(status == KVS_OK || status == KVS_E_CONCURRENT);
        if (i % 64 == 0) (void)!kvs_batch_clear(batch);
    }
    if (concurrent) told_concurrent = 1;
    return NULL;
}

static kvs_db *checked;
static volatile int caught;

/* Checks every byte until it is told to stop. */
static void *checker(void *argument) {
    (void)argument;
    kvs_verified verified;
    kvs_status status;
    kvs_error *err = NULL;
    while ((status = kvs_verify(checked, 0, &verified, sizeof verified, &err)) == KVS_OK) continue;
    EXPECT(KVS_E_INTERRUPTED, status);
    CHECK(kvs_error_code(err) == KVS_E_INTERRUPTED);
    kvs_error_free(err);
    caught = 1;
    return NULL;
}

static void interrupts(const char *directory) {
    char path[4096];
    pthread_t thread;
    kvs_verified verified;
    static uint8_t value[1 << 20];
    snprintf(path, sizeof path, "%s/interrupts", directory);
    EXPECT(KVS_OK, kvs_open(path, NULL, &checked, NULL));
    for (uint8_t i = 0; i < 20; i++) EXPECT(KVS_OK, kvs_put(checked, &i, 1, value, sizeof value, 0, NULL));
    EXPECT(KVS_OK, kvs_flush(checked, 0, NULL));
    CHECK(pthread_create(&thread, NULL, checker, NULL) == 0);
    while (!caught) EXPECT(KVS_OK, kvs_interrupt(checked, NULL));
    pthread_join(thread, NULL);
    EXPECT(KVS_OK, kvs_verify(checked, 0, &verified, sizeof verified, NULL));
    CHECK(verified.records == 20);
    kvs_free_db(checked);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char path[4096];
    snprintf(path, sizeof path, "%s/threads", argv[1]);
    rounds = times(40);
    pthread_t threads[THREADS];
    pthread_barrier_init(&start, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, reader, (void *)(intptr_t)i) == 0);
    for (int round = 0; round < rounds; round++) {
        kvs_db *db;
        EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
        EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), 0, NULL));
        current = db;
        pthread_barrier_wait(&start);
        for (int i = 0; i < 500; i++) EXPECT(KVS_OK, kvs_contains(db, NULL, S("key"), NULL));
        /* Closed and freed, or freed at once. */
        if (round % 2) EXPECT(KVS_OK, kvs_close(db, NULL));
        kvs_free_db(db);
        pthread_barrier_wait(&start);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);

    kvs_db *db = open_memory();
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), 0, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    contested = iterate(db);
    for (int attempt = 0; attempt < 1000 && !told_concurrent; attempt++) {
        for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, fighter, NULL) == 0);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    }
    CHECK(told_concurrent);
    kvs_iter_free(contested);
    kvs_batch_free(batch);
    kvs_free_db(db);
    interrupts(argv[1]);
    return 0;
}
