/*
 * kvs: an embedded, ordered, durable, multi-version key-value engine.
 *
 * Rules that hold for every function; a function's own comment says what is special.
 *
 * Status      Functions return a kvs_status: KVS_OK, an ordinary outcome (positive) or an error (negative).
 * Errors      The last parameter err may be NULL. On failure *err becomes an error object, which the caller
 *             frees with kvs_error_free; what it held before is ignored. Otherwise *err is untouched.
 * Outputs     Out-parameters are set on success only, but out-handles and buffers are NULL on failure.
 * Inputs      Copied before the call returns. (pointer, length): the pointer may be NULL if the length is 0.
 *             Keys and values are any bytes.
 * Ownership   What _new and _open make, the caller frees with the type's own _free, in any order.
 *             Handles are values, not addresses: a freed, foreign or wrong one gives KVS_E_BAD_HANDLE, never
 *             undefined behaviour, and freeing it again does nothing. Only kvs_free takes real memory.
 * Threads     Any thread may call anything. kvs_db, kvs_snapshot, kvs_options, kvs_error: any number at once.
 *             kvs_iter, kvs_batch: one at a time, else KVS_E_CONCURRENT. No function is async-signal-safe.
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
 * The database as it was when the snapshot was made, whatever is written since. Any number of threads may use it at once.
 * While it lives, the space of what was overwritten since cannot be used again.
 */
typedef struct kvs_snapshot kvs_snapshot;

/**
 * What a call came to: 0 is success, a positive number an ordinary outcome, a negative one an error.
 */
typedef int32_t kvs_status;

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
 * NULL, or a database freed before: nothing happens.
 */
KVS_API
void kvs_free_db(kvs_db *db);

/**
 * Sets a key to a value, both copied. Any bytes; a key of up to 64 KiB, a value of up to 1 GiB, both may be empty.
 * flags: 0 or KVS_SYNC. Any thread. May wait for the disk.
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
 * Removes a key. KVS_OK whether it was there or not. flags: 0 or KVS_SYNC. Any thread. May wait for the disk.
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
 * empty key. If stop is not above start, nothing is removed. flags: 0 or KVS_SYNC. Any thread. May wait for the disk.
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
 * How many writes the batch holds; 0 if it is NULL, freed or in use by another thread.
 */
KVS_API size_t kvs_batch_count(const kvs_batch *batch);

/**
 * Empties the batch; it keeps its memory for what comes.
 */
KVS_API kvs_status kvs_batch_clear(kvs_batch *batch);

/**
 * Applies the batch to a database: all of it or, on failure, nothing. The batch stays as it is, to be written
 * again, cleared or freed. flags: 0 or KVS_SYNC. May wait for the disk.
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
 * Frees an iterator, after waiting for a call that uses it. NULL, or an iterator freed before: nothing happens.
 */
KVS_API
void kvs_iter_free(kvs_iter *iter);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KVS_H */
