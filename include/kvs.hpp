/*
 * kvs for C++17: a thin, header-only layer over kvs.h.
 *
 * Ownership   Every type owns one handle, frees it in its destructor, and is moved, not copied. They may be destroyed in
 *             any order: see kvs.h. A moved-from object may be assigned to and destroyed; other calls throw.
 * Bytes       Keys and values go in as kvs::bytes, which is std::string_view: any bytes, also zeros. They are copied.
 * Lookups     A missing key is an empty std::optional, never an exception.
 * Errors      Members throw kvs::error, which carries the status, the operating system's number and the message. Those that
 *             end in _nothrow return a kvs::status_result or kvs::result<T> instead. Destructors never throw: to hear what
 *             closing reports call db::close().
 * Borrowed    What a cursor, a pin or results show is a view, valid until the cursor moves or the owner dies.
 * Threads     As in kvs.h: db, snapshot, options, pin and results may be used by any number of threads at once (but assigned to
 *             or destroyed by one that is alone); batch and cursor by one at a time.
 *
 * Needs libkvs, nothing else:  c++ -std=c++17 program.cc -lkvs
 *
 *     kvs::db db = kvs::db::open("/tmp/fruit");
 *     db.put("apple", "red");
 *     if (std::optional<std::string> colour = db.get("apple")) std::cout << *colour << "\n";
 *     for (auto [key, value] : db.prefix("a")) std::cout << key << " = " << value << "\n";
 */
#ifndef KVS_HPP
#define KVS_HPP

#include <kvs.h>

