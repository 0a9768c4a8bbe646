/*
 * Plays the scripts of tests/scripts over kvs.hpp: tests/scripts/README.md has their form, and what each operation means. argv[1]: an
 * empty directory; argv[2]: the directory of the scripts; argv[3]: how many there must be at least.
 *
 * An operation gives words, or throws a kvs::error, whose status is its word. What is not understood is another exception, and
 * ends the program.
 */
#include <kvs.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <variant>

namespace fs = std::filesystem;

namespace {

struct bad_script : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/** Bytes that own their memory. Zeros that nobody wrote, perhaps a gigabyte of them, do not have to be there: hence calloc. */
class blob {
  public:
    blob() : blob(0) {}
    explicit blob(std::size_t size) : memory_(static_cast<char *>(std::calloc(size + 1, 1)), std::free), size_(size) {
        if (!memory_) throw std::bad_alloc();
    }
    explicit blob(kvs::bytes of) : blob(of.size()) { std::memcpy(memory_.get(), of.data(), of.size()); }
    char *data() { return memory_.get(); }
    kvs::bytes view() const { return kvs::bytes(memory_.get(), size_); }
    bool operator==(const blob &other) const { return view() == other.view(); }

  private:
    std::shared_ptr<char> memory_;
    std::size_t size_;
};

using name = std::string;
using pair = std::pair<blob, blob>;
using word = std::variant<name, blob, pair>;
using words = std::vector<word>;

std::string shown(const blob &b) {
    std::string text = "\"";
    for (char c : b.view().substr(0, 60)) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, c < ' ' || c > '~' ? "\\x%02x" : "%c", static_cast<unsigned char>(c));
        text += escaped;
    }
    return text + (b.view().size() > 60 ? "...\" (" + std::to_string(b.view().size()) + " bytes)" : "\"");
}

std::string shown(const words &all) {
    std::string text;
    for (const word &one : all) {
        if (const name *n = std::get_if<name>(&one)) text += *n;
        else if (const blob *b = std::get_if<blob>(&one)) text += shown(*b);
        else text += shown(std::get<pair>(one).first) + "=" + shown(std::get<pair>(one).second);
        text += ' ';
    }
    return text;
}

/** Reads the words of a line. */
class reader {
  public:
    explicit reader(std::string_view text) : text_(text) {}

    /** The next word; nothing at the end. */
    std::optional<word> next() {
        while (is_at(' ')) at_++;
        if (at_ == text_.size()) return std::nullopt;
        if (!is_at('"')) {
            std::size_t end = std::min(text_.find(' ', at_), text_.size());
            return word(name(text_.substr(std::exchange(at_, end), end - at_)));
        }
        blob first = bytes();
        word made = first;
        if (is_at('=')) {
            at_++;
            made = pair(first, bytes());
        }
        if (at_ < text_.size() && !is_at(' ')) throw bad_script("no space at " + rest());
        return made;
    }

  private:
    bool is_at(char c) const { return at_ < text_.size() && text_[at_] == c; }
    std::string rest() const { return std::string(text_.substr(at_, 40)); }
    char take() {
        if (at_ == text_.size()) throw bad_script("a text has no end");
        return text_[at_++];
    }

    int hex() {
        const char *digits = "0123456789abcdef", c = take();
        const char *found = c ? std::strchr(digits, c) : nullptr;
        if (!found) throw bad_script("no hexadecimal digit: " + std::string(1, c));
        return static_cast<int>(found - digits);
    }

    std::string quoted() {
        if (take() != '"') throw bad_script("no bytes before " + rest());
        std::string made;
        for (char c; (c = take()) != '"';) {
            if (c == '\\') {
                c = take();
                if (c == 'x') {
                    int high = hex();
                    c = static_cast<char>(high << 4 | hex());
                } else if (c != '"' && c != '\\') {
                    throw bad_script("no such escape before " + rest());
                }
            }
            made += c;
        }
        return made;
    }

