/*
 * Plays the scripts of tests/scripts over kvs.h: tests/scripts/README.md has their form, and what each operation means. Every
 * value is read in three ways and every scan in two, which must agree. argv[1]: an empty directory; argv[2]: the directory of
 * the scripts; argv[3]: how many there must be at least.
 *
 * 1. A script is read into operations, and each of them into words: a name, bytes, or an entry of two bytes.
 * 2. An operation is played and gives words; a status that is no success gives its name.
 * 3. They must be the words behind "->", or KVS_OK where there are none. What is not understood ends the program.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dirent.h>
#include <stdarg.h>
#include <sys/stat.h>

static const char *script = "", *root = "";
static char directory[4096];
static unsigned line;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "%s, line %u: ", script, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *some(void *memory) {
    if (!memory) fail("no memory");
    return memory;
}

static void *grown(void *array, size_t count, size_t size) {
    /* To the next power of two when it is full. */
    return count & (count - 1) ? array : some(realloc(array, (count ? 2 * count : 1) * size));
}

/* --- Words --- */

typedef struct {
    uint8_t *data;
    size_t size;
} blob;

typedef struct {
    enum { NAME, BYTES, ENTRY } kind;
    char *name;
    blob bytes, value;
} word;

typedef struct {
    word *all;
    size_t count;
} words;

static blob copied(const uint8_t *data, size_t size) {
    blob made = {some(malloc(size + 1)), size};
    if (size) memcpy(made.data, data, size);
    return made;
}

static void add(words *to, word one) {
    to->all = grown(to->all, to->count, sizeof *to->all);
    to->all[to->count++] = one;
}

static void add_name(words *to, const char *name) {
    word one = {.kind = NAME, .name = (char *)copied((const uint8_t *)name, strlen(name) + 1).data};
    add(to, one);
}

static void clear(words *of) {
    for (size_t i = 0; i < of->count; i++) free(of->all[i].name), free(of->all[i].bytes.data), free(of->all[i].value.data);
    free(of->all);
    memset(of, 0, sizeof *of);
}

static int same_bytes(blob a, blob b) { return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0); }

static int same(const words *a, const words *b) {
    if (a->count != b->count) return 0;
    for (size_t i = 0; i < a->count; i++) {
        const word *x = &a->all[i], *y = &b->all[i];
        if (x->kind != y->kind || !same_bytes(x->bytes, y->bytes) || !same_bytes(x->value, y->value)) return 0;
        if (x->kind == NAME && strcmp(x->name, y->name) != 0) return 0;
    }
    return 1;
}

static void print_bytes(blob b) {
    fputc('"', stderr);
    for (size_t i = 0; i < b.size && i < 60; i++) {
        if (b.data[i] < ' ' || b.data[i] > '~') fprintf(stderr, "\\x%02x", b.data[i]);
        else fputc(b.data[i], stderr);
    }
    fprintf(stderr, b.size > 60 ? "...\" (%zu bytes)" : "\"", b.size);
}

static void print(const words *of) {
    for (size_t i = 0; i < of->count; i++) {
        if (i) fputc(' ', stderr);
        if (of->all[i].kind == NAME) fputs(of->all[i].name, stderr);
        else print_bytes(of->all[i].bytes);
        if (of->all[i].kind == ENTRY) fputc('=', stderr), print_bytes(of->all[i].value);
    }
}

/* --- Reading a script --- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    fail("'%c' is no hexadecimal digit", c);
}

/* Reads a quoted text at *at; its bytes are put to `to`, unless that is NULL. Returns how many there are. */
static size_t quoted(const char **at, uint8_t *to) {
    size_t size = 0;
    if (*(*at)++ != '"') fail("no bytes at %.40s", *at - 1);
    for (; **at != '"'; ++*at, ++size) {
        uint8_t byte = (uint8_t)**at;
        if (!byte || byte == '\n') fail("a text has no end");
        if (byte == '\\') {
            byte = (uint8_t) * ++*at;
            if (byte == 'x') {
                byte = (uint8_t)(hex((*at)[1]) << 4 | hex((*at)[2]));
                *at += 2;
            } else if (byte != '"' && byte != '\\') {
                fail("no such escape: \\%c", byte);
            }
        }
        if (to) to[size] = byte;
    }
    ++*at;
    return size;
}

