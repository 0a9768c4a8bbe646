/*
 * Counts the words of files that need not fit into memory, nor need the table of their words.
 *
 *   cc wordcount.c -lkvs -o wordcount
 *   ./wordcount /tmp/words book.txt other.txt      counts, and prints the ten most frequent words
 *   zcat dump.gz | ./wordcount -n 3 /tmp/words -   from standard input; the counts are added to those of before
 *   ./wordcount -q -p inter -p un /tmp/words       counts nothing: every word that begins with inter or un
 *   -m MIB   about so much memory (64)             -v   says at the end what was used
 *
 * How it works, and what it shows of kvs:
 *
 * 1. A hash table of fixed size counts in memory. Frequent words, which are most of any text, are counted there over and over and reach the
 *    store seldom.
 * 2. When it is full it is spilled: sorted, and added to the store a thousand words at a time. kvs_multi_get reads what the store has of
 *    them, a batch puts the sums. Each batch happens as a whole, and sorted keys lie close together in the store.
 * 3. What the store keeps in memory is bounded by options, set by name. It writes to disk what is beyond, in order, and merges.
 * 4. The store is ordered, so all words with a prefix are one walk: kvs_iter_new_prefix. The most frequent words are a walk over all of them
 *    past a heap of N; what kvs_iter_item lends is copied only if it enters the heap.
 *
 * A word is a run of letters, digits and bytes of UTF-8 beyond ASCII; capitals of ASCII count as small letters. A program that is killed has
 * counted a part: count into a new directory again. Key: the word. Value: its count, 8 bytes, little-endian.
 */
#define _POSIX_C_SOURCE 200809L
#include <kvs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WORD_BYTES_MAX = 64 << 10, TOGETHER = 1000 };

/* Prints what failed and frees the error object. */
static int failed(const char *what, kvs_status status, kvs_error *err) {
    fprintf(stderr, "wordcount: %s: %s: %s\n", what, kvs_status_name(status), err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    return -1;
}

static int out_of_memory(void) {
    fprintf(stderr, "wordcount: out of memory\n");
    return -1;
}

/* ---- the table in memory ---- */

typedef struct {
    uint64_t count;      /* 0: the slot is empty */
    const uint8_t *text; /* in the arena */
    uint32_t length;
    uint32_t hash;
} word;

typedef struct {
    const kvs_db *db;
    word *slots;
    size_t slot_count, used; /* a power of two; three quarters of it are used at most */
    uint8_t *arena;
    size_t arena_bytes, arena_used;
    uint64_t words, spills, too_long;
} counter;

static void store_count(uint8_t *to, uint64_t count) {
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(count >> 8 * i);
}

static uint64_t load_count(const uint8_t *from) {
    uint64_t count = 0;
    for (int i = 0; i < 8; i++) count |= (uint64_t)from[i] << 8 * i;
    return count;
}

static int by_text(const void *left, const void *right) {
    const word *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

/* Adds the counts of `n` words, in order, to those of the store. */
static int add_to_store(const kvs_db *db, kvs_batch *batch, const word *words, size_t n) {
    kvs_error *err = NULL;
    kvs_status status;
    size_t ends[TOGETHER], total = 0;
    for (size_t i = 0; i < n; i++) total += words[i].length;
    uint8_t *keys = malloc(total);
    if (!keys) return out_of_memory();
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(keys + at, words[i].text, words[i].length);
        at += words[i].length;
        ends[i] = at;
    }
    kvs_results *before;
    status = kvs_multi_get(db, NULL, keys, total, ends, n, &before, &err);
    free(keys);
    if (status != KVS_OK) return failed("read counts", status, err);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *old;
        size_t old_length;
        uint8_t sum[8];
        uint64_t count = words[i].count;
        status = kvs_results_get(before, i, &old, &old_length);
        if (status == KVS_OK && old_length == sizeof sum) count += load_count(old);
        else if (status == KVS_OK) status = KVS_E_INVALID; /* not a directory of ours */
        if (status != KVS_OK && status != KVS_NOT_FOUND) break;
        store_count(sum, count);
        status = kvs_batch_put(batch, words[i].text, words[i].length, sum, sizeof sum);
        if (status != KVS_OK) break;
    }
    kvs_results_free(before);
    if (status != KVS_OK) return failed("add counts", status, NULL);
    status = kvs_write(db, batch, 0, &err);
    if (status != KVS_OK) return failed("write counts", status, err);
    status = kvs_batch_clear(batch); /* keeps its memory for the next thousand */
    return status == KVS_OK ? 0 : failed("clear the batch", status, NULL);
}