    /** Pieces with "+" between them, each perhaps repeated. */
    blob bytes() {
        std::vector<std::pair<std::string, std::size_t>> pieces;
        std::size_t size = 0;
        do {
            std::string piece = quoted();
            std::size_t times = 1;
            if (is_at('*')) {
                std::size_t end = std::min(text_.find_first_not_of("0123456789", ++at_), text_.size());
                times = std::stoul(std::string(text_.substr(at_, end - at_)));
                at_ = end;
            }
            size += piece.size() * times;
            pieces.emplace_back(std::move(piece), times);
        } while (is_at('+') && ++at_);
        blob made(size);
        char *to = made.data();
        for (const auto &[piece, times] : pieces) {
            bool is_zeros = piece.find_first_not_of('\0') == piece.npos;
            for (std::size_t i = 0; !is_zeros && i < times; i++) std::memcpy(to + i * piece.size(), piece.data(), piece.size());
            to += piece.size() * times;
        }
        return made;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

/** What is left of an operation's words. */
class taking {
  public:
    explicit taking(const words &all) : all_(all) {}

    template <typename T> const T &take() {
        const T *found = at_ < all_.size() ? std::get_if<T>(&all_[at_]) : nullptr;
        if (!found) throw bad_script("another word is wanted as number " + std::to_string(at_ + 1));
        at_++;
        return *found;
    }
    kvs::bytes bytes() { return take<blob>().view(); }
    bool is_bytes() const { return at_ < all_.size() && std::holds_alternative<blob>(all_[at_]); }
    std::size_t number() {
        const name &digits = take<name>();
        if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) throw bad_script(digits + " is no number");
        return std::stoul(digits);
    }
    bool flag(const char *wanted) {
        const name *found = at_ < all_.size() ? std::get_if<name>(&all_[at_]) : nullptr;
        if (!found || *found != wanted) return false;
        at_++;
        return true;
    }
    bool is_end() const { return at_ == all_.size(); }
    void end() const {
        if (!is_end()) throw bad_script("word " + std::to_string(at_ + 1) + " is not understood");
    }

  private:
    const words &all_;
    std::size_t at_ = 0;
};

struct range {
    std::optional<kvs::bytes> low, high, prefix;
};

range bounds(taking &take) {
    range made;
    if (take.flag("from")) made.low = take.bytes();
    if (take.flag("to")) made.high = take.bytes();
    return made;
}

range range_of(taking &take) {
    if (!take.flag("prefix")) return bounds(take);
    range made;
    made.prefix = take.bytes();
    return made;
}

std::uint32_t sync_of(taking &take) {
    std::uint32_t flags = take.flag("sync") ? KVS_SYNC : 0;
    take.end();
    return flags;
}

/** One script, being played. */
class player {
  public:
    explicit player(fs::path directory) : directory_(std::move(directory)) {}

    words play(const std::string &operation, taking take) {
        if (operation == "open") return open(take);
        if (operation == "use") return use(take);
        if (operation == "close") return take.end(), db().close(), done();
        if (operation == "reopen") return reopen(take);
        if (operation == "put") return put(take);
        if (operation == "delete") return erase(take);
        if (operation == "delete-range") return erase_range(take);
        if (operation == "batch") return batch(take);
        if (operation == "fill") return fill(take);
        if (operation == "get") return get(take);
        if (operation == "contains") return contains(take);
        if (operation == "get-many") return get_many(take);
        if (operation == "scan") return scan(take);
        if (operation == "count") return count(take);
        if (operation == "snapshot") return snapshot(take);
        if (operation == "release") return release(take);
        if (operation == "cursor") return cursor(take);
        if (operation == "first") return move(take, [](kvs::cursor &c, taking &) { return c.first(); });
        if (operation == "last") return move(take, [](kvs::cursor &c, taking &) { return c.last(); });
        if (operation == "next") return move(take, [](kvs::cursor &c, taking &) { return c.next(); });
        if (operation == "prev") return move(take, [](kvs::cursor &c, taking &) { return c.prev(); });
        if (operation == "seek") return move(take, [](kvs::cursor &c, taking &t) { return c.seek(t.bytes()); });
        if (operation == "seek-for-prev") {
            return move(take, [](kvs::cursor &c, taking &t) { return c.seek_for_prev(t.bytes()); });
        }
        if (operation == "item") return move(take, [](kvs::cursor &c, taking &) { return c.item().has_value(); });
        if (operation == "drop") return cursors_.erase(find(cursors_, take)), take.end(), done();
        if (operation == "flush") return take.end(), db().flush(), done();
        if (operation == "sync") return take.end(), db().sync(), done();
        if (operation == "verify") return take.end(), db().verify(), done();
        if (operation == "compact") return compact(take);
        if (operation == "stat") return stat(take);
        if (operation == "write-file") return write_file(take);
        if (operation == "repair") return repair(take);
        throw bad_script("no such operation: " + operation);
    }

