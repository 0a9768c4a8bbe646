/*
 * kvs: an embedded, ordered, durable, multi-version key-value engine.
 *
 * Rules that hold for every function; a function's own comment says what is special.
 *
 * Status      Functions return a kvs_status: KVS_OK, an ordinary outcome (positive) or an error (negative).
 * Errors      The last parameter err, where there is one, may be NULL. On failure *err becomes an error object,
 *             which the caller frees with kvs_error_free; what it held before is ignored. Otherwise *err is untouched.
 * Outputs     Out-parameters are set on success only, but out-handles and buffers are NULL on failure.
 * Inputs      Copied before the call returns. (pointer, length): the pointer may be NULL if the length is 0.
 *             Keys and values are any bytes.
 * Ownership   What _new and _open make, the caller frees with the type's own _free, in any order.
 *             Handles are values, not addresses: a freed, foreign or wrong one gives KVS_E_BAD_HANDLE, never
 *             undefined behaviour, and freeing it again does nothing. Only kvs_free takes real memory.
 * Structs     Plain structs that the library fills come with their size, so that they can grow: give sizeof.
 * Threads     Any thread may call anything. kvs_iter, kvs_batch: one thread at a time, else KVS_E_CONCURRENT; all other
 *             types: any number at once. No function is async-signal-safe.
 * Fork        A child process must open the database anew: the parent's handles give KVS_E_FORKED, and freeing
 *             them does nothing.
 * Flags       Bits without a meaning must be 0, else KVS_E_INVALID.
 */


#ifndef KVS_H
#define KVS_H

/* Generated from bindings/c/src by cbindgen: do not edit. */

#include <stddef.h>
#include <stdint.h>

#ifndef KVS_API
#  if defined(_WIN32) && !defined(KVS_STATIC)
#    define KVS_API __declspec(dllimport)
#  elif defined(__GNUC__)
#    define KVS_API __attribute__((visibility("default")))
#  else
#    define KVS_API
#  endif
#endif

/* The compiler warns if the status is ignored. Define it as nothing beforehand to silence that. */
#ifndef KVS_MUST_USE
#  if defined(__GNUC__)
#    define KVS_MUST_USE __attribute__((warn_unused_result))
#  else
#    define KVS_MUST_USE
#  endif
#endif

/**
 * Version of this header, to compare with kvs_version_number(): a program may run with a newer library.
 */
#define KVS_VERSION_MAJOR 0

/**
 * See KVS_VERSION_MAJOR.
 */
#define KVS_VERSION_MINOR 1

/**
 * See KVS_VERSION_MAJOR.
 */
#define KVS_VERSION_PATCH 0

/**
 * Version of the binary interface: the number in the library's file name, libkvs.so.0. It
 * changes only if a program has to be compiled again.
 */
#define KVS_ABI_VERSION 0

/**
 * Done.
 */
#define KVS_OK 0

/**
 * There is no such key. Not an error: no kvs_error is made.
 */
#define KVS_NOT_FOUND 1

/**
 * The iterator stands on no entry: before the first or after the last. Not an error.
 */
#define KVS_END 2

/**
 * Reserved for transactions: another one wrote what this one read. Not an error.
 */
#define KVS_CONFLICT 3

/**
 * An argument is unusable: NULL where that is not allowed, an unknown flag or option, a malformed value.
 */
#define KVS_E_INVALID (-1)

/**
 * The database was closed by kvs_close. Open it again.
 */
#define KVS_E_CLOSED (-2)

/**
 * The handle was freed, is of another type, or never was one.
 */
#define KVS_E_BAD_HANDLE (-3)

/**
 * Another thread is using this iterator or batch at this moment; nothing was done.
 */
#define KVS_E_CONCURRENT (-4)

/**
 * The handle was made before a fork(), in the parent process. Open the database again in the child.
 */
#define KVS_E_FORKED (-5)

/**
 * The caller's buffer is too small; the length needed was reported, nothing was copied.
 */
#define KVS_E_BUFFER (-6)

/**
 * The operating system refused an operation: see kvs_error_os and the message.
 */
#define KVS_E_IO (-7)

/**
 * A file is damaged: the message names it and the offset. Other keys stay readable.
 */
#define KVS_E_CORRUPTION (-8)

/**
 * Another process, or this one, has the database open.
 */
#define KVS_E_LOCKED (-9)

/**
 * The database was opened read-only, or its files cannot be written.
 */
#define KVS_E_READ_ONLY (-10)

/**
 * The disk or the quota is full. Nothing was written; the database works again as
 * soon as there is space.
 */
#define KVS_E_NO_SPACE (-11)

/**
 * Memory, or the number of handles, is exhausted.
 */
#define KVS_E_NO_MEMORY (-12)

/**
 * The files were written by a newer version of kvs.
 */
#define KVS_E_VERSION (-13)

/**
 * A key, a value or a batch is larger than the format allows. Nothing was read or written.
 */
#define KVS_E_TOO_LARGE (-14)

/**
 * An earlier write or sync failed: writes are refused until the database is opened again, reads go on. Whether the
 * failed write is durable is unknown.
 */
#define KVS_E_POISONED (-15)

/**
 * The call would have had to wait and was asked not to.
 */
#define KVS_E_WOULD_BLOCK (-16)

/**
 * The call was interrupted on request.
 */
#define KVS_E_INTERRUPTED (-17)

/**
 * The directory is missing and was not to be created, or holds something that is not a kvs database.
 */
