/* In the child of a fork the parent's handles are dead, whatever is done with them the parent's database is not
   concerned, and the child can open its own. argv[1]: an empty directory.

   Whatever the parent's threads were doing: their locks and their epochs are not the child's. Two forks of 70 had hung while four threads wrote to
   the parent's database: all locks of the process shared a table of sleeping threads, of which a bucket was locked for ever in the child.
   And where a thread was inside of a read or a write at that moment, the child gave back no memory and no file of its own, and one
   that waited for its own readers waited for good. */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "hang.h"

static kvs_db *db;
static kvs_iter *iter;
static kvs_snapshot *snapshot;
static kvs_batch *batch;
static kvs_options *options;
static kvs_error *error;
static volatile int stop;

/* Keeps the locks of the iterator and the batch busy, so that some forks happen while they are held. */
static void *busy(void *argument) {
    (void)argument;
    while (!stop) {
        kvs_status status = kvs_iter_first(iter, NULL);
        CHECK(status == KVS_OK || status == KVS_E_CONCURRENT);
        (void)kvs_batch_count(batch);
        EXPECT(KVS_OK, kvs_contains(db, NULL, S("key"), NULL));
    }
    return NULL;
}

static void child(const char *directory, int number) {
    kvs_error *err = NULL;
    const uint8_t *p;
    size_t n;
    EXPECT(KVS_E_FORKED, kvs_put(db, S("child"), S("value"), 0, &err));
    CHECK(kvs_error_code(err) == KVS_E_FORKED && strstr(kvs_error_message(err), "fork"));
    kvs_error_free(err);
    EXPECT(KVS_E_FORKED, kvs_contains(db, NULL, S("key"), NULL));
    EXPECT(KVS_E_FORKED, kvs_contains(NULL, snapshot, S("key"), NULL));
    EXPECT(KVS_E_FORKED, kvs_iter_item(iter, &p, &n, &p, &n));
    EXPECT(KVS_E_FORKED, kvs_delete_range(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_E_FORKED, kvs_sync(db, 0, NULL));
    EXPECT(KVS_E_FORKED, kvs_flush(db, 0, NULL));
    EXPECT(KVS_E_FORKED, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_E_FORKED, kvs_batch_delete_range(batch, NULL, 0, NULL, 0));
    EXPECT(KVS_E_FORKED, kvs_batch_clear(batch));
    EXPECT(KVS_E_FORKED, kvs_options_set(options, "create", "true", NULL));
    EXPECT(KVS_E_FORKED, kvs_close(db, NULL));
    CHECK(kvs_error_code(error) == KVS_E_FORKED && kvs_error_message(error) != NULL);
    kvs_iter_free(iter);
    kvs_snapshot_free(snapshot);
    kvs_free_db(db);
    kvs_batch_free(batch);
    kvs_options_free(options);
    kvs_error_free(error);
    EXPECT(KVS_E_FORKED, kvs_contains(db, NULL, S("key"), NULL));
    char path[4096];
    snprintf(path, sizeof path, "%s/child%d", directory, number);
    kvs_db *own;
    EXPECT(KVS_OK, kvs_open(path, NULL, &own, NULL));
    EXPECT(KVS_OK, kvs_put(own, S("key"), S("value"), 0, NULL));
    kvs_iter *mine = iterate(own);
    EXPECT(KVS_OK, kvs_iter_first(mine, NULL));
    kvs_iter_free(mine);
    EXPECT(KVS_OK, kvs_close(own, NULL));
    kvs_free_db(own);
}

static void put(kvs_db *to, uint32_t number) {
    static const uint8_t value[200];
    uint8_t key[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    EXPECT(KVS_OK, kvs_put(to, key, sizeof key, value, sizeof value, 0, NULL));
}

/* Writes, and makes others wait for locks. */
static void *writer(void *argument) {
    for (uint32_t number = *(uint32_t *)argument; !stop; number += 4) put(db, number % 100000);
    return NULL;
}

/* Files that are no part of the database any more, and are not given back yet. */
static uint64_t leaving(kvs_db *of) {
    kvs_stats stats;
    EXPECT(KVS_OK, kvs_get_stats(of, &stats, sizeof stats, NULL));
    return stats.leaving_files;
}

/* A child whose own database does all that one does: flushes, merges, takes logs away. */
static void own_life(const char *directory, int number) {
    char path[4096];
    kvs_db *own;
    kvs_options *with;
    snprintf(path, sizeof path, "%s/own%d", directory, number);
    EXPECT(KVS_OK, kvs_options_new(&with));
    EXPECT(KVS_OK, kvs_options_set(with, "fault_pause", "", NULL));
    EXPECT(KVS_OK, kvs_options_set(with, "memtable_bytes_max", "1m", NULL));
    EXPECT(KVS_OK, kvs_options_set(with, "segment_bytes_min", "64k", NULL));
    EXPECT(KVS_OK, kvs_options_set(with, "segment_bytes_max", "64k", NULL));
    EXPECT(KVS_OK, kvs_open(path, with, &own, NULL));
    kvs_options_free(with);
    for (uint32_t i = 0; i < 5000; i++) put(own, i % 1000);
    EXPECT(KVS_OK, kvs_flush(own, 0, NULL));
    EXPECT(KVS_OK, kvs_compact(own, NULL, 0, NULL, 0, 0, NULL));
    while (leaving(own) > 0) usleep(1000);
    EXPECT(KVS_OK, kvs_close(own, NULL));
    kvs_free_db(own);
}

static void children(const char *directory, int first, int count) {
    for (int number = first; number < first + count; number++) {
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            within(60, "a child that has a database of its own");
            own_life(directory, number);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* Forks while four threads write. */
static void while_others_write(const char *directory) {
    uint32_t from[4] = {0, 1, 2, 3};
    pthread_t threads[4];
    stop = 0;
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, writer, &from[i]) == 0);
    children(directory, 0, times(100));
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void *paused(void *argument) {
    (void)argument;
    put(db, 0);
    return NULL;
}

/* Forks while a thread is inside of a write. */
static void while_one_is_inside(const char *directory) {
    pthread_t thread;
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "engine_write", NULL));
    CHECK(pthread_create(&thread, NULL, paused, NULL) == 0);
    /* It spins where it is held: more time than a write ever takes means that it is there. */
    clockid_t clock;
    struct timespec used = {0, 0};
    CHECK(pthread_getcpuclockid(thread, &clock) == 0);
    while (used.tv_sec == 0 && used.tv_nsec < 50 * 1000 * 1000) {
        usleep(1000);
        CHECK(clock_gettime(clock, &used) == 0);
    }
    children(directory, 1000, 2);
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "", NULL));
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char path[4096];
    snprintf(path, sizeof path, "%s/parent", argv[1]);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "colour", "red", &error));
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, S("key"), S("value"), 0, NULL));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    iter = iterate(db);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, busy, NULL) == 0);
    for (int number = 0; number < times(20); number++) {
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            within(60, "a child");
            child(argv[1], number);
            if (number % 2) exit(0);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        EXPECT(KVS_OK, kvs_put(db, S("parent"), S("value"), 0, NULL));
        EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, S("child"), NULL));
    }
    stop = 1;
    pthread_join(thread, NULL);
    while_others_write(argv[1]);
    while_one_is_inside(argv[1]);
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    kvs_iter_free(iter);
    kvs_snapshot_free(snapshot);
    kvs_batch_free(batch);
    kvs_error_free(error);
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    /* The lock was the parent's to the end, and is free now. */
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("parent"), NULL));
    kvs_free_db(db);
    kvs_options_free(options);
    return 0;
}