    /** Must say what they read. */
    static bool reads(const std::string &operation) {
        for (const char *one : {"get", "contains", "get-many", "scan", "count", "first", "last", "next", "prev", "seek",
                                "seek-for-prev", "item", "stat"}) {
            if (operation == one) return true;
        }
        return false;
    }

  private:
    struct store {
        std::string name, path;
        bool in_memory;
        kvs::db db;
    };

    static words done() { return {name("KVS_OK")}; }
    static words not_found() { return {name("KVS_NOT_FOUND")}; }

    kvs::db &db() {
        if (stores_.empty()) throw bad_script("no store is open");
        return stores_.at(current_).db;
    }

    template <typename T> static typename std::map<name, T>::iterator find(std::map<name, T> &of, taking &take) {
        auto found = of.find(take.take<name>());
        if (found == of.end()) throw bad_script("nothing has that name");
        return found;
    }

    words open_as(const name &own, const std::string &path, bool in_memory, taking &take) {
        kvs::options options;
        if (in_memory) options.in_memory(true);
        while (!take.is_end()) {
            const name &option = take.take<name>();
            std::size_t equals = option.find('=');
            if (equals == option.npos) throw bad_script(option + " is no option");
            options.set(option.substr(0, equals), option.substr(equals + 1));
        }
        kvs::db made = kvs::db::open_nothrow(in_memory ? nullptr : path.c_str(), &options).value();
        stores_.push_back(store{own, path, in_memory, std::move(made)});
        current_ = stores_.size() - 1;
        return done();
    }

    words open(taking &take) {
        const name &own = take.take<name>();
        fs::path path = directory_ / (take.flag("in") ? take.take<name>() : own);
        bool in_memory = take.flag("in-memory");
        return open_as(own, path.string(), in_memory, take);
    }

    words use(taking &take) {
        const name &own = take.take<name>();
        take.end();
        for (std::size_t i = stores_.size(); i--;) {
            if (stores_[i].name == own) return current_ = i, done();
        }
        throw bad_script("there is no store " + own);
    }

    words reopen(taking &take) {
        db().close();
        const store &old = stores_[current_];
        return open_as(name(old.name), std::string(old.path), old.in_memory, take);
    }

    words put(taking &take) {
        kvs::bytes key = take.bytes(), value = take.bytes();
        db().put(key, value, sync_of(take));
        return done();
    }

    words erase(taking &take) {
        kvs::bytes key = take.bytes();
        db().erase(key, sync_of(take));
        return done();
    }

    words erase_range(taking &take) {
        range r = bounds(take);
        db().erase_range(r.low, r.high, sync_of(take));
        return done();
    }

    words batch(taking &take) {
        kvs::batch writes;
        std::uint32_t flags = 0;
        while (!take.is_end() && !flags) {
            if (take.flag("put")) {
                kvs::bytes key = take.bytes();
                writes.put(key, take.bytes());
            } else if (take.flag("delete")) {
                writes.erase(take.bytes());
            } else if (take.flag("delete-range")) {
                range r = bounds(take);
                writes.erase_range(r.low, r.high);
            } else if (take.flag("sync")) {
                flags = KVS_SYNC;
            } else {
                throw bad_script("no such write");
            }
        }
        take.end();
        db().write(writes, flags);
        return done();
    }