#define KVS_E_NOT_A_DATABASE (-18)

/**
 * The call came from inside a log hook, where it could wait for itself. Nothing was done.
 */
#define KVS_E_REENTRANT (-19)

/**
 * A bug in kvs, caught at the boundary: please report it with the message. After one inside a write,
 * the database takes no more writes until it is opened again; reads go on.
 */
#define KVS_E_PANIC (-100)

/**
 * For writes: return only when this write, and all before it, would survive a power failure. Without
 * it the option "durability" decides.
 */
#define KVS_SYNC 1

/**
 * For writes: where the write would have to wait until a flush has made room, return KVS_E_WOULD_BLOCK
 * instead, and write nothing.
 */
#define KVS_NO_WAIT 2

/**
 * For kvs_iter_fill: towards smaller keys.
 */
#define KVS_REVERSE 4

/**
 * For kvs_options_set_durability: what was acknowledged may be lost when the process dies.
 */
#define KVS_DURABILITY_NONE 0

/**
 * For kvs_options_set_durability: what was acknowledged survives the death of the process, not a power failure.
 * The default.
 */
#define KVS_DURABILITY_PROCESS 1

/**
 * For kvs_options_set_durability: what was acknowledged survives a power failure.
 */
#define KVS_DURABILITY_SYNC 2

/**
 * Levels of events, for kvs_log_fn: what the database does by itself.
 */
#define KVS_LOG_INFO 1

/**
 * See KVS_LOG_INFO: it works, but not as it should: writes have to wait, the disk is full.
 */
#define KVS_LOG_WARNING 2

/**
 * See KVS_LOG_INFO: something is broken: damage, or a failure after which writes are refused.
 */
#define KVS_LOG_ERROR 3

/**
 * Kinds of packed writes, for kvs_batch_append_packed: a put of a key and a value.
 */
#define KVS_PACKED_PUT 1

/**
 * See KVS_PACKED_PUT: a delete of a key. The value is empty.
 */
#define KVS_PACKED_DELETE 2

/**
 * See KVS_PACKED_PUT: a delete of all keys from the key (included) to the value (excluded).
 */
#define KVS_PACKED_DELETE_RANGE 3

/**
 * See KVS_PACKED_PUT: a delete of all keys from the key (included) on. The value is empty.
 */
#define KVS_PACKED_DELETE_FROM 4

/**
 * Which keys a kvs_left_out is about: nobody can tell. Any key may show a value from before, or be missing.
 */
#define KVS_KEYS_UNKNOWN 0

/**
 * Which keys a kvs_left_out is about: the one key low.
 */
#define KVS_KEYS_ONE 1

/**
 * Which keys a kvs_left_out is about: some, or none, of those from low (included) to high (excluded). NULL is an end that is not known.
 */
#define KVS_KEYS_BETWEEN 2

/**
 * Puts and deletes to be applied in order, atomically. For one thread at a time; it may move between threads. A
 * second thread that comes at the same moment gets KVS_E_CONCURRENT. Belongs to no database: kvs_write says which.
 */
typedef struct kvs_batch kvs_batch;

/**
 * An open database. Any number of threads may use it at once, for every call that takes one.
 */
typedef struct kvs_db kvs_db;

/**
 * What went wrong, in detail: made by a call that fails and was given a place for it (the last parameter, err). The caller
 * owns it and frees it with kvs_error_free. Any thread may use it, several at once.
 */
typedef struct kvs_error kvs_error;

/**
 * A cursor over the keys of a range, in order of their bytes, as they were when it was made. For one thread at a time; it may
 * move between threads. A second thread that comes at the same moment gets KVS_E_CONCURRENT.
 */
typedef struct kvs_iter kvs_iter;

/**
 * How a database is opened. Any thread may use it, several at once.
 */
typedef struct kvs_options kvs_options;

/**
 * A value where it lies: in the log, in a table or in the block cache. Any number of threads may use it at once. It stays as it was and
 * readable until it is freed, whatever is written, and after the database is closed and freed, too. Meanwhile the
 * file that it lies in is kept: copy what is needed for long.
 */
typedef struct kvs_pin kvs_pin;

/**
 * What kvs_repair did. Any number of threads may use it at once. Nothing in it changes until it is freed.
 */
typedef struct kvs_report kvs_report;

/**
 * The values of many keys, as of one moment. Any number of threads may use it at once. The values are pinned as by
 * kvs_get_pinned: readable until it is freed, whatever happens to the database.
 */
typedef struct kvs_results kvs_results;

/**
 * The database as it was when the snapshot was made, whatever is written since. Any number of threads may use it at once.
 * While it lives, the space of what was overwritten since cannot be used again.
 */
typedef struct kvs_snapshot kvs_snapshot;

/**
 * What a call came to: 0 is success, a positive number an ordinary outcome, a negative one an error.
 */
typedef int32_t kvs_status;

/**
 * Hears of a database's events: what it opens, flushes, merges and closes, when writes have to wait, and above all what goes wrong. level is
 * KVS_LOG_INFO, KVS_LOG_WARNING or KVS_LOG_ERROR; message is one line for people, borrowed until the hook returns, message_len bytes and then
 * a NUL. Called on the database's own thread, or on one that opens or closes it, with no lock held, one event at a time for each
 * database. It must not longjmp or throw, and should be quick: of a slow hook's events some are lost, which it is told. Inside of it reads
 * work; what may wait (writes, kvs_flush, kvs_close and the like) gives KVS_E_REENTRANT, and kvs_free_db does nothing.
 */
