/*
 * A shell for a store: type help. Also for scripts: `./shell /tmp/database < commands`, which ends with 1 if a command failed.
 *
 *   cc shell.c -lkvs -o shell
 *   ./shell -o read_only=true /tmp/database        options by name, as often as wanted; `./shell -O` lists them with their defaults
 *   printf 'put "a key" "tab \t, byte \x00"\nget "a key"\n' | ./shell /tmp/database
 *
 * Words are separated by blanks. In "double quotes" \n \t \r \\ \" and \xHH stand for bytes; in 'single quotes' everything is itself. Keys and
 * values are printed such that they can be typed in again. # begins a comment.
 *
 * What it shows of kvs: every call checked, the message of the library shown; bytes with any content; bounds, of which NULL is none; a batch that
 * is written as a whole; snapshots that go on showing what was, with reads through them; properties as text.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <kvs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS_MAX = 4, SNAPSHOTS_MAX = 16, NAME_BYTES_MAX = 32 };

typedef struct {
    uint8_t *at;
    size_t length;
    int quoted; /* any part of it */
} word;

typedef struct {
    char name[NAME_BYTES_MAX];
    kvs_snapshot *snapshot;
} named;

typedef struct {
    kvs_db *db;
    kvs_batch *batch; /* NULL: writes go to the store at once */
    named snapshots[SNAPSHOTS_MAX];
    size_t snapshot_count;
    const kvs_snapshot *at; /* where reads look; NULL: now */
} shell;

/* Prints what failed, frees the error object; 0, so that commands can return it. */
static int failed(const char *what, kvs_status status, kvs_error *err) {
    fprintf(stderr, "%s: %s%s%s\n", what, kvs_status_name(status), err ? ": " : "", err ? kvs_error_message(err) : "");
    kvs_error_free(err);
    return 0;
}

static int wrong(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 0;
}

/* ---- words ---- */

