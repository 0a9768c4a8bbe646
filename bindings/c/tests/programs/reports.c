/* What a database tells of itself: typed options, numbers, properties, verify; and what a repair reports. argv[1]: an empty directory. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <time.h>
#include "check.h"

static void typed_options(void) {
    kvs_options *options;
    kvs_db *db;
    kvs_error *err = NULL;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_create(options, 0, NULL));
    EXPECT(KVS_E_NOT_A_DATABASE, kvs_open("/nowhere/at/all", options, &db, NULL));
    EXPECT(KVS_OK, kvs_options_set_create(options, 1, NULL));
    EXPECT(KVS_OK, kvs_options_set_in_memory(options, 1, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_options_set_read_only(options, 1, NULL));
    EXPECT(KVS_E_INVALID, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_OK, kvs_options_set_read_only(options, 0, NULL));
    for (uint32_t i = 0; i < 6; i++) {
        EXPECT(i < 3 ? KVS_OK : KVS_E_INVALID, kvs_options_set_durability(options, i, NULL));
        EXPECT(i < 2 ? KVS_OK : KVS_E_INVALID, kvs_options_set_create(options, i, NULL));
    }
    EXPECT(KVS_OK, kvs_options_set_cache_bytes(options, 1 << 20, NULL));
    EXPECT(KVS_OK, kvs_options_set_memory_bytes_max(options, 64 << 20, NULL));
    /* The bounds are looked at when the database is opened. */
    EXPECT(KVS_OK, kvs_options_set_memtable_bytes_max(options, 1, NULL));
    EXPECT(KVS_E_INVALID, kvs_open(NULL, options, &db, &err));
    CHECK(strstr(kvs_error_message(err), "memtable_bytes_max"));
    kvs_error_free(err);
    EXPECT(KVS_OK, kvs_options_set_memtable_bytes_max(options, 8 << 20, NULL));
    EXPECT(KVS_OK, kvs_options_set_durability(options, KVS_DURABILITY_SYNC, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    /* Every write is durable at once. */
    kvs_stats stats;
    EXPECT(KVS_OK, kvs_put(db, S("k"), S("v"), 0, NULL));
    EXPECT(KVS_OK, kvs_get_stats(db, &stats, sizeof stats, NULL));
    CHECK(stats.visible_seq == 1 && stats.durable_seq == 1);
    kvs_free_db(db);
    kvs_options_free(options);
}

static uint64_t number(const kvs_db *db, const char *name) {
    uint8_t *text;
    size_t length;
    EXPECT(KVS_OK, kvs_property(db, name, &text, &length, NULL));
    CHECK(strlen((char *)text) == length);
    uint64_t value = strtoull((char *)text, NULL, 10);
    kvs_free(text);
    return value;
}

static void numbers(const char *directory) {
    char path[4096];
    kvs_db *db;
    kvs_error *err = NULL;
    uint8_t *text;
    size_t length;
    snprintf(path, sizeof path, "%s/numbers", directory);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    for (int i = 0; i < 100; i++) {
        uint8_t key = (uint8_t)i;
        EXPECT(KVS_OK, kvs_put(db, &key, 1, S("0123456789"), 0, NULL));
    }
    EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    kvs_stats stats;
    EXPECT(KVS_OK, kvs_get_stats(db, &stats, sizeof stats, NULL));
    CHECK(stats.writes == 100 && stats.commits == 100 && stats.user_bytes_written == 1100 && stats.tables == 1);
    CHECK(stats.flushes == 1 && stats.visible_seq == 100 && stats.flushed_seq == 100 && stats.poisoned == 0);
    CHECK(number(db, "stats.writes") == 100 && number(db, "stats.table_bytes") == stats.table_bytes);
    /* Of every size: as much as the caller knows, and zeros beyond what the library knows. */
    uint64_t fields[sizeof stats / 8 + 4];
    for (size_t size = 0; size <= sizeof fields; size += 4) {
        memset(fields, 0xee, sizeof fields);
        EXPECT(size < 8 ? KVS_E_INVALID : KVS_OK, kvs_get_stats(db, (kvs_stats *)fields, size, NULL));
        const uint8_t *bytes = (const uint8_t *)fields;
        for (size_t i = 0; i < sizeof fields; i++) {
            if (size < 8 || i >= size) CHECK(bytes[i] == 0xee);
            else if (i >= sizeof stats) CHECK(bytes[i] == 0);
        }
        if (size >= 8) CHECK(fields[0] == 100);
        if (size >= 16) CHECK(fields[1] == 100);
    }
    EXPECT(KVS_E_TOO_LARGE, kvs_get_stats(db, &stats, 4097, NULL));
    /* Each listed property is there, and none else. */
    char *names, *line;
    EXPECT(KVS_OK, kvs_property(db, "properties", (uint8_t **)&names, &length, NULL));
    int count = 0;
    for (line = strtok(names, "\n"); line; line = strtok(NULL, "\n"), count++) {
        EXPECT(KVS_OK, kvs_property(db, line, &text, &length, NULL));
        CHECK(strlen((char *)text) == length);
        kvs_free(text);
    }
    kvs_free(names);
    CHECK(count == 5 + (int)(sizeof stats / 8));
    EXPECT(KVS_OK, kvs_property(db, "path", &text, &length, NULL));
    CHECK(strcmp((char *)text, path) == 0);
    kvs_free(text);
    EXPECT(KVS_OK, kvs_property(db, "version", &text, &length, NULL));
    CHECK(strcmp((char *)text, kvs_version()) == 0);
    kvs_free(text);
    EXPECT(KVS_OK, kvs_property(db, "stats.json", &text, &length, NULL));
    CHECK(text[0] == '{' && text[length - 1] == '}' && strstr((char *)text, "\"writes\": 100,"));
    kvs_free(text);
    EXPECT(KVS_E_INVALID, kvs_property(db, "stats.colour", &text, &length, &err));
    CHECK(text == NULL && strstr(kvs_error_message(err), "stats.colour") && strstr(kvs_error_message(err), "stats.json"));
    kvs_error_free(err);
    EXPECT(KVS_E_INVALID, kvs_property(db, "", &text, &length, NULL));
    kvs_verified verified;
    EXPECT(KVS_OK, kvs_verify(db, 0, &verified, sizeof verified, NULL));
    CHECK(verified.files >= 2 && verified.records == 100 && verified.bytes > 1100);
    EXPECT(KVS_OK, kvs_close(db, NULL));
    EXPECT(KVS_E_CLOSED, kvs_get_stats(db, &stats, sizeof stats, NULL));
    EXPECT(KVS_E_CLOSED, kvs_property(db, "stats", &text, &length, NULL));
    EXPECT(KVS_E_CLOSED, kvs_verify(db, 0, &verified, sizeof verified, NULL));
    kvs_free_db(db);
}

/* One byte of one value is damaged: verify names the file, the repair keeps all other keys and lists this one. */
static void repairs(const char *directory) {
    char path[4000], repaired_path[4096], command[8400];
    kvs_db *db;
    kvs_error *err = NULL;
    kvs_report *report;
    snprintf(path, sizeof path, "%s/damaged", directory);
    snprintf(repaired_path, sizeof repaired_path, "%s/repaired", directory);
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    for (int i = 0; i < 100; i++) {
        char key[16], value[64];
        int n = snprintf(key, sizeof key, "key%04d", i);
        snprintf(value, sizeof value, "value number %d!", i);
        EXPECT(KVS_OK, kvs_put(db, (uint8_t *)key, (size_t)n, (uint8_t *)value, strlen(value), 0, NULL));
    }
    EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
    snprintf(command, sizeof command,
             "f=$(ls '%s'/*.tbl) && o=$(grep -abo 'value number 50!' \"$f\" | head -1 | cut -d: -f1) && "
             "printf '?' | dd of=\"$f\" bs=1 seek=$((o + 3)) conv=notrunc 2>/dev/null", path);
    CHECK(system(command) == 0);
    kvs_verified verified = {77, 77, 77};
    EXPECT(KVS_OK, kvs_open(path, NULL, &db, NULL));
    EXPECT(KVS_E_CORRUPTION, kvs_verify(db, 0, &verified, sizeof verified, &err));
    CHECK(strstr(kvs_error_message(err), ".tbl") && verified.files == 77);
    kvs_error_free(err);
    /* Not beside a writer, not into the old one, not over anything. */
    EXPECT(KVS_E_LOCKED, kvs_repair(path, repaired_path, NULL, &report, NULL));
    CHECK(report == NULL);
    kvs_free_db(db);
    EXPECT(KVS_E_INVALID, kvs_repair(path, path, NULL, &report, NULL));
    EXPECT(KVS_E_INVALID, kvs_repair(path, "", NULL, &report, NULL));
    EXPECT(KVS_E_INVALID, kvs_repair("", repaired_path, NULL, &report, NULL));
    EXPECT(KVS_E_NOT_A_DATABASE, kvs_repair("/nowhere/at/all", repaired_path, NULL, &report, NULL));
    kvs_options *options;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_in_memory(options, 1, NULL));
    EXPECT(KVS_E_INVALID, kvs_repair(path, repaired_path, options, &report, NULL));
    EXPECT(KVS_OK, kvs_options_set_in_memory(options, 0, NULL));
    EXPECT(KVS_OK, kvs_repair(path, repaired_path, options, &report, NULL));
    kvs_options_free(options);
    kvs_repaired summary;
    EXPECT(KVS_OK, kvs_report_summary(report, &summary, sizeof summary));
    const char *text, *warning;
    EXPECT(KVS_OK, kvs_report_text(report, &text));
    CHECK(summary.keys == 99 && summary.left_out == 1 && summary.bytes > 99 * 20 && summary.files == 1);
    kvs_left_out left_out;
    EXPECT(KVS_OK, kvs_report_left_out(report, 0, &left_out, sizeof left_out));
    CHECK(strncmp(left_out.file, path, strlen(path)) == 0 && strstr(left_out.file, ".tbl") && left_out.to > left_out.from);
    CHECK(*left_out.why);
    switch (left_out.keys) {
        case KVS_KEYS_ONE: CHECK(left_out.low_len == 7 && memcmp(left_out.low, "key0050", 7) == 0 && !left_out.high); break;
        case KVS_KEYS_BETWEEN:
            CHECK(!left_out.low || memcmp(left_out.low, "key0050", left_out.low_len < 7 ? left_out.low_len : 7) <= 0);
            CHECK(!left_out.high || memcmp(left_out.high, "key0050", left_out.high_len < 7 ? left_out.high_len : 7) >= 0);
            break;
        default: CHECK(left_out.keys == KVS_KEYS_UNKNOWN);
    }
    EXPECT(KVS_E_INVALID, kvs_report_left_out(report, 1, &left_out, sizeof left_out));
    CHECK(strstr(text, "kept: 99 keys") && strstr(text, "left out: ") && strstr(text, left_out.file));
    for (size_t i = 0; i < summary.warnings; i++) {
        EXPECT(KVS_OK, kvs_report_warning(report, i, &warning));
        CHECK(strstr(text, warning));
    }
    EXPECT(KVS_E_INVALID, kvs_report_warning(report, (size_t)summary.warnings, &warning));
    kvs_report_free(report);
    kvs_report_free(report);
    EXPECT(KVS_E_BAD_HANDLE, kvs_report_summary(report, &summary, sizeof summary));
    EXPECT(KVS_OK, kvs_open(repaired_path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_verify(db, 0, &verified, sizeof verified, NULL));
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("key0049"), NULL));
    EXPECT(KVS_NOT_FOUND, kvs_contains(db, NULL, S("key0050"), NULL));
    kvs_free_db(db);
}