/* Moves everything from memory to the store. */
static int spill(counter *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->slot_count; i++) {
        if (c->slots[i].count) c->slots[n++] = c->slots[i];
    }
    qsort(c->slots, n, sizeof *c->slots, by_text);
    kvs_batch *batch;
    kvs_status status = kvs_batch_new(&batch);
    if (status != KVS_OK) return failed("make a batch", status, NULL);
    int result = 0;
    for (size_t i = 0; i < n && result == 0; i += TOGETHER) {
        result = add_to_store(c->db, batch, c->slots + i, n - i < TOGETHER ? n - i : TOGETHER);
    }
    kvs_batch_free(batch);
    memset(c->slots, 0, c->slot_count * sizeof *c->slots);
    c->used = c->arena_used = 0;
    c->spills++;
    return result;
}

static int count_word(counter *c, const uint8_t *text, size_t length) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ text[i]) * 16777619u;
    c->words++;
    size_t at = hash & (c->slot_count - 1);
    for (; c->slots[at].count; at = (at + 1) & (c->slot_count - 1)) {
        word *there = &c->slots[at];
        if (there->hash == hash && there->length == length && memcmp(there->text, text, length) == 0) {
            there->count++;
            return 0;
        }
    }
    if (c->arena_bytes - c->arena_used < length || c->used >= c->slot_count / 4 * 3) {
        if (spill(c) != 0) return -1;
        at = hash & (c->slot_count - 1);
    }
    memcpy(c->arena + c->arena_used, text, length);
    c->slots[at] = (word){1, c->arena + c->arena_used, (uint32_t)length, hash};
    c->arena_used += length;
    c->used++;
    return 0;
}

static int counter_init(counter *c, const kvs_db *db, size_t bytes) {
    memset(c, 0, sizeof *c);
    c->db = db;
    c->arena_bytes = bytes / 2;
    for (c->slot_count = 1024; c->slot_count * 2 * sizeof(word) <= bytes / 2;) c->slot_count *= 2;
    c->slots = calloc(c->slot_count, sizeof(word));
    c->arena = malloc(c->arena_bytes);
    return c->slots && c->arena ? 0 : out_of_memory();
}

/* ---- reading ---- */

/* What the byte is in a word: itself, or a small letter, or 0 if it is in none. */
static uint8_t letter(uint8_t byte) {
    if (byte >= 'A' && byte <= 'Z') return (uint8_t)(byte - 'A' + 'a');
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte >= 0x80) return byte;
    return 0;
}

static int end_word(counter *c, const uint8_t *text, size_t *length) {
    size_t n = *length;
    *length = 0;
    if (n == 0) return 0;
    if (n > WORD_BYTES_MAX) return c->too_long++, 0;
    return count_word(c, text, n);
}

static int count_file(counter *c, const char *name) {
    static uint8_t buffer[64 << 10], text[WORD_BYTES_MAX];
    int is_input = strcmp(name, "-") == 0;
    FILE *file = is_input ? stdin : fopen(name, "rb");
    if (!file) return perror(name), -1;
    size_t length = 0, n;
    int result = 0;
    while (result == 0 && (n = fread(buffer, 1, sizeof buffer, file)) > 0) {
        for (size_t i = 0; i < n && result == 0; i++) {
            uint8_t byte = letter(buffer[i]);
            if (!byte) result = end_word(c, text, &length);
            else if (length < sizeof text) text[length++] = byte;
            else length = sizeof text + 1; /* a key cannot be longer: counted as too long */
        }
    }
    if (result == 0) result = end_word(c, text, &length);
    if (ferror(file)) perror(name), result = -1;
    if (!is_input) fclose(file);
    return result;
}

/* ---- answers ---- */