static int hex(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The byte that a backslash stands for; -1 if for none. *at is the byte behind the backslash, and moves on to the last one used. */
static int escaped(const uint8_t **at) {
    const uint8_t *p = *at;
    switch (*p) {
        case 'n': return '\n';
        case 't': return '\t';
        case 'r': return '\r';
        case '\\':
        case '"': return *p;
        case 'x':
            if (hex(p[1]) < 0 || hex(p[2]) < 0) return -1;
            *at = p + 2;
            return hex(p[1]) << 4 | hex(p[2]);
        default: return -1;
    }
}

/* Cuts a line, which ends in a NUL byte and has no other, into words, in place. How many; -1 if it cannot be read. */
static int cut(uint8_t *line, word *words) {
    int count = 0;
    for (const uint8_t *p = line;;) {
        while (*p == ' ' || *p == '\t') p++;
        if (*p == '\0' || *p == '#') return count;
        if (count == WORDS_MAX) return wrong("too many words: put quotes around blanks"), -1;
        /* What comes out of a word is never longer than what went in. */
        uint8_t *to = line + (p - line), *start = to, quote = 0;
        int quoted = 0;
        for (; *p && (quote || (*p != ' ' && *p != '\t')); p++) {
            if (quote ? *p == quote : *p == '"' || *p == '\'') {
                quote = quote ? 0 : *p;
                quoted = 1;
            } else if (quote == '"' && *p == '\\') {
                p++;
                int byte = escaped(&p);
                if (byte < 0) return wrong("a \\ must be followed by n, t, r, \\, \" or xHH"), -1;
                *to++ = (uint8_t)byte;
            } else {
                *to++ = *p;
            }
        }
        if (quote) return wrong("a quote is not closed"), -1;
        words[count++] = (word){start, (size_t)(to - start), quoted};
    }
}

static int is(const word *w, const char *text) { return w->length == strlen(text) && memcmp(w->at, text, w->length) == 0; }

/* Such that it can be typed in again. */
static void print_word(const uint8_t *at, size_t length) {
    int plain = length > 0 && at[0] != '#';
    for (size_t i = 0; i < length; i++) plain = plain && at[i] > ' ' && at[i] != '"' && at[i] != '\'' && at[i] != 0x7f;
    if (plain) {
        fwrite(at, 1, length, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (at[i] == '"' || at[i] == '\\') printf("\\%c", at[i]);
        else if (at[i] == '\n') printf("\\n");
        else if (at[i] == '\t') printf("\\t");
        else if (at[i] < ' ' || at[i] == 0x7f) printf("\\x%02x", at[i]);
        else putchar(at[i]);
    }
    putchar('"');
}

/* ---- commands: each returns 1, or 0 after it has said what is wrong ---- */

static int get(shell *s, word *key) {
    kvs_error *err = NULL;
    kvs_pin *pin;
    const uint8_t *value;
    size_t length;
    /* Pinned: read where it lies, however large it is. With a snapshot the database need not be given. */
    kvs_status status = kvs_get_pinned(s->db, s->at, key->at, key->length, &pin, &value, &length, &err);
    if (status == KVS_NOT_FOUND) return wrong("not found");
    if (status != KVS_OK) return failed("get", status, err);
    print_word(value, length);
    putchar('\n');
    kvs_pin_free(pin);
    return 1;
}

static int put(shell *s, word *key, word *value) {
    kvs_error *err = NULL;
    kvs_status status = s->batch ? kvs_batch_put(s->batch, key->at, key->length, value->at, value->length)
                                 : kvs_put(s->db, key->at, key->length, value->at, value->length, 0, &err);
    return status == KVS_OK ? 1 : failed("put", status, err);
}

static int del(shell *s, word *key) {
    kvs_error *err = NULL;
    kvs_status status = s->batch ? kvs_batch_delete(s->batch, key->at, key->length)
                                 : kvs_delete(s->db, key->at, key->length, 0, &err);
    return status == KVS_OK ? 1 : failed("del", status, err);
}

/* A bound: a word. What is missing is none, and so is - without quotes. */
static const uint8_t *bound(word *w, int there, size_t *length) {
    *length = 0;
    if (!there || (is(w, "-") && !w->quoted)) return NULL;
    *length = w->length;
    return w->at;
}

static int delrange(shell *s, word *low, word *high) {
    kvs_error *err = NULL;
    size_t ln, hn;
    const uint8_t *l = bound(low, 1, &ln), *h = bound(high, 1, &hn);
    kvs_status status = s->batch ? kvs_batch_delete_range(s->batch, l, ln, h, hn)
                                 : kvs_delete_range(s->db, l, ln, h, hn, 0, &err);
    return status == KVS_OK ? 1 : failed("delrange", status, err);
}

/* Walks to the end, forwards or backwards, and frees the iterator. */
static int walk(kvs_iter *iter, int back) {
    kvs_error *err = NULL;
    kvs_status status;
    while ((status = back ? kvs_iter_prev(iter, &err) : kvs_iter_next(iter, &err)) == KVS_OK) {
        const uint8_t *key, *value;
        size_t key_length, value_length;
        status = kvs_iter_item(iter, &key, &key_length, &value, &value_length);
        if (status != KVS_OK) break;
        print_word(key, key_length);
        putchar(' ');
        print_word(value, value_length);
        putchar('\n');
    }
    kvs_iter_free(iter);
    return status == KVS_END ? 1 : failed("scan", status, err);
}

static int scan(shell *s, word *low, word *high, int bounds, int back) {
    kvs_error *err = NULL;
    kvs_iter *iter;
    size_t ln, hn;
    const uint8_t *l = bound(low, bounds > 0, &ln), *h = bound(high, bounds > 1, &hn);
    kvs_status status = kvs_iter_new(s->db, s->at, l, ln, h, hn, 0, &iter, &err);
    return status == KVS_OK ? walk(iter, back) : failed("scan", status, err);
}

static int prefix(shell *s, word *start) {
    kvs_error *err = NULL;
    kvs_iter *iter;
    kvs_status status = kvs_iter_new_prefix(s->db, s->at, start->at, start->length, 0, &iter, &err);
    return status == KVS_OK ? walk(iter, 0) : failed("prefix", status, err);
}

static int begin(shell *s) {
    if (s->batch) return wrong("a batch is begun already: commit or abort it");
    kvs_status status = kvs_batch_new(&s->batch);
    return status == KVS_OK ? 1 : failed("begin", status, NULL);
}

static int end(shell *s, int commit) {
    kvs_error *err = NULL;
    kvs_status status = KVS_OK;
    if (!s->batch) return wrong("no batch is begun");
    /* All of it, and safe from a power failure, or nothing. After an error it is still there, to be tried again. */
    if (commit) status = kvs_write(s->db, s->batch, KVS_SYNC, &err);
    if (status != KVS_OK) return failed("commit", status, err);
    kvs_batch_free(s->batch);
    s->batch = NULL;
    return 1;
}

static named *find(shell *s, word *name) {
    for (size_t i = 0; i < s->snapshot_count; i++) {
        if (is(name, s->snapshots[i].name)) return &s->snapshots[i];
    }
    return NULL;
}

static int snapshot(shell *s, word *name) {
    kvs_error *err = NULL;
    if (find(s, name)) return wrong("there is a snapshot of this name");
    if (s->snapshot_count == SNAPSHOTS_MAX) return wrong("too many snapshots: release one");
    if (name->length == 0 || name->length >= NAME_BYTES_MAX || is(name, "now")) return wrong("not a name for a snapshot");
    named *made = &s->snapshots[s->snapshot_count];
    kvs_status status = kvs_snapshot_new(s->db, &made->snapshot, &err);
    if (status != KVS_OK) return failed("snapshot", status, err);
    memcpy(made->name, name->at, name->length);
    made->name[name->length] = '\0';
    s->snapshot_count++;
    return 1;
}

static int at(shell *s, word *name) {
    named *wanted = find(s, name);
    if (!wanted && !is(name, "now")) return wrong("there is no snapshot of this name");
    s->at = wanted ? wanted->snapshot : NULL;
    return 1;
}

static int release(shell *s, word *name) {
    named *wanted = find(s, name);
    if (!wanted) return wrong("there is no snapshot of this name");
    if (s->at == wanted->snapshot) s->at = NULL;
    kvs_snapshot_free(wanted->snapshot);
    *wanted = s->snapshots[--s->snapshot_count];
    return 1;
}

static int stats(shell *s, word *name, int one) {
    kvs_error *err = NULL;
    uint8_t *text;
    size_t length;
    char property[64] = "stats";
    if (one) snprintf(property, sizeof property, "stats.%.*s", (int)(name->length < 50 ? name->length : 50), (const char *)name->at);
    kvs_status status = kvs_property(s->db, property, &text, &length, &err);
    if (status != KVS_OK) return failed("stats", status, err);
    printf("%s%s", (const char *)text, length && text[length - 1] == '\n' ? "" : "\n");
    kvs_free(text);
    return 1;
}

static int verify(shell *s) {
    kvs_error *err = NULL;
    kvs_verified all;
    kvs_status status = kvs_verify(s->db, 0, &all, sizeof all, &err);
    if (status != KVS_OK) return failed("verify", status, err);
    printf("%" PRIu64 " records are good\n", all.records);
    return 1;
}

static int said(const char *what, kvs_status status, kvs_error *err) { return status == KVS_OK ? 1 : failed(what, status, err); }

static int help(void) {
    puts("get KEY, put KEY VALUE, del KEY, delrange LOW HIGH\n"
         "scan [LOW [HIGH]], rscan [LOW [HIGH]] (backwards), prefix START: LOW is included, HIGH is not, - is no bound\n"
         "begin, then put, del, delrange, then commit or abort: all of them or none\n"
         "snapshot NAME, at NAME (reads show what was then; `at now`), release NAME\n"
         "stats [NAME], sync, flush, compact, verify, help, quit");
    return 1;
}

/* One command. -1: the shell is to end. */
static int execute(shell *s, word *w, int count) {
    kvs_error *err = NULL;
    word *a = w + 1, *b = w + 2;
    switch (count) {
        case 1:
            if (is(w, "scan") || is(w, "rscan")) return scan(s, NULL, NULL, 0, is(w, "rscan"));
            if (is(w, "begin")) return begin(s);
            if (is(w, "commit") || is(w, "abort")) return end(s, is(w, "commit"));
            if (is(w, "stats")) return stats(s, NULL, 0);
            if (is(w, "sync")) return said("sync", kvs_sync(s->db, 0, &err), err);
            if (is(w, "flush")) return said("flush", kvs_flush(s->db, 0, &err), err);
            if (is(w, "compact")) return said("compact", kvs_compact(s->db, NULL, 0, NULL, 0, 0, &err), err);
            if (is(w, "verify")) return verify(s);
            if (is(w, "help")) return help();
            if (is(w, "quit")) return -1;
            break;
        case 2:
            if (is(w, "get")) return get(s, a);
            if (is(w, "del")) return del(s, a);
            if (is(w, "scan") || is(w, "rscan")) return scan(s, a, NULL, 1, is(w, "rscan"));
            if (is(w, "prefix")) return prefix(s, a);
            if (is(w, "snapshot")) return snapshot(s, a);
            if (is(w, "at")) return at(s, a);
            if (is(w, "release")) return release(s, a);
            if (is(w, "stats")) return stats(s, a, 1);
            break;
        case 3:
            if (is(w, "put")) return put(s, a, b);
            if (is(w, "delrange")) return delrange(s, a, b);
            if (is(w, "scan") || is(w, "rscan")) return scan(s, a, b, 2, is(w, "rscan"));
            break;
        default: break;
    }
    return wrong("not a command, or not with so many words: try help");
}

/* How many commands failed; -1 if the input could not be read. */
static int run(shell *s, int interactive) {
    char *line = NULL;
    size_t room = 0;
    int failures = 0;
    for (;;) {
        if (interactive) {
            printf("%s%s> ", s->at ? "then" : "kvs", s->batch ? "*" : "");
            fflush(stdout);
        }
        ssize_t length = getline(&line, &room, stdin);
        if (length < 0) break;
        if (line[length - 1] == '\n') line[--length] = '\0';
        word words[WORDS_MAX];
        int count = strlen(line) == (size_t)length ? cut((uint8_t *)line, words) : (wrong("a line has a NUL byte: write \\x00"), -1);
        int done = count > 0 ? execute(s, words, count) : count == 0;
        if (done < 0) break;
        failures += !done;
        /* Answers and errors in the order in which they came, where they go to one place. */
        fflush(stdout);
    }
    if (ferror(stdin)) perror("standard input"), failures = -1;
    free(line);
    return failures;
}

static int list_options(void) {
    for (size_t i = 0; i < kvs_option_count(); i++) {
        const char *name, *value, *doc;
        kvs_status status = kvs_option_info(i, &name, &value, &doc);
        if (status != KVS_OK) return failed("options", status, NULL), 1;
        printf("%s=%s\n    %s\n", name, value, doc);
    }
    return 0;
}

/* name=value */
static kvs_status set_option(kvs_options *options, char *text, kvs_error **err) {
    char *value = strchr(text, '=');
    if (value) *value++ = '\0';
    return kvs_options_set(options, text, value ? value : "true", err);
}

int main(int argc, char **argv) {
    shell s = {0};
    kvs_options *options;
    kvs_error *err = NULL;
    kvs_status status = kvs_options_new(&options);
    int option;
    while (status == KVS_OK && (option = getopt(argc, argv, "o:O")) != -1) {
        switch (option) {
            case 'o': status = set_option(options, optarg, &err); break;
            case 'O': kvs_options_free(options); return list_options();
            default: optind = argc;
        }
    }
    if (status != KVS_OK) return failed("options", status, err), kvs_options_free(options), 2;
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: shell [-o NAME=VALUE]... DIRECTORY, or shell -O for the options\n");
        kvs_options_free(options);
        return 2;
    }
    status = kvs_open(argv[optind], options, &s.db, &err);
    kvs_options_free(options);
    if (status != KVS_OK) return failed("open", status, err), 1;
    int failures = run(&s, isatty(STDIN_FILENO));
    if (s.batch) failures += !wrong("a batch that was begun is lost: it was not committed");
    /* In any order. NULL is free already. */
    kvs_batch_free(s.batch);
    for (size_t i = 0; i < s.snapshot_count; i++) kvs_snapshot_free(s.snapshots[i].snapshot);
    status = kvs_close(s.db, &err);
    if (status != KVS_OK) failures += !failed("close", status, err);
    kvs_free_db(s.db);
    return failures ? 1 : 0;
}