/* What a hook heard. */
typedef struct {
    pthread_mutex_t lock;
    char text[16384];
    int worst, frees;
} heard;

static void hook(void *ctx, int32_t level, const char *message, size_t length) {
    heard *h = ctx;
    CHECK(level >= KVS_LOG_INFO && level <= KVS_LOG_ERROR && strlen(message) == length && !strchr(message, '\n'));
    pthread_mutex_lock(&h->lock);
    CHECK(h->frees == 0);
    if (level > h->worst) h->worst = level;
    if (strlen(h->text) + length + 2 < sizeof h->text) strcat(strcat(h->text, message), "\n");
    pthread_mutex_unlock(&h->lock);
}

static void unhook(void *ctx) { ((heard *)ctx)->frees++; }

/* A text must come up within some time: the worker tells. */
static void wait_for(heard *h, const char *text) {
    for (int i = 0; i < 3000; i++) {
        pthread_mutex_lock(&h->lock);
        int there = strstr(h->text, text) != NULL;
        pthread_mutex_unlock(&h->lock);
        if (there) return;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    fprintf(stderr, "not told: %s\n%s", text, h->text);
    exit(1);
}

static kvs_db *volatile misused;
static volatile int misuses;

/* Does in a hook what it must not. */
static void misusing_hook(void *ctx, int32_t level, const char *message, size_t length) {
    (void)ctx, (void)level, (void)length;
    kvs_db *db = misused;
    if (!db || strncmp(message, "flushed", 7) != 0) return;
    kvs_error *err = NULL;
    EXPECT(KVS_E_REENTRANT, kvs_close(db, &err));
    CHECK(strstr(kvs_error_message(err), "hook"));
    kvs_error_free(err);
    EXPECT(KVS_E_REENTRANT, kvs_flush(db, 0, NULL));
    EXPECT(KVS_E_REENTRANT, kvs_put(db, S("k"), S("v"), 0, NULL));
    kvs_free_db(db);
    EXPECT(KVS_OK, kvs_contains(db, NULL, S("k"), NULL));
    misuses++;
}

static void misuse_in_a_hook(void) {
    kvs_options *options;
    kvs_db *db;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_in_memory(options, 1, NULL));
    EXPECT(KVS_OK, kvs_options_set_log(options, misusing_hook, NULL, NULL, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    kvs_options_free(options);
    misused = db;
    EXPECT(KVS_OK, kvs_put(db, S("k"), S("v"), 0, NULL));
    EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
    for (int i = 0; i < 3000 && misuses == 0; i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    CHECK(misuses == 1);
    EXPECT(KVS_OK, kvs_put(db, S("k"), S("w"), 0, NULL));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    kvs_free_db(db);
}

static void hooks(const char *directory) {
    char path[4096];
    kvs_options *options;
    kvs_db *db, *other;
    snprintf(path, sizeof path, "%s/hooks", directory);
    /* The context is freed when the last of options and databases lets go, whichever that is. */
    for (int options_last = 0; options_last < 2; options_last++) {
        heard h = {.lock = PTHREAD_MUTEX_INITIALIZER};
        EXPECT(KVS_OK, kvs_options_new(&options));
        EXPECT(KVS_OK, kvs_options_set_log(options, hook, &h, unhook, NULL));
        EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
        CHECK(strncmp(h.text, "opened ", 7) == 0 && strstr(h.text, path));
        EXPECT(KVS_OK, kvs_put(db, S("k"), S("v"), 0, NULL));
        EXPECT(KVS_OK, kvs_flush(db, 0, NULL));
        wait_for(&h, "flushed 1 segments");
        EXPECT(KVS_OK, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
        wait_for(&h, "merged ");
        if (!options_last) kvs_options_free(options);
        CHECK(h.frees == 0 && !strstr(h.text, "closed"));
        EXPECT(KVS_OK, kvs_close(db, NULL));
        CHECK(strstr(h.text, "closed ") && h.worst == KVS_LOG_INFO);
        CHECK(h.frees == !options_last);
        if (options_last) kvs_options_free(options);
        CHECK(h.frees == 1);
        kvs_free_db(db);
        CHECK(h.frees == 1);
    }
    /* Replaced and taken away; two databases with one hook; freeing the database alone closes it and lets go. */
    heard one = {.lock = PTHREAD_MUTEX_INITIALIZER}, two = {.lock = PTHREAD_MUTEX_INITIALIZER};
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_in_memory(options, 1, NULL));
    EXPECT(KVS_OK, kvs_options_set_log(options, hook, &one, unhook, NULL));
    EXPECT(KVS_OK, kvs_options_set_log(options, hook, &two, unhook, NULL));
    CHECK(one.frees == 1 && two.frees == 0 && !*one.text);
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &other, NULL));
    EXPECT(KVS_OK, kvs_options_set_log(options, NULL, NULL, NULL, NULL));
    kvs_options_free(options);
    kvs_free_db(db);
    CHECK(two.frees == 0);
    kvs_free_db(other);
    CHECK(two.frees == 1 && two.worst == KVS_LOG_INFO);
    /* Without a function the context is let go of at once; of handles that are none it stays the caller's. */
    heard none = {.lock = PTHREAD_MUTEX_INITIALIZER};
    EXPECT(KVS_E_BAD_HANDLE, kvs_options_set_log(options, hook, &none, unhook, NULL));
    CHECK(none.frees == 0);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_log(options, NULL, &none, unhook, NULL));
    CHECK(none.frees == 1);
    kvs_options_free(options);
    /* Damage that a merge meets is told as what it is. */
    heard bad = {.lock = PTHREAD_MUTEX_INITIALIZER};
    snprintf(path, sizeof path, "%s/damaged", directory);
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set_log(options, hook, &bad, unhook, NULL));
    EXPECT(KVS_OK, kvs_open(path, options, &db, NULL));
    kvs_options_free(options);
    EXPECT(KVS_E_CORRUPTION, kvs_compact(db, NULL, 0, NULL, 0, 0, NULL));
    wait_for(&bad, "merges have stopped");
    CHECK(strstr(bad.text, ".tbl") && bad.worst == KVS_LOG_ERROR);
    kvs_free_db(db);
    CHECK(bad.frees == 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    typed_options();
    numbers(argv[1]);
    repairs(argv[1]);
    hooks(argv[1]);
    misuse_in_a_hook();
    return 0;
}