/* Bytes at *at: pieces with "+" between them, each perhaps repeated. */
static blob read_bytes(const char **at) {
    blob made = {NULL, 0};
    for (;;) {
        const char *start = *at;
        size_t size = quoted(at, NULL), times = 1;
        if (**at == '*') {
            char *end;
            times = strtoul(*at + 1, &end, 10);
            if (end == *at + 1) fail("how many times? %.40s", *at);
            *at = end;
        }
        uint8_t *piece = some(malloc(size + 1));
        quoted(&start, piece);
        if (!made.data && size == 1 && *piece == 0) {
            /* Perhaps a gigabyte: memory that nobody touches does not have to be there. */
            made.data = some(calloc(times + 1, 1));
            made.size = times;
        } else {
            made.data = some(realloc(made.data, made.size + size * times + 1));
            for (size_t i = 0; i < times; i++, made.size += size) memcpy(made.data + made.size, piece, size);
        }
        free(piece);
        if (**at != '+') return made;
        ++*at;
    }
}

/* The words of a line; what stands behind "->" goes to `expected`. */
static void read_words(const char *at, words *given, words *expected) {
    words *to = given;
    for (;;) {
        while (*at == ' ') at++;
        if (!*at) return;
        word one = {.kind = BYTES};
        if (*at == '"') {
            one.bytes = read_bytes(&at);
            if (*at == '=') {
                one.kind = ENTRY;
                at++;
                one.value = read_bytes(&at);
            }
            if (*at && *at != ' ') fail("no space at %.40s", at);
            add(to, one);
            continue;
        }
        size_t size = strcspn(at, " ");
        if (size == 2 && memcmp(at, "->", 2) == 0 && to == given) {
            to = expected;
        } else {
            one.kind = NAME;
            one.name = (char *)copied((const uint8_t *)at, size).data;
            one.name[size] = 0;
            add(to, one);
        }
        at += size;
        if (to == expected && !*at && !expected->count) fail("nothing behind ->");
    }
}

/* --- Taking an operation's words --- */

static words given;
static size_t taken;

static const word *peek(void) { return taken < given.count ? &given.all[taken] : NULL; }

static const char *take_name(void) {
    const word *one = peek();
    if (!one || one->kind != NAME) fail("a name is wanted as word %zu", taken + 1);
    taken++;
    return one->name;
}

static blob take_bytes(void) {
    const word *one = peek();
    if (!one || one->kind != BYTES) fail("bytes are wanted as word %zu", taken + 1);
    taken++;
    return one->bytes;
}

static size_t take_number(void) {
    const char *name = take_name();
    char *end;
    size_t number = strtoul(name, &end, 10);
    if (!*name || *end) fail("%s is no number", name);
    return number;
}

static int take_flag(const char *name) {
    const word *one = peek();
    int is_there = one && one->kind == NAME && strcmp(one->name, name) == 0;
    taken += (size_t)is_there;
    return is_there;
}

static void take_end(void) {
    if (peek()) fail("word %zu is not understood", taken + 1);
}

typedef struct {
    blob low, high, prefix;
} range;

/* A bound that there is none of is NULL; an empty key is not, since blobs have a byte more than they need. */
static range take_bounds(void) {
    range made = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    if (take_flag("from")) made.low = take_bytes();
    if (take_flag("to")) made.high = take_bytes();
    return made;
}

static range take_range(void) {
    if (!take_flag("prefix")) return take_bounds();
    range made = {{NULL, 0}, {NULL, 0}, take_bytes()};
    return made;
}

/* --- What has a name --- */

typedef struct {
    char name[64], path[4200];
    int in_memory;
    kvs_db *db;
} store;

typedef struct {
    char name[64];
    kvs_snapshot *snapshot;
    kvs_iter *iter;
} named;

/* Stores, the open one last; and what was made of them. */
static store *stores;
static named *nameds;
static size_t store_count, named_count, current;

static kvs_db *db(void) {
    if (!store_count) fail("no store is open");
    return stores[current].db;
}

static named *find(const char *name, int is_snapshot) {
    for (size_t i = named_count; i--;) {
        named *one = &nameds[i];
        if (strcmp(one->name, name) == 0 && (is_snapshot ? (void *)one->snapshot : (void *)one->iter)) return one;
    }
    fail("there is no %s", name);
}