typedef void (*kvs_log_fn)(void *ctx, int32_t level, const char *message, size_t message_len);

/**
 * Lets go of what a hook was given.
 */
typedef void (*kvs_free_fn)(void *ctx);

/**
 * A database's numbers at one moment. Counters begin at each open; the rest is what is there now. Later versions add fields at the
 * end and change none: see kvs_get_stats.
 */
typedef struct {
    /**
     * Records written: puts and deletes, alone or in batches.
     */
    uint64_t writes;
    /**
     * Commits: single writes and batches.
     */
    uint64_t commits;
    /**
     * Bytes of keys and values written.
     */
    uint64_t user_bytes_written;
    /**
     * Bytes of frames written to the log.
     */
    uint64_t log_bytes_written;
    /**
     * Bytes of tables written by flushes.
     */
    uint64_t flush_bytes_written;
    /**
     * Bytes of tables written by merges.
     */
    uint64_t merge_bytes_written;
    /**
     * Bytes of records read by merges.
     */
    uint64_t merge_bytes_read;
    /**
     * fdatasyncs of log segments.
     */
    uint64_t syncs;
    /**
     * Segments taken into use.
     */
    uint64_t rotations;
    /**
     * Segments that were made of the file of an earlier one.
     */
    uint64_t segments_refilled;
    /**
     * Flushes.
     */
    uint64_t flushes;
    /**
     * Merges that came to their end.
     */
    uint64_t merges;
    /**
     * Steps of merges: one table each.
     */
    uint64_t merge_steps;
    /**
     * Tables that were written over the file of an earlier one.
     */
    uint64_t tables_written_over;
    /**
     * Writes that had to wait for a flush.
     */
    uint64_t stalls;
    /**
     * How long they waited, in nanoseconds.
     */
    uint64_t stall_nanos;
    /**
     * Writes that were slowed down because the log filled faster than it was flushed.
     */
    uint64_t delays;
    /**
     * How long they were, in nanoseconds.
     */
    uint64_t delay_nanos;
    /**
     * Iterators made.
     */
    uint64_t iterators;
    /**
     * Records that iterators stepped over: older versions, tombstones, and what range deletes hide. Told by an iterator now and
     * then, and when it ends.
     */
    uint64_t records_skipped;
    /**
     * The newest write that readers see.
     */
    uint64_t visible_seq;
    /**
     * The newest write known to survive power loss.
     */
    uint64_t durable_seq;
    /**
     * The newest write that is in tables.
     */
    uint64_t flushed_seq;
    /**
     * Distinct keys in the point index, deleted ones included.
     */
    uint64_t index_keys;
    /**
     * Tables of which the point index has every key.
     */
    uint64_t covered_tables;
    /**
     * Live snapshots.
     */
    uint64_t snapshots;
    /**
     * The sequence number of the oldest live snapshot; 0 if there is none.
     */
    uint64_t oldest_snapshot_seq;
    /**
     * How long ago the oldest live snapshot was made, in milliseconds; 0 if there is none.
     */
    uint64_t oldest_snapshot_age_millis;
    /**
     * Bytes of records that merges kept only for snapshots.
     */
    uint64_t snapshot_held_bytes;
    /**
     * Range deletes that may still hide something.
     */
    uint64_t range_deletes;
    /**
     * Log segments that are not in tables.
     */
    uint64_t segments;
    /**
     * Bytes of the log: published bytes of those segments.
     */
    uint64_t log_bytes;
    /**
     * Bytes that those segments' files occupy.
     */
    uint64_t log_bytes_allocated;
    /**
     * Runs of tables.
     */
    uint64_t runs;
    /**
     * Tables.
     */
    uint64_t tables;
    /**
     * Bytes of the tables' files.
     */
    uint64_t table_bytes;
    /**
     * Bytes in tables that a merge could give back: overwritten, deleted and merged-away records, and tombstones.
     */
    uint64_t dead_bytes;
    /**
     * Files that left the store and that a reader still holds.
     */
    uint64_t leaving_files;
    /**
     * Bytes of those.
     */
    uint64_t leaving_bytes;
    /**
     * Bytes of files that were tables and are kept to be written over.
     */
    uint64_t old_table_bytes;
    /**
     * Bytes of the file that keeps room for deletes, flushes and merges on a full disk.
     */
    uint64_t reserve_bytes;
    /**
     * Anonymous memory of the point index, in bytes.
     */
    uint64_t index_bytes;
    /**
     * Anonymous memory of the sorted order of segments, in bytes.
     */
    uint64_t order_bytes;
    /**
     * Anonymous memory of the tables' fences, in bytes.
     */
    uint64_t fence_bytes;
    /**
     * Memory of the block cache, in bytes.
     */
    uint64_t cache_bytes;
    /**
     * Blocks that were in the cache.
     */
    uint64_t cache_hits;
    /**
     * Blocks that were not.
     */
    uint64_t cache_misses;
    /**
     * 1 if writes are refused because of an earlier failure.
     */
    uint64_t poisoned;
    /**
     * 1 if merges have stopped because of damage.
     */
    uint64_t merges_stopped;
} kvs_stats;

/**
 * What kvs_verify looked at. Later versions add fields at the end.
 */
typedef struct {
    /**
     * Files read.
     */
    uint64_t files;
    /**
     * Records whose every byte was checked.
     */
    uint64_t records;
    /**
     * Bytes read.
     */
    uint64_t bytes;
} kvs_verified;

