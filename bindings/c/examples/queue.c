/*
 * A queue of jobs that survives kill -9 and power failures: a job that was accepted is done, and one that was acknowledged is never done again.
 *
 *   cc queue.c -lkvs -lpthread -o queue
 *   ./queue -w 4 /tmp/jobs < commands     each line is a command for the shell; four threads run them
 *   ./queue -w 0 /tmp/jobs < commands     only accepts them; they are run another time
 *   ./queue /tmp/jobs < /dev/null         runs what is left, of a run that was killed perhaps
 *   ./queue -L /tmp/jobs                  lists what is left
 *   -l MS   how long a job may take before another thread gets it (60000)     -a N   how often a job is tried (3)
 *
 * Lines on standard output: "queued N" (job N is safe), "start N TRY", "done N" (it will never start again), "failed N TRY" and "gave up N".
 *
 * One process at a time has a store open, so a queue is one process with threads; a second process gets KVS_E_LOCKED. Others talk to it, here
 * through a pipe.
 *
 * What is in the store:
 *
 *   'j' id                   the command. A job is in the queue if and only if this key is there.
 *   't' id                   how often it was begun: 4 bytes. For a job that takes the whole process down with it, each time.
 *   'n'                      numbers below this one may be in use: 8 bytes.
 *                            id: 8 bytes, the highest first, so that the order of keys is the order of numbers.
 *
 * 1. *Add* puts 'j' with KVS_SYNC and says "queued" when that has returned: not earlier, and never for a write that failed. Several threads that
 *    sync at the same time share one trip to the disk.
 * 2. *Take* finds the first job that nobody has and leases it: who has it, and until when. Leases are in memory, because they end with the
 *    process. The count of tries is written without a sync: if a power failure takes it back, nothing is lost but a number.
 * 3. *Ack* deletes 'j' and 't' in one batch with KVS_SYNC. If the process dies before, the job is done a second time: so it must be right to begin a
 *    job again that was begun. If it dies after, it is not.
 * 4. A lease that runs out (the thread hangs) lets the next one take the job. The late one's ack is refused: its try is not the newest.
 * 5. The first job is not searched from the first key: there lie the remains of all that were deleted, until a merge. A cursor in memory says below
 *    which number there is nothing to be found.
 * 6. Numbers are given out in blocks of 1000, each reserved with one synced write, so that no number is used twice, whatever happens.
 * 7. A worker that meets an error ends the process, as a kill would: what was promised is in the store, and the next run finds it.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <kvs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NUMBERS_AT_ONCE = 1000 };

typedef struct {
    uint64_t id;
    uint32_t attempt;    /* the ack must come from this one */
    int acking;          /* nobody may take it, even if its time is over */
    uint64_t until;      /* then the next one may have it */
} lease;

typedef struct {
    const kvs_db *db;
    uint64_t lease_ms;
    uint32_t attempts_max;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    uint64_t next, reserved; /* numbers from next to reserved are free to use */
    uint64_t cursor;         /* every job below it is leased */
    lease *leases;
    size_t lease_count, lease_room;
    int closed; /* no more jobs are added */
    uint64_t done, gave_up;
} queue;