static void keep(const char *name, kvs_snapshot *snapshot, kvs_iter *iter) {
    nameds = grown(nameds, named_count, sizeof *nameds);
    named *one = &nameds[named_count++];
    memset(one, 0, sizeof *one);
    snprintf(one->name, sizeof one->name, "%s", name);
    one->snapshot = snapshot;
    one->iter = iter;
}

/* "at S" at the end of an operation: its snapshot, or NULL. */
static kvs_snapshot *take_at(void) {
    kvs_snapshot *snapshot = take_flag("at") ? find(take_name(), 1)->snapshot : NULL;
    take_end();
    return snapshot;
}

/* --- Playing --- */

static words got;
static kvs_error *err;

/* A status is the result, unless it is KVS_OK and there is more to say. An error has an object that says the same and why. */
static int is_ok(kvs_status status) {
    if (status < 0 && err) {
        if (kvs_error_code(err) != status) fail("the error object says %s", kvs_status_name(kvs_error_code(err)));
        if (strlen(kvs_error_message(err)) < 5) fail("no message");
    } else if (err) {
        fail("an error object without an error");
    }
    kvs_error_free(err);
    err = NULL;
    if (status != KVS_OK) add_name(&got, kvs_status_name(status));
    return status == KVS_OK;
}

static void add_bytes(const uint8_t *data, size_t size) {
    word one = {.kind = BYTES, .bytes = copied(data, size)};
    add(&got, one);
}

static void add_entry(const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len) {
    word one = {.kind = ENTRY, .bytes = copied(key, key_len), .value = copied(value, value_len)};
    add(&got, one);
}

static void add_count(uint64_t number) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    add_name(&got, text);
}

static void path_of(char *to, size_t size, const char *name) {
    int length = snprintf(to, size, "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= size) fail("a path is too long");
}

static void open_store(const char *name, const char *path, int in_memory) {
    kvs_options *options;
    kvs_db *made = NULL;
    kvs_status status = kvs_options_new(&options);
    if (status == KVS_OK && in_memory) status = kvs_options_set_in_memory(options, 1, &err);
    while (peek()) {
        char *option = given.all[taken].name;
        take_name();
        char *value = strchr(option, '=');
        if (!value) fail("%s is no option", option);
        *value++ = 0;
        if (status == KVS_OK) status = kvs_options_set(options, option, value, &err);
    }
    if (status == KVS_OK) status = kvs_open(in_memory ? NULL : path, options, &made, &err);
    kvs_options_free(options);
    if (!is_ok(status)) {
        if (made) fail("a store after a failed open");
        return;
    }
    stores = grown(stores, store_count, sizeof *stores);
    store *one = &stores[current = store_count++];
    memset(one, 0, sizeof *one);
    snprintf(one->name, sizeof one->name, "%s", name);
    snprintf(one->path, sizeof one->path, "%s", path);
    one->in_memory = in_memory;
    one->db = made;
}

static void op_open(void) {
    const char *name = take_name();
    char path[4200];
    path_of(path, sizeof path, take_flag("in") ? take_name() : name);
    int in_memory = take_flag("in-memory");
    open_store(name, path, in_memory);
}

static void op_use(void) {
    const char *name = take_name();
    take_end();
    for (size_t i = store_count; i--;) {
        if (strcmp(stores[i].name, name) == 0) {
            current = i;
            return;
        }
    }
    fail("there is no store %s", name);
}

static void op_close(void) {
    take_end();
    is_ok(kvs_close(db(), &err));
}

static void op_reopen(void) {
    if (!is_ok(kvs_close(db(), &err))) return;
    store old = stores[current];
    open_store(old.name, old.path, old.in_memory);
}

static uint32_t take_sync(void) {
    uint32_t flags = take_flag("sync") ? KVS_SYNC : 0;
    take_end();
    return flags;
}

static void op_put(void) {
    blob key = take_bytes(), value = take_bytes();
    uint32_t flags = take_sync();
    is_ok(kvs_put(db(), key.data, key.size, value.data, value.size, flags, &err));
}

static void op_delete(void) {
    blob key = take_bytes();
    uint32_t flags = take_sync();
    is_ok(kvs_delete(db(), key.data, key.size, flags, &err));
}

static void op_delete_range(void) {
    range r = take_bounds();
    uint32_t flags = take_sync();
    is_ok(kvs_delete_range(db(), r.low.data, r.low.size, r.high.data, r.high.size, flags, &err));
}

static void op_batch(void) {
    kvs_batch *batch;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    kvs_status status = KVS_OK;
    size_t count = 0;
    uint32_t flags = 0;
    while (peek() && !flags) {
        kvs_status done = KVS_OK;
        if (take_flag("put")) {
            blob key = take_bytes(), value = take_bytes();
            done = kvs_batch_put(batch, key.data, key.size, value.data, value.size);
        } else if (take_flag("delete")) {
            blob key = take_bytes();
            done = kvs_batch_delete(batch, key.data, key.size);
        } else if (take_flag("delete-range")) {
            range r = take_bounds();
            done = kvs_batch_delete_range(batch, r.low.data, r.low.size, r.high.data, r.high.size);
        } else if (take_flag("sync")) {
            flags = KVS_SYNC;
            continue;
        } else {
            fail("word %zu is no write", taken + 1);
        }
        count += done == KVS_OK;
        if (status == KVS_OK) status = done;
    }
    take_end();
    if (kvs_batch_count(batch) != count) fail("the batch holds %zu writes", kvs_batch_count(batch));
    /* What could not be added ends it: the batch is not written. */
    is_ok(status == KVS_OK ? kvs_write(db(), batch, flags, &err) : status);
    kvs_batch_free(batch);
}

static void put_number(uint8_t *to, size_t number) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(number >> 8 * i);
}