/**
 * What kvs_repair did, in numbers. Later versions add fields at the end.
 */
typedef struct {
    /**
     * Keys in the new database.
     */
    uint64_t keys;
    /**
     * Bytes of these keys and their values.
     */
    uint64_t bytes;
    /**
     * Files that were read.
     */
    uint64_t files;
    /**
     * How much was left out, for kvs_report_left_out. 0: the new database holds exactly what the old one held.
     */
    uint64_t left_out;
    /**
     * How many warnings there are, for kvs_report_warning: damage by which nothing was lost, and what else one should know.
     */
    uint64_t warnings;
} kvs_repaired;

/**
 * Something that is not in the new database although it may have been in the old one. The pointers are borrowed: valid until the report
 * is freed. Later versions add fields at the end.
 */
typedef struct {
    /**
     * The file that it was in: bytes of a path, then a NUL byte.
     */
    const char *file;
    /**
     * Its first byte there.
     */
    uint64_t from;
    /**
     * Behind its last byte.
     */
    uint64_t to;
    /**
     * Why, for people to read: UTF-8, then a NUL byte.
     */
    const char *why;
    /**
     * Which keys it may have changed: KVS_KEYS_UNKNOWN, KVS_KEYS_ONE or KVS_KEYS_BETWEEN.
     */
    uint64_t keys;
    /**
     * See keys; NULL if there is none.
     */
    const uint8_t *low;
    /**
     * Bytes of low.
     */
    size_t low_len;
    /**
     * See keys; NULL if there is none.
     */
    const uint8_t *high;
    /**
     * Bytes of high.
     */
    size_t high_len;
    /**
     * How many records it has; UINT64_MAX if that is not known.
     */
    uint64_t records;
    /**
     * The sequence number of its first write; 0 if that is not known.
     */
    uint64_t first_sequence;
    /**
     * The sequence number of its last write; 0 if that is not known.
     */
    uint64_t last_sequence;
} kvs_left_out;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version, such as "0.1.0". Static: valid for ever, never freed. Any thread.
 */
KVS_API const char *kvs_version(void);

/**
 * The library's version as a number: major * 1000000 + minor * 1000 + patch. Any thread.
 */
KVS_API uint32_t kvs_version_number(void);

/**
 * The library's KVS_ABI_VERSION. Any thread.
 */
KVS_API uint32_t kvs_abi_version(void);

/**
 * The name of a status, such as "KVS_E_IO"; for a number that is none, "unknown status". Never
 * NULL. Static: valid for ever, never freed. Any thread.
 */
KVS_API const char *kvs_status_name(kvs_status status);

/**
 * The status that the failed call returned. KVS_E_INVALID for NULL, KVS_E_BAD_HANDLE after kvs_error_free.
 */
KVS_API kvs_status kvs_error_code(const kvs_error *error);

/**
 * The operating system's error number (errno), or 0 if none is behind this.
 */
KVS_API int32_t kvs_error_os(const kvs_error *error);

/**
 * What failed, on which file, at which offset, for people to read: UTF-8 as far as paths are, ends in a NUL byte.
 * Never NULL. Borrowed: valid until kvs_error_free. The wording may change at any time.
 */
KVS_API
const char *kvs_error_message(const kvs_error *error);

/**
 * Frees an error and its message. NULL, or one that was freed before: nothing happens.
 */
KVS_API void kvs_error_free(kvs_error *error);

/**
 * Makes options, all at their defaults. The caller frees *out with kvs_options_free, at any time after kvs_open.
 * On failure *out is NULL.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_new(kvs_options **out);

/**
 * Sets an option, name and value as text; kvs_option_info lists them all. Sizes take a suffix k, m or g. Both strings are
 * copied. On failure (KVS_E_INVALID: no such option or value, the message lists what there is) nothing is changed.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set(kvs_options *options,
                           const char *name,
                           const char *value,
                           kvs_error **err);

/**
 * Sets the option create: 1, make the database if there is none (the default); 0, do not. KVS_E_INVALID for another number.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_create(kvs_options *options,
                                  uint32_t on,
                                  kvs_error **err);

/**
 * Sets the option read_only: 1, open without writing a byte, beside other readers but not beside a writer; 0, open to write
 * (the default). KVS_E_INVALID for another number.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_read_only(kvs_options *options,
                                     uint32_t on,
                                     kvs_error **err);

/**
 * Sets the option in_memory: 1, keep everything in memory and nothing on disk, the path of kvs_open is NULL then; 0, on disk
 * (the default). KVS_E_INVALID for another number.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_in_memory(kvs_options *options,
                                     uint32_t on,
                                     kvs_error **err);

/**
 * Sets the option durability, what a write without KVS_SYNC survives: KVS_DURABILITY_NONE, KVS_DURABILITY_PROCESS or
 * KVS_DURABILITY_SYNC. KVS_E_INVALID for another number.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_durability(kvs_options *options,
                                      uint32_t durability,
                                      kvs_error **err);

/**
 * Sets the option cache_bytes: bytes of the block cache, where tables are read by position.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_cache_bytes(kvs_options *options,
                                       uint64_t bytes,
                                       kvs_error **err);

/**
 * Sets the option memory_bytes_max: memory for segments, cache and point index, in bytes.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_memory_bytes_max(kvs_options *options,
                                            uint64_t bytes,
                                            kvs_error **err);

/**
 * Sets the option memtable_bytes_max: bytes of log that are not in tables yet; writes wait beyond. kvs_open refuses what is too
 * small.
 * Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_memtable_bytes_max(kvs_options *options,
                                              uint64_t bytes,
                                              kvs_error **err);

/**
 * Sets the log hook of databases that are opened with these options; a NULL log takes it away. ctx is handed to each call of it, and to
 * ctx_free, which may be NULL: that is called once, when neither these options nor a database that is open still have the hook, on
 * the thread that closes or frees the last of them. On failure it is not called, and nothing is changed. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_options_set_log(kvs_options *options,
                               kvs_log_fn log,
                               void *ctx,
                               kvs_free_fn ctx_free,
                               kvs_error **err);

/**
 * How many options there are, for kvs_option_info. Any thread.
 */