/* Prints what failed, frees the error object, hands the status on. */
static kvs_status failed(const char *what, kvs_status status, kvs_error *err) {
    fprintf(stderr, "queue: %s: %s: %s\n", what, kvs_status_name(status), err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    return status;
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void put_be64(uint8_t *to, uint64_t n) {
    for (int i = 7; i >= 0; i--, n >>= 8) to[i] = (uint8_t)n;
}

static uint64_t get_be64(const uint8_t *from) {
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) n = n << 8 | from[i];
    return n;
}

enum { KEY_BYTES = 9 };

static void job_key(uint8_t *key, char kind, uint64_t id) {
    key[0] = (uint8_t)kind;
    put_be64(key + 1, id);
}

/* ---- the queue ---- */

static kvs_status queue_open(queue *q, const kvs_db *db, uint64_t lease_ms, uint32_t attempts_max) {
    uint8_t value[8];
    size_t length;
    kvs_error *err = NULL;
    memset(q, 0, sizeof *q);
    q->db = db, q->lease_ms = lease_ms, q->attempts_max = attempts_max;
    pthread_condattr_t monotonic; /* leases are not to end because somebody sets the clock */
    if (pthread_mutex_init(&q->lock, NULL) != 0 || pthread_condattr_init(&monotonic) != 0 ||
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0 || pthread_cond_init(&q->changed, &monotonic) != 0) {
        return failed("make a lock", KVS_E_NO_MEMORY, NULL);
    }
    pthread_condattr_destroy(&monotonic);
    kvs_status status = kvs_get_into(db, NULL, (const uint8_t *)"n", 1, value, sizeof value, &length, &err);
    if (status == KVS_OK && length == sizeof value) q->next = q->reserved = get_be64(value);
    else if (status == KVS_NOT_FOUND) q->next = q->reserved = 1;
    else return failed("open the queue", status == KVS_OK ? KVS_E_INVALID : status, err);
    return KVS_OK;
}

static void queue_free(queue *q) {
    free(q->leases);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
}

/* A number that no job ever had. */
static kvs_status new_id(queue *q, uint64_t *id) {
    kvs_status status = KVS_OK;
    kvs_error *err = NULL;
    pthread_mutex_lock(&q->lock);
    if (q->next == q->reserved) {
        uint8_t value[8];
        put_be64(value, q->reserved + NUMBERS_AT_ONCE);
        status = kvs_put(q->db, (const uint8_t *)"n", 1, value, sizeof value, KVS_SYNC, &err);
        if (status == KVS_OK) q->reserved += NUMBERS_AT_ONCE;
    }
    if (status == KVS_OK) *id = q->next++;
    pthread_mutex_unlock(&q->lock);
    return status == KVS_OK ? KVS_OK : failed("reserve numbers", status, err);
}

/* Accepts a job. After KVS_OK it is safe. Any number of threads at once. */
static kvs_status queue_add(queue *q, const uint8_t *job, size_t length, uint64_t *id) {
    uint8_t key[KEY_BYTES];
    kvs_error *err = NULL;
    kvs_status status = new_id(q, id);
    if (status != KVS_OK) return status;
    job_key(key, 'j', *id);
    status = kvs_put(q->db, key, sizeof key, job, length, KVS_SYNC, &err);
    if (status != KVS_OK) return failed("add a job", status, err);
    pthread_mutex_lock(&q->lock);
    /* Another thread's higher number may have come and gone before ours was there. */
    if (*id < q->cursor) q->cursor = *id;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return KVS_OK;
}

/* No more jobs come: takers return when everything is done. */
static void queue_close(queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = 1;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static lease *find_lease(queue *q, uint64_t id) {
    for (size_t i = 0; i < q->lease_count; i++) {
        if (q->leases[i].id == id) return &q->leases[i];
    }
    return NULL;
}

/* The first job from the cursor on that nobody has; KVS_NOT_FOUND if there is none. The lock is held. */
static kvs_status first_free(queue *q, uint64_t *id) {
    uint8_t low[KEY_BYTES], high[] = {'j' + 1};
    kvs_iter *iter;
    kvs_error *err = NULL;
    job_key(low, 'j', q->cursor);
    kvs_status status = kvs_iter_new(q->db, NULL, low, sizeof low, high, sizeof high, 0, &iter, &err);
    if (status != KVS_OK) return failed("look for a job", status, err);
    while ((status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_length, value_length;
        status = kvs_iter_item(iter, &key, &key_length, &value, &value_length);
        if (status == KVS_OK && key_length != KEY_BYTES) status = KVS_E_INVALID; /* not a directory of ours */
        if (status != KVS_OK) break;
        *id = get_be64(key + 1);
        if (!find_lease(q, *id)) break;
    }
    kvs_iter_free(iter);
    if (status == KVS_END) return KVS_NOT_FOUND;
    if (status != KVS_OK) return failed("look for a job", status, err);
    q->cursor = *id + 1;
    return KVS_OK;
}

/* Notes that a job is begun once more: before it is, so that a job that kills the process is counted, too. */
static kvs_status count_attempt(queue *q, uint64_t id, uint32_t *attempt) {
    uint8_t key[KEY_BYTES], value[4] = {0};
    size_t length = 0;
    kvs_error *err = NULL;
    job_key(key, 't', id);
    kvs_status status = kvs_get_into(q->db, NULL, key, sizeof key, value, sizeof value, &length, &err);
    if (status < 0) return failed("read the tries of a job", status, err);
    *attempt = 1 + ((uint32_t)value[0] | (uint32_t)value[1] << 8 | (uint32_t)value[2] << 16 | (uint32_t)value[3] << 24);
    for (int i = 0; i < 4; i++) value[i] = (uint8_t)(*attempt >> 8 * i);
    status = kvs_put(q->db, key, sizeof key, value, sizeof value, 0, &err);
    return status == KVS_OK ? KVS_OK : failed("count a try", status, err);
}

static kvs_status read_job(queue *q, uint64_t id, uint8_t **job, size_t *length) {
    uint8_t key[KEY_BYTES];
    kvs_error *err = NULL;
    job_key(key, 'j', id);
    kvs_status status = kvs_get(q->db, NULL, key, sizeof key, job, length, &err);
    /* KVS_NOT_FOUND cannot be: the lock is held, and nobody acknowledges what nobody has. */
    return status == KVS_OK ? KVS_OK : failed("read a job", status == KVS_NOT_FOUND ? KVS_E_INVALID : status, err);
}

/* A place for one more lease: found before anything is written, so that nothing has to be taken back. */
static kvs_status room_for_lease(queue *q) {
    if (q->lease_count < q->lease_room) return KVS_OK;
    size_t room = q->lease_room ? 2 * q->lease_room : 16;
    lease *more = realloc(q->leases, room * sizeof *more);
    if (!more) return failed("make a lease", KVS_E_NO_MEMORY, NULL);
    q->leases = more, q->lease_room = room;
    return KVS_OK;
}

/* Waits for a job and leases it. KVS_END: there is none and none will come. *job is to be freed by kvs_free. */
static kvs_status queue_take(queue *q, uint64_t *id, uint32_t *attempt, uint8_t **job, size_t *length) {
    kvs_status status = KVS_OK;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        /* A job whose time is over, or else a new one. */
        lease *mine = NULL;
        uint64_t now = now_ms(), wake = UINT64_MAX;
        if ((status = room_for_lease(q)) != KVS_OK) break;
        for (size_t i = 0; i < q->lease_count && !mine; i++) {
            lease *other = &q->leases[i];
            if (!other->acking && other->until <= now) mine = other;
            else if (!other->acking && other->until < wake) wake = other->until;
        }
        if (mine) *id = mine->id;
        else status = first_free(q, id);
        if (status != KVS_NOT_FOUND) {
            if (status == KVS_OK) status = read_job(q, *id, job, length);
            if (status == KVS_OK && (status = count_attempt(q, *id, attempt)) != KVS_OK) kvs_free(*job);
            if (status != KVS_OK) break;
            if (!mine) mine = &q->leases[q->lease_count++];
            *mine = (lease){*id, *attempt, 0, now + q->lease_ms};
            break;
        }
        if (q->closed && q->lease_count == 0) {
            status = KVS_END;
            break;
        }
        if (wake == UINT64_MAX) {
            pthread_cond_wait(&q->changed, &q->lock);
        } else {
            struct timespec at = {(time_t)(wake / 1000), (long)(wake % 1000) * 1000000};
            pthread_cond_timedwait(&q->changed, &q->lock, &at);
        }
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}

/* The job is done, or given up: it is gone for good when this returns KVS_OK. KVS_NOT_FOUND: the lease ran out and another one has the job. */
static kvs_status queue_ack(queue *q, uint64_t id, uint32_t attempt, int gave_up) {
    pthread_mutex_lock(&q->lock);
    lease *mine = find_lease(q, id);
    int lost = !mine || mine->attempt != attempt || mine->acking;
    if (!lost) mine->acking = 1;
    pthread_mutex_unlock(&q->lock);
    if (lost) return KVS_NOT_FOUND;

    /* Not under the lock: the disk is slow, and other threads' syncs go with ours. */
    uint8_t key[KEY_BYTES];
    kvs_batch *batch;
    kvs_error *err = NULL;
    kvs_status status = kvs_batch_new(&batch);
    job_key(key, 'j', id);
    if (status == KVS_OK) status = kvs_batch_delete(batch, key, sizeof key);
    job_key(key, 't', id);
    if (status == KVS_OK) status = kvs_batch_delete(batch, key, sizeof key);
    if (status == KVS_OK) status = kvs_write(q->db, batch, KVS_SYNC, &err);
    kvs_batch_free(batch);
    if (status != KVS_OK) status = failed("acknowledge a job", status, err);

    pthread_mutex_lock(&q->lock);
    if (status == KVS_OK) {
        lease *last = &q->leases[q->lease_count - 1];
        *find_lease(q, id) = *last; /* found anew: others have come and gone, and the list may have moved */
        q->lease_count--;
        if (gave_up) q->gave_up++;
        else q->done++;
    }
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return status;
}

/* The job was not done: another thread may try, at once. */
static void queue_return(queue *q, uint64_t id, uint32_t attempt) {
    pthread_mutex_lock(&q->lock);
    lease *mine = find_lease(q, id);
    if (mine && mine->attempt == attempt) mine->until = 0;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

/* ---- the workers ---- */

/* Does a job: here it is a command for the shell. Put your work here. */
static int work(const uint8_t *job, size_t length) {
    char *command = malloc(length + 1);
    if (!command) return -1;
    memcpy(command, job, length);
    command[length] = '\0';
    int result = system(command);
    free(command);
    return result != -1 && WIFEXITED(result) && WEXITSTATUS(result) == 0 ? 0 : -1;
}

static void *worker(void *argument) {
    queue *q = argument;
    uint64_t id;
    uint32_t attempt;
    uint8_t *job;
    size_t length;
    kvs_status status;
    while ((status = queue_take(q, &id, &attempt, &job, &length)) == KVS_OK) {
        /* A job that was begun too often, and never ended in a way that could be counted, killed the process each time. */
        int too_often = attempt > q->attempts_max;
        printf("start %" PRIu64 " %" PRIu32 "\n", id, attempt);
        int done = !too_often && work(job, length) == 0;
        kvs_free(job);
        if (!done) printf("failed %" PRIu64 " %" PRIu32 "\n", id, attempt);
        if (!done && attempt < q->attempts_max) {
            queue_return(q, id, attempt);
            continue;
        }
        status = queue_ack(q, id, attempt, !done);
        if (status == KVS_OK) printf("%s %" PRIu64 "\n", done ? "done" : "gave up", id);
        else if (status == KVS_NOT_FOUND) printf("late %" PRIu64 " %" PRIu32 "\n", id, attempt);
        else break;
    }
    if (status != KVS_END) _exit(1); /* said already; see 7 */
    return NULL;
}

/* Adds each line of standard input. */
static kvs_status add_lines(queue *q) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    kvs_status status = KVS_OK;
    while (status == KVS_OK && (length = getline(&line, &room, stdin)) > 0) {
        uint64_t id;
        if (line[length - 1] == '\n') length--;
        if (length == 0) continue;
        status = queue_add(q, (const uint8_t *)line, (size_t)length, &id);
        if (status == KVS_OK) printf("queued %" PRIu64 "\n", id);
    }
    free(line);
    return status;
}

static kvs_status list_jobs(const kvs_db *db) {
    kvs_iter *iter;
    kvs_error *err = NULL;
    kvs_status status = kvs_iter_new_prefix(db, NULL, (const uint8_t *)"j", 1, 0, &iter, &err);
    if (status != KVS_OK) return failed("list", status, err);
    while ((status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *job;
        size_t key_length, length;
        status = kvs_iter_item(iter, &key, &key_length, &job, &length);
        if (status == KVS_OK && key_length != KEY_BYTES) status = KVS_E_INVALID;
        if (status != KVS_OK) break;
        printf("%" PRIu64 " %.*s\n", get_be64(key + 1), (int)length, (const char *)job);
    }
    kvs_iter_free(iter);
    return status == KVS_END ? KVS_OK : failed("list", status, err);
}

static kvs_status run(const kvs_db *db, size_t workers, uint64_t lease_ms, uint32_t attempts) {
    queue q;
    kvs_status status = queue_open(&q, db, lease_ms, attempts);
    if (status != KVS_OK) return status;
    pthread_t *threads = calloc(workers ? workers : 1, sizeof *threads);
    size_t started = 0;
    if (!threads) status = failed("start threads", KVS_E_NO_MEMORY, NULL);
    for (; status == KVS_OK && started < workers; started++) {
        if (pthread_create(&threads[started], NULL, worker, &q) != 0) {
            status = failed("start threads", KVS_E_NO_MEMORY, NULL);
            break;
        }
    }
    if (status == KVS_OK) status = add_lines(&q);
    queue_close(&q);
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (status == KVS_OK) {
        kvs_stats stats;
        kvs_error *err = NULL;
        status = kvs_get_stats(db, &stats, sizeof stats, &err);
        if (status != KVS_OK) failed("ask for numbers", status, err);
        else {
            fprintf(stderr, "queue: %" PRIu64 " done, %" PRIu64 " given up, %" PRIu64 " syncs for %" PRIu64 " commits\n", q.done,
                    q.gave_up, stats.syncs, stats.commits);
        }
    }
    queue_free(&q);
    return status;
}

/* Opens the store, after waiting for up to two seconds for one who has it. The lock is let go when the process that has it dies; but a child that
   it was just about to run holds it, too, until it is another program. So whoever starts again at once after a kill may find it taken. */
static kvs_status open_store(const char *path, kvs_db **db) {
    const struct timespec pause = {0, 20000000};
    for (int patience = 100;; patience--) {
        kvs_error *err = NULL;
        kvs_status status = kvs_open(path, NULL, db, &err);
        if (status == KVS_OK) return KVS_OK;
        if (status != KVS_E_LOCKED || patience == 0) return failed("open", status, err);
        kvs_error_free(err);
        nanosleep(&pause, NULL);
    }
}

static unsigned long number(const char *text, unsigned long least, unsigned long most) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < least || value > most) {
        fprintf(stderr, "queue: %s is not a number from %lu to %lu\n", text, least, most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    unsigned long workers = 2, lease_ms = 60000, attempts = 3;
    int list = 0, option;
    while ((option = getopt(argc, argv, "w:l:a:L")) != -1) {
        switch (option) {
            case 'w': workers = number(optarg, 0, 1000); break;
            case 'l': lease_ms = number(optarg, 1, 1000000000); break;
            case 'a': attempts = number(optarg, 1, 1000000); break;
            case 'L': list = 1; break;
            default: optind = argc;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: queue [-w WORKERS] [-l LEASE_MS] [-a ATTEMPTS] [-L] DIRECTORY\n");
        return 2;
    }
    /* A line is out when it is printed: whoever reads it may rely on it, even if this process is killed next. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    kvs_db *db;
    kvs_error *err = NULL;
    kvs_status status = open_store(argv[optind], &db);
    if (status != KVS_OK) return 1;
    status = list ? list_jobs(db) : run(db, workers, lease_ms, (uint32_t)attempts);
    kvs_status closed = kvs_close(db, &err);
    if (closed != KVS_OK) status = failed("close", closed, err);
    kvs_free_db(db);
    return status == KVS_OK ? 0 : 1;
}