#if !defined(__cplusplus) || (__cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L))
#  error "kvs.hpp needs C++17; kvs.h works with C++11"
#endif

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kvs {

/** Any bytes: keys and values. Not NUL-terminated. */
using bytes = std::string_view;

/** What a call came to, and why if it failed: for callers without exceptions. */
class status_result {
  public:
    status_result() noexcept = default;

    /** The status, and the error object, which this takes over; NULL if there is none. */
    explicit status_result(kvs_status status, kvs_error *error = nullptr) noexcept : status_(status), error_(error) {}
    status_result(status_result &&other) noexcept
        : status_(other.status_), error_(std::exchange(other.error_, nullptr)) {}
    status_result &operator=(status_result &&other) noexcept {
        std::swap(status_, other.status_);
        std::swap(error_, other.error_);
        return *this;
    }
    ~status_result() { kvs_error_free(error_); }

    /** Not an error: KVS_OK, or an ordinary outcome such as KVS_NOT_FOUND. */
    explicit operator bool() const noexcept { return status_ >= 0; }
    /** The status. */
    kvs_status status() const noexcept { return status_; }
    /** The operating system's error number, or 0. */
    std::int32_t os_error() const noexcept { return error_ ? kvs_error_os(error_) : 0; }
    /** For people to read; the status's name if there is no more. Valid as long as this lives. */
    const char *message() const noexcept { return error_ ? kvs_error_message(error_) : kvs_status_name(status_); }

  private:
    kvs_status status_ = KVS_OK;
    kvs_error *error_ = nullptr;
};

/** What members throw. */
class error : public std::runtime_error {
  public:
    explicit error(const status_result &failed)
        : std::runtime_error(failed.message()), status_(failed.status()), os_(failed.os_error()) {}

    /** The status: KVS_E_CORRUPTION and so on. */
    kvs_status status() const noexcept { return status_; }
    /** The operating system's error number, or 0. */
    std::int32_t os_error() const noexcept { return os_; }

  private:
    kvs_status status_;
    std::int32_t os_;
};

/** A value, or why there is none: for callers without exceptions. */
template <typename T> class result {
  public:
    result(T &&value) : value_(std::move(value)) {}
    result(status_result &&failed) noexcept : failed_(std::move(failed)) {}

    /** Is there a value? */
    explicit operator bool() const noexcept { return value_.has_value(); }
    /** The value; throws kvs::error if there is none. */
    T &value() & {
        if (!value_) throw error(failed_);
        return *value_;
    }
    /** The value, moved out; throws kvs::error if there is none. */
    T value() && { return std::move(value()); }
    /** The value; undefined if there is none. */
    T &operator*() noexcept { return *value_; }
    T *operator->() noexcept { return &*value_; }
    /** Why there is none; KVS_OK if there is one. */
    const status_result &failure() const noexcept { return failed_; }

  private:
    std::optional<T> value_;
    status_result failed_;
};

namespace detail {

inline const std::uint8_t *data(bytes b) noexcept {
    /* NULL would mean "no bound"; an empty key is one. */
    static const std::uint8_t empty = 0;
    return b.data() ? reinterpret_cast<const std::uint8_t *>(b.data()) : &empty;
}

inline bytes view(const std::uint8_t *data, std::size_t size) noexcept {
    return bytes(reinterpret_cast<const char *>(data), size);
}

/** Runs a call of kvs.h whose last parameter is an error object. */
template <typename Call> status_result run(Call &&call) noexcept {
    kvs_error *error = nullptr;
    kvs_status status = call(&error);
    return status_result(status, status < 0 ? error : nullptr);
}

inline kvs_status check(status_result &&done) {
    if (!done) throw error(done);
    return done.status();
}

inline kvs_status check(kvs_status status) { return check(status_result(status)); }

/** Owns one handle. Free is the type's own _free. */
template <typename T, void (*Free)(T *)> class handle {
  public:
    handle() noexcept = default;
    explicit handle(T *raw) noexcept : raw_(raw) {}
    handle(handle &&other) noexcept : raw_(other.release()) {}
    handle &operator=(handle &&other) noexcept {
        if (this != &other) {
            Free(raw_);
            raw_ = other.release();
        }
        return *this;
    }
    ~handle() { Free(raw_); }

    /** The handle, for calls of kvs.h; still owned here. */
    T *raw() const noexcept { return raw_; }
    /** Gives the handle away: the caller frees it. */
    T *release() noexcept { return std::exchange(raw_, nullptr); }
    /** Is there one? Not after a move. */
    explicit operator bool() const noexcept { return raw_ != nullptr; }

  private:
    T *raw_ = nullptr;
};

} // namespace detail

/** How a database is opened. */
class options : public detail::handle<kvs_options, kvs_options_free> {
  public:
    options() : handle(make()) {}

    /** Sets an option by name; see kvs_option_info for all of them. */
    options &set(const std::string &name, const std::string &value) & {
        detail::check(detail::run([&](kvs_error **e) { return kvs_options_set(raw(), name.c_str(), value.c_str(), e); }));
        return *this;
    }
    options &create(bool on) & { return typed(kvs_options_set_create, std::uint32_t(on)); }
    options &read_only(bool on) & { return typed(kvs_options_set_read_only, std::uint32_t(on)); }
    options &in_memory(bool on) & { return typed(kvs_options_set_in_memory, std::uint32_t(on)); }
    /** KVS_DURABILITY_NONE, _PROCESS or _SYNC. */
    options &durability(std::uint32_t durability) & { return typed(kvs_options_set_durability, durability); }
    options &cache_bytes(std::uint64_t size) & { return typed(kvs_options_set_cache_bytes, size); }
    options &memory_bytes_max(std::uint64_t size) & { return typed(kvs_options_set_memory_bytes_max, size); }
    options &memtable_bytes_max(std::uint64_t size) & { return typed(kvs_options_set_memtable_bytes_max, size); }

    /** Hears of events: the level, KVS_LOG_..., and one line. See kvs_log_fn; what it throws is swallowed. */
    options &log(std::function<void(std::int32_t, std::string_view)> hook) & {
        using owned = std::function<void(std::int32_t, std::string_view)>;
        auto tell = [](void *ctx, std::int32_t level, const char *message, std::size_t size) {
            try {
                (*static_cast<owned *>(ctx))(level, std::string_view(message, size));
            } catch (...) {
                /* It must not pass through the library. */
            }
        };
        auto free = [](void *ctx) { delete static_cast<owned *>(ctx); };
        auto ctx = std::make_unique<owned>(std::move(hook));
        detail::check(detail::run([&](kvs_error **e) { return kvs_options_set_log(raw(), tell, ctx.get(), free, e); }));
        /* Now it is the library's. */
        static_cast<void>(ctx.release());
        return *this;
    }

    /** One option: name, default and one sentence. */
    struct info {
        const char *name, *default_value, *doc;
    };
    /** Every option there is. */
    static std::vector<info> all() {
        std::vector<info> list(kvs_option_count());
        for (std::size_t i = 0; i < list.size(); i++) {
            detail::check(kvs_option_info(i, &list[i].name, &list[i].default_value, &list[i].doc));
        }
        return list;
    }

  private:
    static kvs_options *make() {
        kvs_options *made;
        detail::check(kvs_options_new(&made));
        return made;
    }
    template <typename Setter, typename Value> options &typed(Setter setter, Value value) & {
        detail::check(detail::run([&](kvs_error **e) { return setter(raw(), value, e); }));
        return *this;
    }
};

/** Writes that become visible, and survive, together or not at all. */
class batch : public detail::handle<kvs_batch, kvs_batch_free> {
  public:
    batch() : handle(make()) {}

    batch &put(bytes key, bytes value) & {
        detail::check(kvs_batch_put(raw(), detail::data(key), key.size(), detail::data(value), value.size()));
        return *this;
    }
    batch &erase(bytes key) & {
        detail::check(kvs_batch_delete(raw(), detail::data(key), key.size()));
        return *this;
    }
    /** Every key from start (included) to stop (excluded); without one of them, from the first or to the last. */
    batch &erase_range(std::optional<bytes> start, std::optional<bytes> stop) & {
        detail::check(kvs_batch_delete_range(raw(), start ? detail::data(*start) : nullptr, start ? start->size() : 0,
                                             stop ? detail::data(*stop) : nullptr, stop ? stop->size() : 0));
        return *this;
    }
    /** Writes in the packed form of kvs_batch_append_packed. */
    batch &append_packed(bytes writes) & {
        detail::check(detail::run([&](kvs_error **e) {
            return kvs_batch_append_packed(raw(), detail::data(writes), writes.size(), e);
        }));
        return *this;
    }
    void clear() { detail::check(kvs_batch_clear(raw())); }
    /** How many writes it holds. */
    std::size_t size() const noexcept { return kvs_batch_count(raw()); }
    bool empty() const noexcept { return size() == 0; }
    /** Bytes of keys and values. */
    std::size_t byte_size() const noexcept { return kvs_batch_bytes(raw()); }

  private:
    static kvs_batch *make() {
        kvs_batch *made;
        detail::check(kvs_batch_new(&made));
        return made;
    }
};

/** A value where it lies, without a copy: readable until this dies, whatever happens to the database. */
class pin : public detail::handle<kvs_pin, kvs_pin_free> {
  public:
    pin(kvs_pin *raw, bytes value) noexcept : handle(raw), value_(value) {}

    /** The value. */
    bytes view() const noexcept { return *this ? value_ : bytes(); }
    const char *data() const noexcept { return view().data(); }
    std::size_t size() const noexcept { return view().size(); }
    operator bytes() const noexcept { return view(); }

  private:
    bytes value_;
};

/** The values of many keys, as of one moment, without copies. */
class results : public detail::handle<kvs_results, kvs_results_free> {
  public:
    using handle::handle;

    std::size_t size() const noexcept { return kvs_results_count(raw()); }
    /** The value of key number i, as long as this lives; nothing if there was no such key. */
    std::optional<bytes> operator[](std::size_t i) const {
        const std::uint8_t *data;
        std::size_t size;
        if (detail::check(kvs_results_get(raw(), i, &data, &size)) == KVS_NOT_FOUND) return std::nullopt;
        return detail::view(data, size);
    }
};

/** Key and value of an entry: views, valid until the cursor moves. */
struct entry {
    bytes key, value;
};

/**
 * A cursor over the keys of a range, in order, as they were when it was made. As a range of entries it goes from its first entry to its
 * last: `for (auto [key, value] : db.all())`. Moves say whether there is an entry.
 */
class cursor : public detail::handle<kvs_iter, kvs_iter_free> {
  public:
    using handle::handle;

    bool first() { return moved(kvs_iter_first); }
    bool last() { return moved(kvs_iter_last); }
    bool next() { return moved(kvs_iter_next); }
    bool prev() { return moved(kvs_iter_prev); }
    /** To the first entry that is not below key. */
    bool seek(bytes key) { return sought(kvs_iter_seek, key); }
    /** To the last entry that is not above key. */
    bool seek_for_prev(bytes key) { return sought(kvs_iter_seek_for_prev, key); }
    /** To the next entry, without exceptions: KVS_OK, KVS_END or an error. */
    status_result next_nothrow() noexcept {
        return detail::run([&](kvs_error **e) { return kvs_iter_next(raw(), e); });
    }

    /** What it stands on, until the next move; nothing before the first and behind the last. */
    std::optional<entry> item() const {
        const std::uint8_t *k, *v;
        std::size_t kn, vn;
        if (detail::check(kvs_iter_item(raw(), &k, &kn, &v, &vn)) == KVS_END) return std::nullopt;
        return entry{detail::view(k, kn), detail::view(v, vn)};
    }

    /** For range-for: a single pass. */
    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = entry;
        using difference_type = std::ptrdiff_t;
        using pointer = const entry *;
        using reference = const entry &;

        iterator() noexcept = default;
        reference operator*() const noexcept { return *at_; }
        pointer operator->() const noexcept { return &*at_; }
        iterator &operator++() {
            cursor_->next();
            at_ = cursor_->item();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return at_.has_value() == other.at_.has_value(); }
        bool operator!=(const iterator &other) const noexcept { return !(*this == other); }

      private:
        friend class cursor;
        explicit iterator(cursor *cursor) : cursor_(cursor), at_(cursor->item()) {}
        cursor *cursor_ = nullptr;
        std::optional<entry> at_;
    };

    iterator begin() {
        first();
        return iterator(this);
    }
    iterator end() noexcept { return iterator(); }

  private:
    template <typename Move> bool moved(Move move) {
        return detail::check(detail::run([&](kvs_error **e) { return move(raw(), e); })) == KVS_OK;
    }
    template <typename Seek> bool sought(Seek move, bytes key) {
        return detail::check(detail::run([&](kvs_error **e) {
                   return move(raw(), detail::data(key), key.size(), e);
               })) == KVS_OK;
    }
};