/* In the packed form, a hundred keys at a time. */
static void op_fill(void) {
    blob prefix = take_bytes();
    size_t count = take_number();
    blob value = take_bytes();
    take_end();
    size_t each = 9 + prefix.size + 6 + value.size;
    uint8_t *packed = some(malloc(100 * each));
    kvs_batch *batch;
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    kvs_status status = KVS_OK;
    for (size_t i = 0, n; status == KVS_OK && i < count; i += n) {
        for (n = 0; n < 100 && i + n < count; n++) {
            uint8_t *at = packed + n * each;
            char digits[24];
            snprintf(digits, sizeof digits, "%06zu", i + n);
            *at = KVS_PACKED_PUT;
            put_number(at + 1, prefix.size + 6);
            put_number(at + 5, value.size);
            memcpy(at + 9, prefix.data, prefix.size);
            memcpy(at + 9 + prefix.size, digits, 6);
            memcpy(at + 15 + prefix.size, value.data, value.size);
        }
        EXPECT(KVS_OK, kvs_batch_clear(batch));
        status = kvs_batch_append_packed(batch, packed, n * each, &err);
        if (status == KVS_OK) status = kvs_write(db(), batch, 0, &err);
    }
    is_ok(status);
    kvs_batch_free(batch);
    free(packed);
}

/* A copy, a pinned one, and one into our own memory: all three must be the same. */
static void op_get(void) {
    blob key = take_bytes();
    kvs_snapshot *at = take_at();
    kvs_db *of = at ? NULL : db();
    uint8_t *owned, *own;
    const uint8_t *data;
    size_t size, pinned_size, own_size = 0;
    kvs_pin *pin;
    kvs_status status = kvs_get(of, at, key.data, key.size, &owned, &size, &err);
    kvs_error_free(err), err = NULL;
    kvs_status pinned = kvs_get_pinned(of, at, key.data, key.size, &pin, &data, &pinned_size, &err);
    kvs_error_free(err), err = NULL;
    if (status != pinned) fail("kvs_get: %s, kvs_get_pinned: %s", kvs_status_name(status), kvs_status_name(pinned));
    if (status == KVS_OK && (size != pinned_size || memcmp(owned, data, size) != 0)) fail("kvs_get and kvs_get_pinned differ");
    own = some(malloc(status == KVS_OK ? size + 1 : 1));
    kvs_status into = kvs_get_into(of, at, key.data, key.size, own, status == KVS_OK ? size : 0, &own_size, &err);
    if (status != into) fail("kvs_get: %s, kvs_get_into: %s", kvs_status_name(status), kvs_status_name(into));
    if (is_ok(into)) {
        if (size != own_size || memcmp(owned, own, size) != 0) fail("kvs_get and kvs_get_into differ");
        add_bytes(own, own_size);
    }
    free(own);
    kvs_free(owned);
    kvs_pin_free(pin);
}

static void op_contains(void) {
    blob key = take_bytes();
    kvs_snapshot *at = take_at();
    is_ok(kvs_contains(at ? NULL : db(), at, key.data, key.size, &err));
}