KVS_API size_t kvs_option_count(void);

/**
 * Describes option number i: its name, its default and one sentence, NUL-terminated. Static: valid for ever,
 * never freed. Any thread. KVS_E_INVALID if a pointer is NULL or i is kvs_option_count() or more.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_option_info(size_t i,
                           const char **name,
                           const char **default_value,
                           const char **doc);

/**
 * Frees options; databases opened with them are not concerned. NULL, or options freed before: nothing happens.
 */
KVS_API
void kvs_options_free(kvs_options *options);

/**
 * Opens the database in the directory path, and creates it if the options do not forbid that. The path is a string of bytes
 * (UTF-8 on Windows), copied. A NULL path with the option in_memory = "true" opens a database in memory.
 * options may be NULL: all defaults. They are copied and may be freed or changed afterwards.
 * The caller frees *out with kvs_free_db. On failure *out is NULL. Waits for recovery of what a crash left.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_open(const char *path,
                    const kvs_options *options,
                    kvs_db **out,
                    kvs_error **err);

/**
 * Closes the database: waits for running calls, makes everything durable, releases the files and the lock, and
 * reports what fails. The handle stays the caller's, to be freed with kvs_free_db. Afterwards every other call on the
 * database, its snapshots and its iterators returns KVS_E_CLOSED, except that what an iterator
 * stands on stays readable. Closing again does nothing and returns KVS_OK. Any thread, also beside running calls.
 */
KVS_API
kvs_status kvs_close(const kvs_db *db,
                     kvs_error **err);

/**
 * Frees the handle. If no snapshot or iterator of it is left, the database is closed now, otherwise when the last of
 * them is freed: they may be freed in any order. What closing reports is lost here; kvs_close tells.
 * NULL, or a database freed before, or inside of a log hook: nothing happens.
 */
KVS_API
void kvs_free_db(kvs_db *db);

/**
 * Sets a key to a value, both copied. Any bytes; a key of up to 64 KiB, a value of up to 1 GiB, both may be empty.
 * flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
 * May wait for the disk.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_put(const kvs_db *db,
                   const uint8_t *key,
                   size_t key_len,
                   const uint8_t *value,
                   size_t value_len,
                   uint32_t flags,
                   kvs_error **err);

/**
 * Removes a key. KVS_OK whether it was there or not. flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
 * May wait for the disk.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_delete(const kvs_db *db,
                      const uint8_t *key,
                      size_t key_len,
                      uint32_t flags,
                      kvs_error **err);

/**
 * Removes every key from start (included) to stop (excluded), whether there are any or not: one write, however many keys
 * those are. start NULL: from the first key; stop NULL: to the last; their lengths are 0 then. (non-NULL, 0) is the
 * empty key. If stop is not above start, nothing is removed. flags: 0, or KVS_SYNC and KVS_NO_WAIT. Any thread.
 * May wait for the disk.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_delete_range(const kvs_db *db,
                            const uint8_t *start,
                            size_t start_len,
                            const uint8_t *stop,
                            size_t stop_len,
                            uint32_t flags,
                            kvs_error **err);

/**
 * Copies the value of a key into the caller's buffer: nothing is allocated. snapshot may be NULL: the current
 * value; with a snapshot, db may be NULL. buffer may be NULL if capacity is 0.
 * *out_len is the value's length after KVS_OK, and after KVS_E_BUFFER, when the value is longer than
 * capacity and nothing was copied; otherwise it is untouched. KVS_NOT_FOUND if there is no such key. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_get_into(const kvs_db *db,
                        const kvs_snapshot *snapshot,
                        const uint8_t *key,
                        size_t key_len,
                        uint8_t *buffer,
                        size_t capacity,
                        size_t *out_len,
                        kvs_error **err);

/**
 * Copies the value of a key into a new buffer, which the caller frees with kvs_free (not with free).
 * snapshot may be NULL: the current value; with a snapshot, db may be NULL. *out is not NULL after KVS_OK, even if
 * the value is empty; it is NULL after anything else. *out_len is set on KVS_OK only. KVS_NOT_FOUND if there is no
 * such key. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_get(const kvs_db *db,
                   const kvs_snapshot *snapshot,
                   const uint8_t *key,
                   size_t key_len,
                   uint8_t **out,
                   size_t *out_len,
                   kvs_error **err);

/**
 * Frees a buffer that a call of this library made, such as kvs_get's. NULL: nothing happens. Unlike handles, a buffer is
 * memory: freeing it twice, or anything else with this, is undefined. Any thread.
 */
KVS_API
void kvs_free(void *buffer);

