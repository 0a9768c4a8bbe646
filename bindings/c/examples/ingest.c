/*
 * Loads lines "key TAB value" with several threads, and shows how it goes.
 *
 *   cc ingest.c -lkvs -lpthread -o ingest
 *   ./ingest -t 4 /tmp/database table.tsv other.tsv
 *   seq 10000000 | awk '{ print $1 "\tvalue of " $1 }' | ./ingest /tmp/database
 *   -t THREADS (2)   -b WRITES in a batch (500)   -i SECONDS between lines of progress (1; 0: none)   -s   each batch synced
 *
 * 1. The main thread reads blocks of about a megabyte that end where a line ends, and hands them to workers through a queue of bounded length: if
 *    they are slower than the disk it waits, and memory stays what it is.
 * 2. A worker cuts a block into lines and puts them in a batch, which it writes and clears: the batch keeps its memory, so that after the first few
 *    nothing is allocated. A batch goes through the log as one write, which is what makes it faster than a kvs_put for each line.
 * 3. One kvs_db serves all threads. A kvs_batch is for one thread at a time: each has its own.
 * 4. Progress is a thread of its own that looks at a counter and at kvs_get_stats once a second: stalls (writes that waited for a flush) and
 *    delays (writes that were slowed down to what flushes can do) tell when the disk is the bound.
 * 5. Without -s nothing is synced on the way; kvs_sync at the end makes all of it durable at once. The load is started again if it is
 *    cut off before: loading a line twice changes nothing.
 * 6. The first error stops everybody, and is the one that is reported.
 *
 * Lines go to threads in blocks: if a key occurs twice, either value may win. A line without a TAB is an error, which names the line's beginning.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <kvs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 20, BLOCKS_WAITING = 8 };

typedef struct block {
    struct block *next;
    size_t length;
    char text[]; /* whole lines */
} block;

typedef struct {
    const kvs_db *db;
    size_t batch_writes;
    uint32_t flags;
    unsigned interval;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    block *first, **last;
    size_t waiting;
    int closed;       /* no more blocks come */
    int failed;       /* everybody is to stop */
    uint64_t records, bytes;
} load;

/* The first who fails says why; everybody stops. */
static int stop(load *l, const char *what, const char *why, const char *detail) {
    pthread_mutex_lock(&l->lock);
    if (!l->failed) fprintf(stderr, "ingest: %s: %s%s%s\n", what, why, *detail ? ": " : "", detail);
    l->failed = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return -1;
}