static void op_get_many(void) {
    uint8_t *all = some(malloc(1));
    size_t size = 0, count = 0, ends[64];
    do {
        blob key = take_bytes();
        if (count == sizeof ends / sizeof *ends) fail("too many keys");
        all = some(realloc(all, size + key.size + 1));
        memcpy(all + size, key.data, key.size);
        ends[count++] = size += key.size;
    } while (peek() && peek()->kind == BYTES);
    kvs_snapshot *at = take_at();
    kvs_results *results;
    if (is_ok(kvs_multi_get(at ? NULL : db(), at, all, size, ends, count, &results, &err))) {
        if (kvs_results_count(results) != count) fail("%zu results", kvs_results_count(results));
        for (size_t i = 0; i < count; i++) {
            const uint8_t *data;
            size_t data_len;
            if (is_ok(kvs_results_get(results, i, &data, &data_len))) add_bytes(data, data_len);
        }
    }
    kvs_results_free(results);
    free(all);
}

static kvs_status iterate_over(kvs_snapshot *at, range r, kvs_iter **iter) {
    kvs_db *of = at ? NULL : db();
    if (r.prefix.data) return kvs_iter_new_prefix(of, at, r.prefix.data, r.prefix.size, 0, iter, &err);
    return kvs_iter_new(of, at, r.low.data, r.low.size, r.high.data, r.high.size, 0, iter, &err);
}

static size_t number_at(const uint8_t *at) {
    return at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
}

/* By kvs_iter_fill, a few at a time into a buffer that is small at first. */
static void scan_filled(kvs_iter *iter, int reverse, size_t limit) {
    size_t capacity = 64;
    uint8_t *buffer = some(malloc(capacity));
    while (limit) {
        size_t items, used, max = limit < 7 ? limit : 7;
        kvs_status status = kvs_iter_fill(iter, buffer, capacity, max, reverse ? KVS_REVERSE : 0, &items, &used, &err);
        if (status == KVS_E_BUFFER) {
            kvs_error_free(err), err = NULL;
            if (used <= capacity) fail("%zu bytes do not fit %zu", used, capacity);
            buffer = some(realloc(buffer, capacity = used));
            continue;
        }
        if (status == KVS_END) break;
        if (!is_ok(status)) break;
        const uint8_t *at = buffer;
        for (size_t i = 0; i < items; i++) {
            size_t key = number_at(at), value = number_at(at + 4);
            add_entry(at + 8, key, at + 8 + key, value);
            at += 8 + key + value;
        }
        if (at != buffer + used) fail("%zu bytes were used", used);
        limit -= items;
    }
    free(buffer);
}

/* One entry after the other. */
static void scan_moved(kvs_iter *iter, int reverse, size_t limit) {
    while (limit--) {
        const uint8_t *key, *value;
        size_t key_len, value_len;
        kvs_status status = reverse ? kvs_iter_prev(iter, &err) : kvs_iter_next(iter, &err);
        if (status == KVS_END || !is_ok(status)) return;
        EXPECT(KVS_OK, kvs_iter_item(iter, &key, &key_len, &value, &value_len));
        add_entry(key, key_len, value, value_len);
    }
}

static void scan(kvs_snapshot *at, range r, int reverse, size_t limit) {
    kvs_iter *iter;
    if (!is_ok(iterate_over(at, r, &iter))) return;
    scan_filled(iter, reverse, limit);
    kvs_iter_free(iter);
    words filled = got;
    memset(&got, 0, sizeof got);
    if (!is_ok(iterate_over(at, r, &iter))) return;
    scan_moved(iter, reverse, limit);
    kvs_iter_free(iter);
    if (!same(&filled, &got)) fail("kvs_iter_fill and single moves differ");
    clear(&filled);
}

static void op_scan(void) {
    range r = take_range();
    int reverse = take_flag("reverse");
    size_t limit = take_flag("limit") ? take_number() : SIZE_MAX;
    scan(take_at(), r, reverse, limit);
    if (!got.count) add_name(&got, "KVS_END");
}

static void op_count(void) {
    range r = take_range();
    scan(take_at(), r, 0, SIZE_MAX);
    if (got.count == 1 && got.all[0].kind == NAME) return;
    size_t count = got.count;
    clear(&got);
    add_count(count);
}