/**
 * Is there such a key? KVS_OK or KVS_NOT_FOUND. snapshot may be NULL: now; with a snapshot, db may be NULL. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_contains(const kvs_db *db,
                        const kvs_snapshot *snapshot,
                        const uint8_t *key,
                        size_t key_len,
                        kvs_error **err);

/**
 * Returns when every write that was acknowledged before the call would survive a power failure. flags: 0. Any
 * thread. Waits for the disk.
 */
KVS_API KVS_MUST_USE kvs_status kvs_sync(const kvs_db *db, uint32_t flags, kvs_error **err);

/**
 * Returns when every write that was acknowledged before the call is in tables, and so would survive a power failure.
 * The database does this by itself when there is enough to flush; for durability alone kvs_sync is cheaper. flags: 0.
 * Any thread. Waits for the disk.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_flush(const kvs_db *db,
                     uint32_t flags,
                     kvs_error **err);

/**
 * Flushes, and merges all tables with keys from start (included) to stop (excluded): what was overwritten or deleted there
 * gives its space back, but for what snapshots see. start NULL: from the first key; stop NULL: to the last; their lengths
 * are 0 then. (non-NULL, 0) is the empty key. The database merges by itself when there is need; this does all of it at
 * once, and waits. flags: 0. Any thread. Waits for the disk, perhaps for long.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_compact(const kvs_db *db,
                       const uint8_t *start,
                       size_t start_len,
                       const uint8_t *stop,
                       size_t stop_len,
                       uint32_t flags,
                       kvs_error **err);

/**
 * Interrupts the calls that run on the database now and take long: kvs_verify, kvs_compact, kvs_flush, and writes that wait for a flush.
 * They return KVS_E_INTERRUPTED as soon as they notice, and such a write was not done; what a merge has done by then stays
 * done. What does not wait, and what begins later, is not concerned: an interrupt that meets nothing does nothing. For Ctrl-C and
 * cancel buttons. Any thread, at once; not from a signal handler: let a thread wait for the signal.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_interrupt(const kvs_db *db,
                         kvs_error **err);

/**
 * Pins the value of a key: nothing is copied, whatever its size. snapshot may be NULL: the current value; with a
 * snapshot, db may be NULL. On KVS_OK *data (never NULL) and *data_len are the value, borrowed: valid until the
 * pin is freed. The caller frees *out with kvs_pin_free, before or after the database. KVS_NOT_FOUND if there is no such key.
 * After anything but KVS_OK *out is NULL, and *data and *data_len are untouched. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_get_pinned(const kvs_db *db,
                          const kvs_snapshot *snapshot,
                          const uint8_t *key,
                          size_t key_len,
                          kvs_pin **out,
                          const uint8_t **data,
                          size_t *data_len,
                          kvs_error **err);

/**
 * The value again: what kvs_get_pinned gave. Borrowed until the pin is freed. Any thread.
 */
KVS_API KVS_MUST_USE kvs_status kvs_pin_data(const kvs_pin *pin, const uint8_t **data, size_t *data_len);

/**
 * Frees a pin; what it lent is not to be touched any more. NULL, or a pin freed before: nothing happens.
 */
KVS_API void kvs_pin_free(kvs_pin *pin);

/**
 * Looks up many keys, all as of one moment. keys holds all of them, back to back: number i begins where number i - 1 ends, the first
 * at 0, and ends before the byte key_ends[i]; the last ends at keys_len. key_ends has count numbers. Up to 1048576 keys.
 * snapshot may be NULL: now; with a snapshot, db may be NULL. The caller frees *out with kvs_results_free, before or after
 * the database; kvs_results_get tells of each key. On failure *out is NULL. A missing key is no failure. KVS_E_INVALID: a key
 * ends before it begins, or behind keys_len, or the last one elsewhere. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_multi_get(const kvs_db *db,
                         const kvs_snapshot *snapshot,
                         const uint8_t *keys,
                         size_t keys_len,
                         const size_t *key_ends,
                         size_t count,
                         kvs_results **out,
                         kvs_error **err);

/**
 * How many keys were asked for; 0 for NULL and for what is freed or of another type. Any thread.
 */
KVS_API size_t kvs_results_count(const kvs_results *results);

/**
 * The value of key number i. KVS_OK: *data (never NULL) and *data_len are set, borrowed until the results are freed.
 * KVS_NOT_FOUND: there was no such key, nothing is set. KVS_E_INVALID if i is kvs_results_count() or more. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_results_get(const kvs_results *results,
                           size_t i,
                           const uint8_t **data,
                           size_t *data_len);

/**
 * Frees results; what they lent is not to be touched any more. NULL, or results freed before: nothing happens.
 */
KVS_API
void kvs_results_free(kvs_results *results);