static void print_word(uint64_t count, const uint8_t *text, size_t length) {
    printf("%10llu ", (unsigned long long)count);
    fwrite(text, 1, length, stdout);
    putchar('\n');
}

static int print_prefix(const kvs_db *db, const char *prefix) {
    kvs_iter *iter;
    kvs_error *err = NULL;
    kvs_status status = kvs_iter_new_prefix(db, NULL, (const uint8_t *)prefix, strlen(prefix), 0, &iter, &err);
    if (status != KVS_OK) return failed("look for the prefix", status, err);
    while ((status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_length, value_length;
        /* Borrowed, until the iterator moves. */
        status = kvs_iter_item(iter, &key, &key_length, &value, &value_length);
        if (status == KVS_OK && value_length != 8) status = KVS_E_INVALID; /* not a directory of ours */
        if (status != KVS_OK) break;
        print_word(load_count(value), key, key_length);
    }
    kvs_iter_free(iter);
    /* KVS_END is the good end of a walk. */
    return status == KVS_END ? 0 : failed("walk over the prefix", status, err);
}

/* The most frequent words so far. best[0] is the one that goes first: a heap. */
typedef struct {
    uint64_t count;
    uint8_t *text;
    size_t length;
} ranked;

/* Below: less frequent, or as frequent and later in the alphabet. */
static int is_below(const ranked *a, const ranked *b) {
    if (a->count != b->count) return a->count < b->count;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order ? order > 0 : a->length > b->length;
}

static void sift_down(ranked *heap, size_t n, size_t at) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_below(&heap[child + 1], &heap[child])) child++;
        if (!is_below(&heap[child], &heap[at])) return;
        ranked swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

static int descending(const void *a, const void *b) { return is_below(a, b) ? 1 : -1; }

static int print_top(const kvs_db *db, size_t top) {
    kvs_iter *iter;
    kvs_error *err = NULL;
    size_t n = 0;
    int result = 0;
    if (top == 0) return 0;
    ranked *best = calloc(top, sizeof *best);
    if (!best) return out_of_memory();
    kvs_status status = kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, &err);
    if (status != KVS_OK) {
        free(best);
        return failed("walk over the words", status, err);
    }
    while (result == 0 && (status = kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_length, value_length;
        status = kvs_iter_item(iter, &key, &key_length, &value, &value_length);
        if (status == KVS_OK && value_length != 8) status = KVS_E_INVALID; /* not a directory of ours */
        if (status != KVS_OK) break;
        uint64_t count = load_count(value);
        /* Words come in order: of equals the one that is there already stays. */
        if (n == top && count <= best[0].count) continue;
        uint8_t *text = malloc(key_length ? key_length : 1);
        if (!text) {
            result = out_of_memory();
            break;
        }
        memcpy(text, key, key_length);
        if (n == top) {
            free(best[0].text);
            best[0] = (ranked){count, text, key_length};
            sift_down(best, n, 0);
        } else {
            best[n++] = (ranked){count, text, key_length};
            if (n == top) {
                for (size_t i = n / 2; i-- > 0;) sift_down(best, n, i);
            }
        }
    }
    kvs_iter_free(iter);
    if (result == 0 && status != KVS_END) result = failed("walk over the words", status, err);
    qsort(best, n, sizeof *best, descending);
    for (size_t i = 0; i < n; i++) {
        if (result == 0) print_word(best[i].count, best[i].text, best[i].length);
        free(best[i].text);
    }
    free(best);
    return result;
}

/* ---- the program ---- */