    words fill(taking &take) {
        std::string prefix(take.bytes());
        std::size_t count = take.number();
        kvs::bytes value = take.bytes();
        take.end();
        kvs::batch writes;
        for (std::size_t i = 0; i < count; i++) {
            char digits[24];
            std::snprintf(digits, sizeof digits, "%06zu", i);
            writes.put(prefix + digits, value);
            if (writes.size() == 100 || i + 1 == count) {
                db().write(writes);
                writes.clear();
            }
        }
        return done();
    }

    /** Runs a read on the snapshot behind "at", or on the store. */
    template <typename Read> auto at(taking &take, Read &&read) {
        if (!take.flag("at")) return take.end(), read(db());
        auto found = find(snapshots_, take);
        take.end();
        return read(found->second);
    }

    words get(taking &take) {
        kvs::bytes key = take.bytes();
        std::optional<std::string> value = at(take, [&](auto &of) { return of.get(key); });
        return value ? words{blob(*value)} : not_found();
    }

    words contains(taking &take) {
        kvs::bytes key = take.bytes();
        return at(take, [&](auto &of) { return of.contains(key); }) ? done() : not_found();
    }

    words get_many(taking &take) {
        std::vector<kvs::bytes> keys;
        do keys.push_back(take.bytes());
        while (take.is_bytes());
        kvs::results found = at(take, [&](auto &of) { return of.get_many(keys); });
        if (found.size() != keys.size()) throw bad_script("a result for each key is wanted");
        words values;
        for (std::size_t i = 0; i < found.size(); i++) {
            if (std::optional<kvs::bytes> value = found[i]) values.emplace_back(blob(*value));
            else values.emplace_back(name("KVS_NOT_FOUND"));
        }
        return values;
    }

    template <typename Of> static kvs::cursor over(Of &of, const range &r) {
        if (r.prefix) return of.prefix(*r.prefix);
        return r.low || r.high ? of.range(r.low, r.high) : of.all();
    }

    words scanned(taking &take, const range &r, bool reverse, std::size_t limit) {
        kvs::cursor entries = at(take, [&](auto &of) { return over(of, r); });
        words found;
        if (reverse) {
            for (bool is_on = limit && entries.last(); is_on; is_on = entries.prev()) {
                found.emplace_back(pair(blob(entries.item()->key), blob(entries.item()->value)));
                if (found.size() == limit) break;
            }
            return found;
        }
        for (auto [key, value] : entries) {
            if (found.size() == limit) break;
            found.emplace_back(pair(blob(key), blob(value)));
        }
        return found;
    }

    words scan(taking &take) {
        range r = range_of(take);
        bool reverse = take.flag("reverse");
        std::size_t limit = take.flag("limit") ? take.number() : SIZE_MAX;
        words found = scanned(take, r, reverse, limit);
        return found.empty() ? words{name("KVS_END")} : found;
    }

    words count(taking &take) {
        range r = range_of(take);
        return {name(std::to_string(scanned(take, r, false, SIZE_MAX).size()))};
    }

    words snapshot(taking &take) {
        const name &own = take.take<name>();
        take.end();
        snapshots_.insert_or_assign(own, db().snapshot());
        return done();
    }

    words release(taking &take) {
        snapshots_.erase(find(snapshots_, take));
        take.end();
        return done();
    }

    words cursor(taking &take) {
        const name &own = take.take<name>();
        range r = range_of(take);
        cursors_.insert_or_assign(own, at(take, [&](auto &of) { return over(of, r); }));
        return done();
    }

    template <typename Move> words move(taking &take, Move &&by) {
        kvs::cursor &of = find(cursors_, take)->second;
        bool is_on = by(of, take);
        take.end();
        std::optional<kvs::entry> item = of.item();
        if (is_on != item.has_value()) throw bad_script("a move and the item say different things");
        return item ? words{pair(blob(item->key), blob(item->value))} : words{name("KVS_END")};
    }

    words compact(taking &take) {
        range r = bounds(take);
        take.end();
        db().compact(r.low, r.high);
        return done();
    }