/**
 * Sets the caller's struct: as much of it as the caller was compiled with. out_size is sizeof(kvs_stats): a program that was compiled with
 * an older header passes a smaller one and gets the fields that it knows; of a newer header, fields that the library does
 * not know become 0. KVS_E_INVALID if out_size is below 8. On failure nothing is set. Any thread. Not for every call in a hot loop: it
 * takes the lock of writers for a moment.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_get_stats(const kvs_db *db,
                         kvs_stats *out,
                         size_t out_size,
                         kvs_error **err);

/**
 * Something about the database as text, by name:
 *
 * "properties": these names, a line each; "stats": a line "name value" for each number of kvs_stats, and the three
 * amplifications; "stats.json": the same as one JSON object; "stats." and a name, such as "stats.tables": that number alone;
 * "path": the directory, empty in memory; "version": the library's version.
 *
 * *out is a new buffer, which the caller frees with kvs_free; a NUL byte stands behind its *out_len bytes. On failure *out is
 * NULL. KVS_E_INVALID: there is no such property, the message lists what there is. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_property(const kvs_db *db,
                        const char *name,
                        uint8_t **out,
                        size_t *out_len,
                        kvs_error **err);

/**
 * Reads every live byte of every file of the database and checks it against its checksum, beside everything else that goes on. KVS_OK:
 * all is good, and *out tells how much that was. KVS_E_CORRUPTION: the first damage that was met, the message names the
 * file and the offset; kvs_repair saves what is good. out_size is sizeof(kvs_verified), as for kvs_get_stats. flags: 0. Any thread.
 * Takes as long as reading all files does.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_verify(const kvs_db *db,
                      uint32_t flags,
                      kvs_verified *out,
                      size_t out_size,
                      kvs_error **err);

/**
 * Writes what is provably good of the damaged database in the directory path to a new one in the directory new_path, which must
 * not exist or be empty, and says what it left out. A value is kept if its checksums prove it and if nothing that is
 * lost may have been newer. The old directory is only read; nobody may have it open to write. options are those of the new database
 * and may be NULL: all defaults; in_memory must not be set. Afterwards the new database is verified, durable and closed.
 * The caller frees *out with kvs_report_free. On failure *out is NULL and there is no new database. KVS_OK does not mean that
 * nothing was lost: kvs_report_summary tells. Paths as for kvs_open. Any thread. Takes as long as reading all files twice does.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_repair(const char *path,
                      const char *new_path,
                      const kvs_options *options,
                      kvs_report **out,
                      kvs_error **err);

/**
 * The report in numbers. out_size is sizeof(kvs_repaired), as for kvs_get_stats. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_report_summary(const kvs_report *report,
                              kvs_repaired *out,
                              size_t out_size);

/**
 * All of the report for people to read, a line for each thing, then a NUL byte. Borrowed: valid until the report is freed. The
 * wording may change at any time. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_report_text(const kvs_report *report,
                           const char **text);

/**
 * What was left out, number i. out_size is sizeof(kvs_left_out), as for kvs_get_stats. KVS_E_INVALID if i is not below the left_out
 * of kvs_report_summary. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_report_left_out(const kvs_report *report,
                               size_t i,
                               kvs_left_out *out,
                               size_t out_size);

/**
 * Warning number i, for people to read, then a NUL byte. Borrowed: valid until the report is freed. KVS_E_INVALID if i is not below the
 * warnings of kvs_report_summary. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_report_warning(const kvs_report *report,
                              size_t i,
                              const char **text);

/**
 * Frees a report; what it lent is not to be touched any more. NULL, or a report freed before: nothing happens.
 */
KVS_API
void kvs_report_free(kvs_report *report);

/**
 * Makes an empty batch. The caller frees *out with kvs_batch_free. On failure *out is NULL.
 */
KVS_API KVS_MUST_USE kvs_status kvs_batch_new(kvs_batch **out);

/**
 * Adds a put; key and value are copied. KVS_E_TOO_LARGE, and the batch as it was, if the key, the value or the whole
 * batch (4 GiB) gets too large.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_batch_put(kvs_batch *batch,
                         const uint8_t *key,
                         size_t key_len,
                         const uint8_t *value,
                         size_t value_len);

/**
 * Adds a delete; the key is copied. KVS_E_TOO_LARGE as for kvs_batch_put.
 */
KVS_API KVS_MUST_USE kvs_status kvs_batch_delete(kvs_batch *batch, const uint8_t *key, size_t key_len);

/**
 * Adds a delete of every key from start (included) to stop (excluded), copied. What the batch itself put there before is
 * removed too, what it puts later is not. start NULL: from the first key; stop NULL: to the last; their lengths are 0
 * then. (non-NULL, 0) is the empty key. KVS_E_TOO_LARGE as for kvs_batch_put.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_batch_delete_range(kvs_batch *batch,
                                  const uint8_t *start,
                                  size_t start_len,
                                  const uint8_t *stop,
                                  size_t stop_len);

/**
 * Adds writes from their packed form, for languages in which one call is cheaper than many. One after the other, each is:
 *
 * 1 byte: KVS_PACKED_PUT, KVS_PACKED_DELETE, KVS_PACKED_DELETE_RANGE or KVS_PACKED_DELETE_FROM;
 * 4 bytes: the length of the key; 4 bytes: the length of the value, both little-endian; the key; the value.
 *
 * Nothing is aligned. All of it is added, or nothing: KVS_E_INVALID (the error says at which byte) if it is not of this form,
 * KVS_E_TOO_LARGE as for kvs_batch_put. Up to 4 GiB in one call. Copied.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_batch_append_packed(kvs_batch *batch,
                                   const uint8_t *writes,
                                   size_t writes_len,
                                   kvs_error **err);

/**
 * How many bytes of keys and values the batch holds; 0 if it is NULL, freed or in use by another thread.
 */
KVS_API size_t kvs_batch_bytes(const kvs_batch *batch);

/**
 * How many writes the batch holds; 0 if it is NULL, freed or in use by another thread.
 */
KVS_API size_t kvs_batch_count(const kvs_batch *batch);

/**
 * Empties the batch; it keeps its memory for what comes.
 */
KVS_API kvs_status kvs_batch_clear(kvs_batch *batch);

