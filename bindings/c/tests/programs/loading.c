/* The library as a plug-in sees it: loaded, used, closed and let go of a thousand times; and a hundred thousand threads that come, make one
   call and go. Nothing stays behind: no descriptor, no thread, no memory that grows. Linked without the library.
   argv[1]: an empty directory, argv[2]: the library. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>
#include "check.h"

enum { LOADS = 1000, THREADS = 100000, AT_ONCE = 50 };

static size_t entries(const char *directory) {
    size_t count = 0;
    DIR *d = opendir(directory);
    CHECK(d);
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

/* Bytes of memory in use that no file is behind. */
static size_t memory(void) {
    long pages, resident, shared;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld %ld %ld", &pages, &resident, &shared) == 3);
    fclose(f);
    return (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

#define LOOK_UP(name) __typeof__(&name) p_##name = (__typeof__(&name))(uintptr_t)dlsym(library, #name)

/* On disk one time in ten, else in memory: a disk has better to do. */
static void once(int number, const char *directory, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    LOOK_UP(kvs_open);
    LOOK_UP(kvs_put);
    LOOK_UP(kvs_contains);
    LOOK_UP(kvs_close);
    LOOK_UP(kvs_free_db);
    LOOK_UP(kvs_status_name);
    CHECK(p_kvs_open && p_kvs_put && p_kvs_contains && p_kvs_close && p_kvs_free_db && p_kvs_status_name);
    LOOK_UP(kvs_options_new);
    LOOK_UP(kvs_options_set_in_memory);
    LOOK_UP(kvs_options_free);
    int in_memory = number % 10 != 0;
    kvs_options *options;
    kvs_db *db;
    CHECK(p_kvs_options_new(&options) == KVS_OK);
    CHECK(p_kvs_options_set_in_memory(options, (uint32_t)in_memory, NULL) == KVS_OK);
    CHECK(p_kvs_open(in_memory ? NULL : directory, options, &db, NULL) == KVS_OK);
    p_kvs_options_free(options);
    CHECK(p_kvs_put(db, S("key"), S("value"), 0, NULL) == KVS_OK);
    CHECK(p_kvs_contains(db, NULL, S("key"), NULL) == KVS_OK);
    CHECK(p_kvs_close(db, NULL) == KVS_OK);
    p_kvs_free_db(db);
    /* Never unmapped: destructors of thread-locals, the fork handler and the collector point into it. */
    CHECK(dlclose(library) == 0);
    CHECK(strcmp(p_kvs_status_name(KVS_E_IO), "KVS_E_IO") == 0);
}

static kvs_db *db;
static __typeof__(&kvs_get_into) get_into;

static void *one_call(void *argument) {
    uint8_t buffer[8];
    size_t length;
    (void)argument;
    CHECK(get_into(db, NULL, S("key"), buffer, sizeof buffer, &length, NULL) == KVS_OK && length == 5);
    return NULL;
}

static void many_threads(const char *directory, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    LOOK_UP(kvs_open);
    LOOK_UP(kvs_put);
    LOOK_UP(kvs_free_db);
    get_into = (__typeof__(&kvs_get_into))(uintptr_t)dlsym(library, "kvs_get_into");
    CHECK(p_kvs_open(directory, NULL, &db, NULL) == KVS_OK && p_kvs_put(db, S("key"), S("value"), 0, NULL) == KVS_OK);
    pthread_t threads[AT_ONCE];
    size_t before = 0;
    for (int i = 0; i < THREADS; i += AT_ONCE) {
        for (int t = 0; t < AT_ONCE; t++) CHECK(pthread_create(&threads[t], NULL, one_call, NULL) == 0);
        for (int t = 0; t < AT_ONCE; t++) CHECK(pthread_join(threads[t], NULL) == 0);
        /* What the first tenth needs is kept for those who follow. */
        if (i == THREADS / 10) before = memory();
    }
    size_t after = memory();
    if (after > before + (2 << 20)) fprintf(stderr, "%zu bytes, then %zu\n", before, after);
    CHECK(after <= before + (2 << 20));
    p_kvs_free_db(db);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    char path[4096];
    snprintf(path, sizeof path, "%s/loading", argv[1]);
    for (int i = 0; i < 20; i++) once(i, path, argv[2]);
    size_t descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task"), before = memory();
    for (int i = 0; i < LOADS; i++) once(i, path, argv[2]);
    CHECK(entries("/proc/self/fd") == descriptors && entries("/proc/self/task") == threads);
    size_t after = memory();
    if (after > before + (2 << 20)) fprintf(stderr, "%zu bytes, then %zu\n", before, after);
    CHECK(after <= before + (2 << 20));
    many_threads(path, argv[2]);
    CHECK(entries("/proc/self/fd") == descriptors && entries("/proc/self/task") == threads);
    return 0;
}