static int failed(load *l, const char *what, kvs_status status, kvs_error *err) {
    stop(l, what, kvs_status_name(status), err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    return -1;
}

/* ---- the queue of blocks ---- */

/* Takes the block over, after waiting until there is room. */
static int give(load *l, block *b) {
    pthread_mutex_lock(&l->lock);
    while (l->waiting == BLOCKS_WAITING && !l->failed) pthread_cond_wait(&l->changed, &l->lock);
    int stopped = l->failed;
    if (stopped) {
        free(b);
    } else {
        b->next = NULL;
        *l->last = b;
        l->last = &b->next;
        l->waiting++;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return stopped ? -1 : 0;
}

/* The next block, which the caller frees; NULL at the end. */
static block *take(load *l) {
    pthread_mutex_lock(&l->lock);
    while (!l->first && !l->closed && !l->failed) pthread_cond_wait(&l->changed, &l->lock);
    block *b = l->failed ? NULL : l->first;
    if (b) {
        l->first = b->next;
        if (!l->first) l->last = &l->first;
        l->waiting--;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return b;
}

/* ---- the workers ---- */

static int write_batch(load *l, kvs_batch *batch) {
    kvs_error *err = NULL;
    uint64_t records = kvs_batch_count(batch), bytes = kvs_batch_bytes(batch);
    if (records == 0) return 0;
    kvs_status status = kvs_write(l->db, batch, l->flags, &err);
    if (status != KVS_OK) return failed(l, "write", status, err);
    status = kvs_batch_clear(batch);
    if (status != KVS_OK) return failed(l, "clear a batch", status, NULL);
    pthread_mutex_lock(&l->lock);
    l->records += records;
    l->bytes += bytes;
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static int load_block(load *l, kvs_batch *batch, const block *b) {
    for (const char *line = b->text, *end = b->text + b->length; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline ? newline : end) - line);
        const char *tab = memchr(line, '\t', length);
        if (!tab) {
            char start[41];
            snprintf(start, sizeof start, "%.*s", (int)(length < 40 ? length : 40), line);
            return stop(l, "read", "a line has no TAB", start);
        }
        size_t key_length = (size_t)(tab - line);
        kvs_status status = kvs_batch_put(batch, (const uint8_t *)line, key_length, (const uint8_t *)tab + 1, length - key_length - 1);
        if (status != KVS_OK) return failed(l, "put", status, NULL);
        if (kvs_batch_count(batch) >= l->batch_writes && write_batch(l, batch) != 0) return -1;
        line += length + 1;
    }
    return 0;
}

static void *worker(void *argument) {
    load *l = argument;
    kvs_batch *batch;
    kvs_status status = kvs_batch_new(&batch);
    if (status != KVS_OK) return failed(l, "make a batch", status, NULL), NULL;
    int result = 0;
    for (block *b; result == 0 && (b = take(l)) != NULL;) {
        result = load_block(l, batch, b);
        free(b);
    }
    if (result == 0) write_batch(l, batch);
    kvs_batch_free(batch);
    return NULL;
}

/* ---- progress ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say_progress(load *l, double since, uint64_t *before) {
    kvs_stats stats;
    kvs_error *err = NULL;
    kvs_status status = kvs_get_stats(l->db, &stats, sizeof stats, &err);
    if (status != KVS_OK) {
        failed(l, "ask for numbers", status, err);
        return;
    }
    pthread_mutex_lock(&l->lock);
    uint64_t records = l->records, bytes = l->bytes;
    pthread_mutex_unlock(&l->lock);
    fprintf(stderr, "%12" PRIu64 " records %9.0f/s %7" PRIu64 " MiB %5" PRIu64 " flushes %5" PRIu64 " merges %6.1f s stalled or slowed\n",
            records, (double)(records - *before) / since, bytes >> 20, stats.flushes, stats.merges,
            (double)(stats.stall_nanos + stats.delay_nanos) / 1e9);
    *before = records;
}

static void *progress(void *argument) {
    load *l = argument;
    uint64_t before = 0;
    struct timespec wake;
    clock_gettime(CLOCK_REALTIME, &wake);
    double last = seconds();
    for (;;) {
        wake.tv_sec += (time_t)l->interval;
        pthread_mutex_lock(&l->lock);
        while (!l->closed && !l->failed && pthread_cond_timedwait(&l->changed, &l->lock, &wake) == 0) continue;
        int over = l->closed || l->failed;
        pthread_mutex_unlock(&l->lock);
        if (over) return NULL;
        double now = seconds();
        say_progress(l, now - last, &before);
        last = now;
    }
}

/* ---- reading ---- */

/* Hands the file over in blocks that end where a line ends. A line that is longer than a block makes the block as long as it is. */
static int read_file(load *l, FILE *file, const char *name) {
    size_t kept = 0, room = BLOCK_BYTES;
    block *b = malloc(sizeof *b + room);
    while (b) {
        size_t n = fread(b->text + kept, 1, room - kept, file);
        b->length = kept + n;
        int over = n < room - kept;
        if (over && ferror(file)) {
            free(b);
            return stop(l, name, "cannot be read", "");
        }
        size_t whole = b->length;
        while (!over && whole > 0 && b->text[whole - 1] != '\n') whole--;
        if (over && b->length == 0) return free(b), 0;
        if (whole == 0) {
            /* One line, and more of it to come. */
            block *longer = realloc(b, sizeof *b + (room *= 2));
            if (!longer) break;
            b = longer;
            kept = b->length;
            continue;
        }
        block *rest = NULL;
        kept = b->length - whole;
        if (!over) {
            room = kept < BLOCK_BYTES / 2 ? BLOCK_BYTES : 2 * kept;
            rest = malloc(sizeof *rest + room);
            if (!rest) break;
            memcpy(rest->text, b->text + whole, kept);
        }
        b->length = whole;
        if (give(l, b) != 0) {
            free(rest);
            return -1;
        }
        if (over) return 0;
        b = rest;
    }
    free(b);
    return stop(l, name, "out of memory", "");
}

static int read_files(load *l, char **names, int count) {
    if (count == 0) return read_file(l, stdin, "standard input");
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) return stop(l, names[i], "cannot be opened", "");
        int result = read_file(l, file, names[i]);
        fclose(file);
        if (result != 0) return result;
    }
    return 0;
}

