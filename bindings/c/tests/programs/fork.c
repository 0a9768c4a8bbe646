/* In the child of a fork the parent's handles are dead, whatever is done with them the parent's database is not
   concerned, and the child can open its own. argv[1]: an empty directory. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
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

/* One run in 8,000 hung here, and 2 forks of 70 while four threads wrote to the parent's database: a backtrace of such a child ends in
   parking_lot_core's grow_hashtable, which waits for the lock of a bucket that a thread of the parent held when it was forked. The child's own
   database has new locks, but all locks of a process share that table. No handler of ours can wait for it or make a new one; README.md says
   what a user can do. */

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