    words stat(taking &take) {
        name number = "stats." + take.take<name>();
        take.end();
        return {name(db().property(number))};
    }

    words write_file(taking &take) {
        fs::path path = directory_ / take.take<name>();
        kvs::bytes data = take.bytes();
        take.end();
        fs::create_directories(path.parent_path());
        std::ofstream file(path, std::ios::binary);
        file.write(data.data(), static_cast<std::streamsize>(data.size()));
        if (!file.flush()) throw bad_script("cannot write " + path.string());
        return done();
    }

    words repair(taking &take) {
        fs::path path = directory_ / take.take<name>(), made = directory_ / take.take<name>();
        take.end();
        kvs::report report = kvs::repair(path.string(), made.string());
        if (!*report.text()) throw bad_script("an empty report");
        return done();
    }

    fs::path directory_;
    std::vector<store> stores_;
    std::size_t current_ = 0;
    std::map<name, kvs::snapshot> snapshots_;
    std::map<name, kvs::cursor> cursors_;
};

/** An operation and its line; lines that begin with spaces belong to the one before. */
std::vector<std::pair<unsigned, std::string>> operations(const fs::path &script) {
    std::ifstream file(script, std::ios::binary);
    std::vector<std::pair<unsigned, std::string>> made;
    unsigned number = 0;
    for (std::string line; std::getline(file, line);) {
        number++;
        if (number == 1 && (line.compare(0, 2, "# ") != 0 || line.size() < 3)) {
            throw bad_script("the first line says what the script promises");
        }
        if (line.find_first_not_of(' ') == line.npos || line[0] == '#') continue;
        if (line[0] != ' ') made.emplace_back(number, line);
        else if (made.empty()) throw bad_script("line " + std::to_string(number) + " belongs to no operation");
        else made.back().second += line;
    }
    if (!file.eof() || number == 0) throw bad_script("it cannot be read");
    return made;
}

void play_script(const fs::path &script, const fs::path &directory) {
    player plays(directory);
    bool has_expectation = false;
    for (const auto &[number, text] : operations(script)) {
        words given, expected;
        bool is_behind = false;
        reader line(text);
        while (std::optional<word> one = line.next()) {
            const name *arrow = std::get_if<name>(&*one);
            if (!is_behind && arrow && *arrow == "->") is_behind = true;
            else (is_behind ? expected : given).push_back(*one);
        }
        taking take(given);
        const name &operation = take.take<name>();
        std::string where = "line " + std::to_string(number) + ": ";
        if (is_behind && expected.empty()) throw bad_script(where + "nothing behind ->");
        if (!is_behind && player::reads(operation)) throw bad_script(where + operation + " without ->");
        has_expectation |= is_behind;
        if (!is_behind) expected.emplace_back(name("KVS_OK"));
        words got;
        try {
            got = plays.play(operation, take);
        } catch (const kvs::error &failed) {
            if (std::strlen(failed.what()) < 5) throw bad_script(where + "no message");
            got.emplace_back(name(kvs_status_name(failed.status())));
        } catch (const std::exception &other) {
            throw bad_script(where + other.what());
        }
        if (got != expected) {
            throw bad_script(where + shown(given) + "comes to\n  " + shown(got) + "\ninstead of\n  " + shown(expected));
        }
    }
    if (!has_expectation) throw bad_script("no expectation");
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    std::size_t count = 0;
    for (const fs::directory_entry &entry : fs::directory_iterator(argv[2])) {
        if (entry.path().extension() != ".txt") continue;
        try {
            fs::path directory = fs::path(argv[1]) / entry.path().filename();
            fs::create_directory(directory);
            play_script(entry.path(), directory);
        } catch (const std::exception &failed) {
            std::fprintf(stderr, "%s: %s\n", entry.path().filename().c_str(), failed.what());
            return 1;
        }
        count++;
    }
    if (count < std::stoul(argv[3])) {
        std::fprintf(stderr, "only %zu scripts\n", count);
        return 1;
    }
    std::printf("%zu scripts\n", count);
    return 0;
}