/**
 * Applies the batch to a database: all of it or, on failure, nothing. The batch stays as it is, to be written
 * again, cleared or freed. flags: 0, or KVS_SYNC and KVS_NO_WAIT. May wait for the disk.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_write(const kvs_db *db,
                     kvs_batch *batch,
                     uint32_t flags,
                     kvs_error **err);

/**
 * Frees a batch, after waiting for a call that uses it. NULL, or a batch freed before: nothing happens.
 */
KVS_API void kvs_batch_free(kvs_batch *batch);

/**
 * Makes a snapshot of now. The caller frees *out with kvs_snapshot_free, before or after the
 * database. On failure *out is NULL. Any thread.
 */
KVS_API KVS_MUST_USE kvs_status kvs_snapshot_new(const kvs_db *db, kvs_snapshot **out, kvs_error **err);

/**
 * The number of the last write that the snapshot sees; writes are numbered from 1 in the order in which they became visible, each
 * put and each delete of a batch by itself. Any thread.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_snapshot_sequence(const kvs_snapshot *snapshot,
                                 uint64_t *out,
                                 kvs_error **err);

/**
 * Frees a snapshot; iterators made from it go on. NULL, or a snapshot freed before: nothing happens.
 */
KVS_API void kvs_snapshot_free(kvs_snapshot *snapshot);

/**
 * Makes an iterator over the keys from low (included) to high (excluded). A bound (NULL, 0) is none; (non-NULL, 0) is the
 * empty key. If high is not above low, the range is empty. The bounds are copied. snapshot may be NULL: the iterator sees
 * the database as it is now; with a snapshot, db may be NULL, and the snapshot may be freed before the iterator.
 * It stands before the first entry: move it before kvs_iter_item. flags: 0. The caller frees *out with
 * kvs_iter_free, before or after the database. On failure *out is NULL.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_new(const kvs_db *db,
                        const kvs_snapshot *snapshot,
                        const uint8_t *low,
                        size_t low_len,
                        const uint8_t *high,
                        size_t high_len,
                        uint32_t flags,
                        kvs_iter **out,
                        kvs_error **err);

/**
 * Makes an iterator over the keys that begin with prefix; of an empty prefix, over all. Copied. Otherwise as kvs_iter_new.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_new_prefix(const kvs_db *db,
                               const kvs_snapshot *snapshot,
                               const uint8_t *prefix,
                               size_t prefix_len,
                               uint32_t flags,
                               kvs_iter **out,
                               kvs_error **err);

/**
 * Moves to the first entry of the range. KVS_OK, or KVS_END if there is none.
 */
KVS_API KVS_MUST_USE kvs_status kvs_iter_first(kvs_iter *iter, kvs_error **err);

/**
 * Moves to the last entry of the range. KVS_OK, or KVS_END if there is none.
 */
KVS_API KVS_MUST_USE kvs_status kvs_iter_last(kvs_iter *iter, kvs_error **err);

/**
 * Moves to the next entry. From a new iterator, and from before the first entry: to the first. KVS_OK, or KVS_END
 * behind the last, where it stays.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_next(kvs_iter *iter,
                         kvs_error **err);

/**
 * Moves to the previous entry. From a new iterator, and from behind the last entry: to the last. KVS_OK, or KVS_END
 * before the first, where it stays.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_prev(kvs_iter *iter,
                         kvs_error **err);

/**
 * Moves to the first entry of the range whose key is not below the given one. KVS_OK, or KVS_END if there is none.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_seek(kvs_iter *iter,
                         const uint8_t *key,
                         size_t key_len,
                         kvs_error **err);

/**
 * Moves to the last entry of the range whose key is not above the given one. KVS_OK, or KVS_END if there is none.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_seek_for_prev(kvs_iter *iter,
                                  const uint8_t *key,
                                  size_t key_len,
                                  kvs_error **err);

/**
 * The entry that the iterator stands on. Key and value are borrowed: valid until the iterator is moved or
 * freed, whatever happens to the database. KVS_END, and nothing set, if it stands on none. The four pointers must not be NULL.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_item(const kvs_iter *iter,
                         const uint8_t **key,
                         size_t *key_len,
                         const uint8_t **value,
                         size_t *value_len);

/**
 * Puts the entry that the iterator stands on, and those that follow, into the caller's buffer, as many as fit: one call where a
 * foreign language would pay for many. If it stands on none it is moved first, as by kvs_iter_next. With the flag KVS_REVERSE
 * the direction is that of kvs_iter_prev. One after the other, each entry is:
 *
 * 4 bytes: the length of the key; 4 bytes: the length of the value, both little-endian; the key; the value.
 *
 * Nothing is aligned. Afterwards the iterator stands on the first entry that was not put, so that the next call goes on there: call
 * until KVS_END. KVS_OK: *items (1 to max_items) entries were put, *used bytes. KVS_END: there are no more, nothing was put.
 * KVS_E_BUFFER: not even one fits, nothing was put and *used is what it needs; *items is untouched. An error that is met
 * after some entries were put is told by the next call, if that is not a seek. max_items must not be 0.
 * buffer may be NULL if capacity is 0.
 */
KVS_API
KVS_MUST_USE
kvs_status kvs_iter_fill(kvs_iter *iter,
                         uint8_t *buffer,
                         size_t capacity,
                         size_t max_items,
                         uint32_t flags,
                         size_t *items,
                         size_t *used,
                         kvs_error **err);

/**
 * Frees an iterator, after waiting for a call that uses it. NULL, or an iterator freed before: nothing happens.
 */
KVS_API
void kvs_iter_free(kvs_iter *iter);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KVS_H */