/* ---- the program ---- */

static void run(load *l, size_t threads, char **names, int count) {
    double start = seconds();
    pthread_t shows, *workers = calloc(threads, sizeof *workers);
    size_t started = 0;
    int showing = l->interval && pthread_create(&shows, NULL, progress, l) == 0;
    while (workers && started < threads && pthread_create(&workers[started], NULL, worker, l) == 0) started++;
    if (started < threads) stop(l, "start", workers ? "no more threads can be made" : "out of memory", "");
    read_files(l, names, count);
    pthread_mutex_lock(&l->lock);
    l->closed = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < started; i++) pthread_join(workers[i], NULL);
    free(workers);
    if (showing) pthread_join(shows, NULL);
    for (block *b; (b = l->first) != NULL; free(b)) l->first = b->next;
    if (l->failed) return;
    kvs_error *err = NULL;
    kvs_status status = kvs_sync(l->db, 0, &err);
    if (status != KVS_OK) {
        failed(l, "sync", status, err);
        return;
    }
    double took = seconds() - start;
    uint64_t zero = 0;
    say_progress(l, took, &zero);
    kvs_stats stats;
    status = kvs_get_stats(l->db, &stats, sizeof stats, &err);
    if (status != KVS_OK) {
        failed(l, "ask for numbers", status, err);
        return;
    }
    uint64_t disk = stats.log_bytes_written + stats.flush_bytes_written + stats.merge_bytes_written;
    printf("%" PRIu64 " records, %" PRIu64 " bytes in %.2f s; durable up to write %" PRIu64 "; %.2f bytes written for each\n", l->records,
           l->bytes, took, stats.durable_seq, l->bytes ? (double)disk / (double)l->bytes : 0.0);
}

static unsigned long number(const char *text, unsigned long least, unsigned long most) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < least || value > most) {
        fprintf(stderr, "ingest: %s is not a number from %lu to %lu\n", text, least, most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    load l = {.batch_writes = 500, .interval = 1};
    unsigned long threads = 2;
    int option;
    while ((option = getopt(argc, argv, "t:b:i:s")) != -1) {
        switch (option) {
            case 't': threads = number(optarg, 1, 1000); break;
            case 'b': l.batch_writes = number(optarg, 1, 1000000); break;
            case 'i': l.interval = (unsigned)number(optarg, 0, 3600); break;
            case 's': l.flags = KVS_SYNC; break;
            default: optind = argc;
        }
    }
    if (optind >= argc) {
        fprintf(stderr, "usage: ingest [-t THREADS] [-b WRITES] [-i SECONDS] [-s] DIRECTORY [FILE]...\n");
        return 2;
    }
    l.last = &l.first;
    if (pthread_mutex_init(&l.lock, NULL) != 0 || pthread_cond_init(&l.changed, NULL) != 0) return perror("ingest"), 1;
    kvs_db *db;
    kvs_error *err = NULL;
    kvs_status status = kvs_open(argv[optind], NULL, &db, &err);
    if (status != KVS_OK) return failed(&l, "open", status, err), 1;
    l.db = db;
    run(&l, threads, argv + optind + 1, argc - optind - 1);
    status = kvs_close(db, &err);
    if (status != KVS_OK) failed(&l, "close", status, err);
    kvs_free_db(db);
    pthread_cond_destroy(&l.changed);
    pthread_mutex_destroy(&l.lock);
    return l.failed ? 1 : 0;
}