namespace detail {

/** What can be read from, a database or a snapshot: Derived says which two handles the calls get. */
template <typename Derived> class reader {
  public:
    /** A copy of the value. */
    std::optional<std::string> get(bytes key) const {
        std::optional<kvs::pin> pinned = get_pinned(key);
        if (!pinned) return std::nullopt;
        return std::string(pinned->view());
    }
    /** The value without a copy. */
    std::optional<kvs::pin> get_pinned(bytes key) const { return get_pinned_nothrow(key).value(); }
    result<std::optional<kvs::pin>> get_pinned_nothrow(bytes key) const noexcept {
        kvs_pin *pin;
        const std::uint8_t *at = nullptr;
        std::size_t size = 0;
        status_result done = run([&](kvs_error **e) {
            return kvs_get_pinned(of_db(), of_snapshot(), detail::data(key), key.size(), &pin, &at, &size, e);
        });
        if (!done) return done;
        if (done.status() == KVS_NOT_FOUND) return std::optional<kvs::pin>();
        return std::optional<kvs::pin>(std::in_place, pin, view(at, size));
    }
    /**
     * Copies the value into a buffer of the caller. Its size, which may be above capacity: then nothing was copied.
     * Nothing if there is no such key. Allocates nothing.
     */
    std::optional<std::size_t> get_into(bytes key, void *buffer, std::size_t capacity) const {
        std::size_t size = 0;
        /* No error object for the outcome that is ordinary here. */
        kvs_status status = kvs_get_into(of_db(), of_snapshot(), detail::data(key), key.size(),
                                         static_cast<std::uint8_t *>(buffer), capacity, &size, nullptr);
        if (status == KVS_NOT_FOUND) return std::nullopt;
        if (status != KVS_E_BUFFER) check(status);
        return size;
    }
    bool contains(bytes key) const {
        return check(run([&](kvs_error **e) {
                   return kvs_contains(of_db(), of_snapshot(), detail::data(key), key.size(), e);
               })) == KVS_OK;
    }
    /** The values of many keys, as of one moment. Keys is any range of what converts to kvs::bytes. */
    template <typename Keys> results get_many(const Keys &keys) const {
        std::string all;
        std::vector<std::size_t> ends;
        for (const auto &key : keys) {
            all.append(bytes(key));
            ends.push_back(all.size());
        }
        kvs_results *made;
        check(run([&](kvs_error **e) {
            return kvs_multi_get(of_db(), of_snapshot(), detail::data(all), all.size(), ends.data(), ends.size(), &made, e);
        }));
        return results(made);
    }
    /** All keys. */
    cursor all() const { return range(std::nullopt, std::nullopt); }
    /** The keys from low (included) to high (excluded); without one of them, from the first or to the last. */
    cursor range(std::optional<bytes> low, std::optional<bytes> high) const {
        kvs_iter *made;
        check(run([&](kvs_error **e) {
            return kvs_iter_new(of_db(), of_snapshot(), low ? detail::data(*low) : nullptr, low ? low->size() : 0,
                                high ? detail::data(*high) : nullptr, high ? high->size() : 0, 0, &made, e);
        }));
        return cursor(made);
    }
    /** The keys that begin so. */
    cursor prefix(bytes start) const {
        kvs_iter *made;
        check(run([&](kvs_error **e) {
            return kvs_iter_new_prefix(of_db(), of_snapshot(), detail::data(start), start.size(), 0, &made, e);
        }));
        return cursor(made);
    }

  private:
    const kvs_db *of_db() const noexcept { return static_cast<const Derived *>(this)->handles().first; }
    const kvs_snapshot *of_snapshot() const noexcept { return static_cast<const Derived *>(this)->handles().second; }
};

} // namespace detail