static void op_snapshot(void) {
    const char *name = take_name();
    take_end();
    kvs_snapshot *made;
    if (is_ok(kvs_snapshot_new(db(), &made, &err))) keep(name, made, NULL);
}

static void op_release(void) {
    named *one = find(take_name(), 1);
    take_end();
    kvs_snapshot_free(one->snapshot);
    one->snapshot = NULL;
}

static void op_cursor(void) {
    const char *name = take_name();
    range r = take_range();
    kvs_iter *made;
    if (is_ok(iterate_over(take_at(), r, &made))) keep(name, NULL, made);
}

static void show(kvs_iter *iter) {
    const uint8_t *key, *value;
    size_t key_len, value_len;
    if (is_ok(kvs_iter_item(iter, &key, &key_len, &value, &value_len))) add_entry(key, key_len, value, value_len);
}

static void move(kvs_status (*by)(kvs_iter *, kvs_error **)) {
    kvs_iter *iter = find(take_name(), 0)->iter;
    take_end();
    if (is_ok(by(iter, &err))) show(iter);
}

static void op_first(void) { move(kvs_iter_first); }
static void op_last(void) { move(kvs_iter_last); }
static void op_next(void) { move(kvs_iter_next); }
static void op_prev(void) { move(kvs_iter_prev); }

static void seek(kvs_status (*by)(kvs_iter *, const uint8_t *, size_t, kvs_error **)) {
    kvs_iter *iter = find(take_name(), 0)->iter;
    blob key = take_bytes();
    take_end();
    if (is_ok(by(iter, key.data, key.size, &err))) show(iter);
}

static void op_seek(void) { seek(kvs_iter_seek); }
static void op_seek_for_prev(void) { seek(kvs_iter_seek_for_prev); }

static void op_item(void) {
    kvs_iter *iter = find(take_name(), 0)->iter;
    take_end();
    show(iter);
}

static void op_drop(void) {
    named *one = find(take_name(), 0);
    take_end();
    kvs_iter_free(one->iter);
    one->iter = NULL;
}

static void op_flush(void) {
    take_end();
    is_ok(kvs_flush(db(), 0, &err));
}

static void op_sync(void) {
    take_end();
    is_ok(kvs_sync(db(), 0, &err));
}

static void op_verify(void) {
    kvs_verified seen;
    take_end();
    is_ok(kvs_verify(db(), 0, &seen, sizeof seen, &err));
}

static void op_compact(void) {
    range r = take_bounds();
    take_end();
    is_ok(kvs_compact(db(), r.low.data, r.low.size, r.high.data, r.high.size, 0, &err));
}

/* A number of kvs_stats, by its property; the struct is looked at by other programs. */
static void op_stat(void) {
    char name[128];
    snprintf(name, sizeof name, "stats.%s", take_name());
    take_end();
    uint8_t *text;
    size_t size;
    if (is_ok(kvs_property(db(), name, &text, &size, &err))) {
        char *end;
        add_count(strtoull((const char *)text, &end, 10));
        if ((size_t)(end - (char *)text) != size) fail("%s is no number", (const char *)text);
    }
    kvs_free(text);
}

static void op_write_file(void) {
    char path[4200];
    path_of(path, sizeof path, take_name());
    blob data = take_bytes();
    take_end();
    char *slash = strrchr(path, '/');
    *slash = 0;
    mkdir(path, 0777);
    *slash = '/';
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data.data, 1, data.size, file) != data.size || fclose(file) != 0) fail("cannot write %s", path);
}

static void op_repair(void) {
    char path[4200], new_path[4200];
    path_of(path, sizeof path, take_name());
    path_of(new_path, sizeof new_path, take_name());
    take_end();
    kvs_report *report;
    is_ok(kvs_repair(path, new_path, NULL, &report, &err));
    kvs_report_free(report);
}