/* A store that keeps to about `mib` MiB of memory. Options are set by name, as text; kvs_option_info lists them all. */
static int open_store(const char *path, size_t mib, kvs_db **db) {
    kvs_options *options;
    kvs_error *err = NULL;
    kvs_status status = kvs_options_new(&options);
    if (status != KVS_OK) return failed("make options", status, NULL);
    char half[32], quarter[32], eighth[32];
    snprintf(half, sizeof half, "%zuk", mib * 512);
    snprintf(quarter, sizeof quarter, "%zuk", mib * 256);
    snprintf(eighth, sizeof eighth, "%zuk", mib * 128);
    const char *const set[][2] = {
        {"memtable_bytes_max", half},   /* what is not in tables yet; writes wait for a flush beyond that */
        {"segment_bytes_max", eighth},  /* flushed one at a time */
        {"table_io", "positioned"},     /* tables are read into a cache of a fixed size, not mapped */
        {"cache_bytes", quarter},
        {"memory_bytes_max", quarter},  /* the index of keys, as far as there is room */
    };
    for (size_t i = 0; i < sizeof set / sizeof *set && status == KVS_OK; i++) {
        status = kvs_options_set(options, set[i][0], set[i][1], &err);
    }
    /* Counts that a power failure takes are counted again. */
    if (status == KVS_OK) status = kvs_options_set_durability(options, KVS_DURABILITY_NONE, &err);
    if (status == KVS_OK) status = kvs_open(path, options, db, &err);
    kvs_options_free(options);
    return status == KVS_OK ? 0 : failed("open", status, err);
}

/* A whole number from `least` on; the program ends at anything else. */
static size_t number(const char *text, size_t least, size_t most) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < least || value > most) {
        fprintf(stderr, "wordcount: %s is not a number from %zu to %zu\n", text, least, most);
        exit(2);
    }
    return (size_t)value;
}

static int usage(void) {
    fprintf(stderr, "usage: wordcount [-m MIB] [-n TOP] [-p PREFIX]... [-q] [-v] DIRECTORY [FILE]...\n");
    return 2;
}

int main(int argc, char **argv) {
    size_t mib = 64, top = 10;
    int query = 0, verbose = 0, option, prefixes = 0, top_wanted = 0;
    const char **prefix = calloc((size_t)argc, sizeof *prefix);
    if (!prefix) return out_of_memory(), 1;
    while ((option = getopt(argc, argv, "m:n:p:qv")) != -1) {
        switch (option) {
            case 'm': mib = number(optarg, 16, 1 << 20); break;
            case 'n': top = number(optarg, 0, 1 << 20), top_wanted = 1; break;
            case 'p': prefix[prefixes++] = optarg; break;
            case 'q': query = 1; break;
            case 'v': verbose = 1; break;
            default: free(prefix); return usage();
        }
    }
    if (optind >= argc || (query && optind + 1 < argc)) {
        free(prefix);
        return usage();
    }
    kvs_db *db;
    /* Half for the table, half for the store. */
    if (open_store(argv[optind], mib / 2, &db) != 0) {
        free(prefix);
        return 1;
    }
    counter c = {0};
    int result = 0;
    if (!query) {
        result = counter_init(&c, db, mib / 2 << 20);
        if (result == 0 && optind + 1 == argc) result = count_file(&c, "-");
        for (int i = optind + 1; i < argc && result == 0; i++) result = count_file(&c, argv[i]);
        if (result == 0) result = spill(&c);
        free(c.slots);
        free(c.arena);
        if (c.too_long) {
            fprintf(stderr, "wordcount: %llu words of more than %d bytes were not counted\n", (unsigned long long)c.too_long,
                    WORD_BYTES_MAX);
        }
    }
    for (int i = 0; i < prefixes && result == 0; i++) result = print_prefix(db, prefix[i]);
    if (result == 0 && (!prefixes || top_wanted)) result = print_top(db, top);
    if (result == 0 && verbose) {
        struct rusage used;
        kvs_stats stats;
        kvs_error *err = NULL;
        kvs_status status = kvs_get_stats(db, &stats, sizeof stats, &err);
        if (status != KVS_OK) result = failed("ask for numbers", status, err);
        getrusage(RUSAGE_SELF, &used);
        fprintf(stderr, "%llu words, %llu spills, %llu MiB in tables, %ld MiB of memory at most\n", (unsigned long long)c.words,
                (unsigned long long)c.spills, (unsigned long long)(stats.table_bytes >> 20), used.ru_maxrss >> 10);
    }
    /* Closing makes everything durable, and says so if it could not. */
    kvs_error *err = NULL;
    kvs_status status = kvs_close(db, &err);
    if (status != KVS_OK) result = failed("close", status, err);
    kvs_free_db(db);
    free(prefix);
    if (fflush(stdout) != 0) perror("standard output"), result = -1;
    return result == 0 ? 0 : 1;
}