/** The database as it was at one moment. */
class snapshot : public detail::handle<kvs_snapshot, kvs_snapshot_free>, public detail::reader<snapshot> {
  public:
    using handle::handle;

    /** The number of the last write that it sees. */
    std::uint64_t sequence() const {
        std::uint64_t number;
        detail::check(detail::run([&](kvs_error **e) { return kvs_snapshot_sequence(raw(), &number, e); }));
        return number;
    }

  private:
    friend class detail::reader<snapshot>;
    std::pair<const kvs_db *, const kvs_snapshot *> handles() const noexcept { return {nullptr, raw()}; }
};

/** An open database. */
class db : public detail::handle<kvs_db, kvs_free_db>, public detail::reader<db> {
  public:
    using handle::handle;

    /** Opens the database in the directory path, and makes it if the options do not forbid that. */
    static db open(const std::string &path) { return open_nothrow(path.c_str(), nullptr).value(); }
    static db open(const std::string &path, const options &with) { return open_nothrow(path.c_str(), &with).value(); }
    /** A new database in memory. */
    static db in_memory() {
        options with;
        with.in_memory(true);
        return open_nothrow(nullptr, &with).value();
    }
    static result<db> open_nothrow(const char *path, const options *with = nullptr) noexcept {
        kvs_db *made;
        status_result done = detail::run([&](kvs_error **e) { return kvs_open(path, with ? with->raw() : nullptr, &made, e); });
        if (!done) return done;
        return db(made);
    }