static const struct {
    const char *name;
    void (*play)(void);
    /* It must say what it reads. */
    int reads;
} OPERATIONS[] = {
    {"open", op_open, 0},         {"use", op_use, 0},           {"close", op_close, 0},
    {"reopen", op_reopen, 0},     {"put", op_put, 0},           {"delete", op_delete, 0},
    {"batch", op_batch, 0},       {"fill", op_fill, 0},         {"delete-range", op_delete_range, 0},
    {"get", op_get, 1},           {"contains", op_contains, 1}, {"get-many", op_get_many, 1},
    {"scan", op_scan, 1},         {"count", op_count, 1},       {"snapshot", op_snapshot, 0},
    {"release", op_release, 0},   {"cursor", op_cursor, 0},     {"first", op_first, 1},
    {"last", op_last, 1},         {"next", op_next, 1},         {"prev", op_prev, 1},
    {"seek", op_seek, 1},         {"item", op_item, 1},         {"seek-for-prev", op_seek_for_prev, 1},
    {"drop", op_drop, 0},         {"flush", op_flush, 0},       {"sync", op_sync, 0},
    {"verify", op_verify, 0},     {"compact", op_compact, 0},   {"stat", op_stat, 1},
    {"write-file", op_write_file, 0}, {"repair", op_repair, 0},
};

/* Plays an operation; returns whether it said what it must come to. */
static int play(const char *text) {
    words expected = {NULL, 0};
    read_words(text, &given, &expected);
    taken = 0;
    int said = expected.count > 0;
    const char *name = take_name();
    size_t at = 0, count = sizeof OPERATIONS / sizeof *OPERATIONS;
    while (at < count && strcmp(OPERATIONS[at].name, name) != 0) at++;
    if (at == count) fail("no such operation: %s", name);
    if (OPERATIONS[at].reads && !said) fail("%s without ->", name);
    OPERATIONS[at].play();
    if (!got.count) add_name(&got, "KVS_OK");
    if (!said) add_name(&expected, "KVS_OK");
    if (!same(&got, &expected)) {
        fprintf(stderr, "%s, line %u: ", script, line);
        print(&given);
        fputs(" comes to\n  ", stderr);
        print(&got);
        fputs("\ninstead of\n  ", stderr);
        print(&expected);
        fputc('\n', stderr);
        exit(1);
    }
    clear(&got);
    clear(&given);
    clear(&expected);
    return said;
}

static char *contents(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read %s", path);
    char *text = some(malloc(1 << 20));
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    if (!feof(file)) fail("%s is too large", path);
    fclose(file);
    if (!size || text[size - 1] != '\n') fail("the last line does not end");
    text[size] = 0;
    return text;
}

/* A line, and those behind it that begin with spaces. */
typedef struct {
    unsigned line;
    char *text;
} operation;

static void play_script(const char *path) {
    char *text = contents(path);
    operation *operations = NULL;
    size_t count = 0;
    int said = 0;
    line = 1;
    if (strncmp(text, "# ", 2) != 0 || text[2] == '\n') fail("the first line says what the script promises");
    for (char *at = text, *end; *at; at = end + 1, line++) {
        end = strchr(at, '\n');
        *end = 0;
        if (*at == '#' || !at[strspn(at, " ")]) continue;
        if (*at != ' ') {
            operations = grown(operations, count, sizeof *operations);
            operations[count].line = line;
            operations[count++].text = some(strdup(at));
        } else if (count) {
            operation *last = &operations[count - 1];
            last->text = some(realloc(last->text, strlen(last->text) + strlen(at) + 1));
            strcat(last->text, at);
        } else {
            fail("it belongs to no operation");
        }
    }
    free(text);
    for (size_t i = 0; i < count; i++) {
        line = operations[i].line;
        said += play(operations[i].text);
        free(operations[i].text);
    }
    free(operations);
    if (!said) fail("no expectation");
    while (named_count) {
        named_count--;
        kvs_iter_free(nameds[named_count].iter);
        kvs_snapshot_free(nameds[named_count].snapshot);
    }
    while (store_count) kvs_free_db(stores[--store_count].db);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    root = argv[1];
    unsigned count = 0, least = (unsigned)strtoul(argv[3], NULL, 10);
    DIR *scripts = opendir(argv[2]);
    CHECK(scripts);
    for (struct dirent *entry; (entry = readdir(scripts));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".txt") != 0) continue;
        char path[4096];
        script = entry->d_name;
        snprintf(path, sizeof path, "%s/%s", argv[2], entry->d_name);
        snprintf(directory, sizeof directory, "%s/%s", root, entry->d_name);
        CHECK(mkdir(directory, 0777) == 0);
        play_script(path);
        count++;
    }
    closedir(scripts);
    free(stores);
    free(nameds);
    if (count < least) {
        fprintf(stderr, "only %u scripts\n", count);
        return 1;
    }
    printf("%u scripts\n", count);
    return 0;
}