    /** Closes it now and reports what fails; later calls throw KVS_E_CLOSED. The destructor closes, too, and is silent. */
    void close() { detail::check(close_nothrow()); }
    status_result close_nothrow() noexcept {
        return detail::run([&](kvs_error **e) { return kvs_close(raw(), e); });
    }

    /** flags: 0, or KVS_SYNC and KVS_NO_WAIT, as for all writes. */
    void put(bytes key, bytes value, std::uint32_t flags = 0) { detail::check(put_nothrow(key, value, flags)); }
    status_result put_nothrow(bytes key, bytes value, std::uint32_t flags = 0) noexcept {
        return detail::run([&](kvs_error **e) {
            return kvs_put(raw(), detail::data(key), key.size(), detail::data(value), value.size(), flags, e);
        });
    }
    void erase(bytes key, std::uint32_t flags = 0) { detail::check(erase_nothrow(key, flags)); }
    status_result erase_nothrow(bytes key, std::uint32_t flags = 0) noexcept {
        return detail::run([&](kvs_error **e) { return kvs_delete(raw(), detail::data(key), key.size(), flags, e); });
    }
    /** Every key from start (included) to stop (excluded); without one of them, from the first or to the last. */
    void erase_range(std::optional<bytes> start, std::optional<bytes> stop, std::uint32_t flags = 0) {
        detail::check(detail::run([&](kvs_error **e) {
            return kvs_delete_range(raw(), start ? detail::data(*start) : nullptr, start ? start->size() : 0,
                                    stop ? detail::data(*stop) : nullptr, stop ? stop->size() : 0, flags, e);
        }));
    }
    /** Applies all of the batch or nothing; the batch stays as it is. */
    void write(const batch &writes, std::uint32_t flags = 0) { detail::check(write_nothrow(writes, flags)); }
    status_result write_nothrow(const batch &writes, std::uint32_t flags = 0) noexcept {
        return detail::run([&](kvs_error **e) { return kvs_write(raw(), writes.raw(), flags, e); });
    }

    kvs::snapshot snapshot() const {
        kvs_snapshot *made;
        detail::check(detail::run([&](kvs_error **e) { return kvs_snapshot_new(raw(), &made, e); }));
        return kvs::snapshot(made);
    }

    void sync() {
        detail::check(detail::run([&](kvs_error **e) { return kvs_sync(raw(), 0, e); }));
    }
    void flush() {
        detail::check(detail::run([&](kvs_error **e) { return kvs_flush(raw(), 0, e); }));
    }
    void compact(std::optional<bytes> start = std::nullopt, std::optional<bytes> stop = std::nullopt) {
        detail::check(detail::run([&](kvs_error **e) {
            return kvs_compact(raw(), start ? detail::data(*start) : nullptr, start ? start->size() : 0,
                               stop ? detail::data(*stop) : nullptr, stop ? stop->size() : 0, 0, e);
        }));
    }
    /** Makes calls that run now and take long throw KVS_E_INTERRUPTED: see kvs_interrupt. From another thread. */
    void interrupt() const {
        detail::check(detail::run([&](kvs_error **e) { return kvs_interrupt(raw(), e); }));
    }
    /** Checks every byte; throws KVS_E_CORRUPTION at the first damage. */
    kvs_verified verify() const {
        kvs_verified seen;
        detail::check(detail::run([&](kvs_error **e) { return kvs_verify(raw(), 0, &seen, sizeof seen, e); }));
        return seen;
    }
    kvs_stats stats() const {
        kvs_stats numbers;
        detail::check(detail::run([&](kvs_error **e) { return kvs_get_stats(raw(), &numbers, sizeof numbers, e); }));
        return numbers;
    }
    /** As text, by name: see kvs_property. */
    std::string property(const std::string &name) const {
        std::uint8_t *text;
        std::size_t size;
        detail::check(detail::run([&](kvs_error **e) { return kvs_property(raw(), name.c_str(), &text, &size, e); }));
        struct freed {
            std::uint8_t *text;
            ~freed() { kvs_free(text); }
        } guard{text};
        return std::string(detail::view(text, size));
    }

  private:
    friend class detail::reader<db>;
    std::pair<const kvs_db *, const kvs_snapshot *> handles() const noexcept { return {raw(), nullptr}; }
};

/** What kvs::repair did. */
class report : public detail::handle<kvs_report, kvs_report_free> {
  public:
    using handle::handle;

    kvs_repaired summary() const {
        kvs_repaired numbers;
        detail::check(kvs_report_summary(raw(), &numbers, sizeof numbers));
        return numbers;
    }
    /** Number i of what was left out; its pointers are valid as long as this lives. */
    kvs_left_out left_out(std::size_t i) const {
        kvs_left_out out;
        detail::check(kvs_report_left_out(raw(), i, &out, sizeof out));
        return out;
    }
    const char *warning(std::size_t i) const {
        const char *text;
        detail::check(kvs_report_warning(raw(), i, &text));
        return text;
    }
    /** All of it for people to read, as long as this lives. */
    const char *text() const {
        const char *lines;
        detail::check(kvs_report_text(raw(), &lines));
        return lines;
    }
};

/** Writes what is provably good of a damaged database to a new one: see kvs_repair. */
inline report repair(const std::string &path, const std::string &new_path, const options *with = nullptr) {
    kvs_report *made;
    detail::check(detail::run([&](kvs_error **e) {
        return kvs_repair(path.c_str(), new_path.c_str(), with ? with->raw() : nullptr, &made, e);
    }));
    return report(made);
}

} // namespace kvs

#endif
