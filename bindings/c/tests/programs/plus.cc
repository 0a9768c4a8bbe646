/* include/kvs.hpp: everything it offers, by exception and without, and what ends when. argv[1]: an empty directory. */
#include <kvs.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);    \
            std::exit(1);                                                                   \
        }                                                                                   \
    } while (0)

/* The status that a call throws; KVS_OK if it does not. */
template <typename F> static kvs_status thrown(F &&f) {
    try {
        f();
    } catch (const kvs::error &e) {
        CHECK(std::string(e.what()).size() > 5);
        return e.status();
    }
    return KVS_OK;
}

static_assert(!std::is_copy_constructible_v<kvs::db> && std::is_nothrow_move_constructible_v<kvs::db>);
static_assert(!std::is_copy_constructible_v<kvs::snapshot> && std::is_nothrow_move_assignable_v<kvs::snapshot>);
static_assert(!std::is_copy_constructible_v<kvs::cursor> && std::is_nothrow_move_constructible_v<kvs::cursor>);
static_assert(!std::is_copy_constructible_v<kvs::batch> && std::is_nothrow_move_constructible_v<kvs::batch>);
static_assert(!std::is_copy_constructible_v<kvs::pin> && std::is_nothrow_move_constructible_v<kvs::pin>);
static_assert(!std::is_copy_constructible_v<kvs::results> && !std::is_copy_constructible_v<kvs::report>);
static_assert(sizeof(kvs::db) <= 2 * sizeof(void *) && sizeof(kvs::cursor) == sizeof(void *));
static_assert(std::is_same_v<std::iterator_traits<kvs::cursor::iterator>::value_type, kvs::entry>);

static std::string keys(kvs::cursor cursor) {
    std::string all;
    for (auto [key, value] : cursor) all.append(key).append(value.empty() ? "." : "");
    return all;
}

static void reads_and_writes() {
    kvs::db db = kvs::db::in_memory();
    const std::string zeros("a\0b", 3);
    db.put(zeros, "x");
    db.put("", "of the empty key", KVS_SYNC);
    db.put("empty", "");
    CHECK(db.get(zeros) == "x" && db.get("") == "of the empty key" && db.get("empty") == "" && !db.get("none"));
    CHECK(db.get(std::string_view()) == "of the empty key");
    CHECK(db.contains("empty") && !db.contains("none"));
    char buffer[8];
    CHECK(db.get_into(zeros, buffer, sizeof buffer) == 1u && buffer[0] == 'x');
    CHECK(db.get_into("", buffer, sizeof buffer) == 16u && buffer[0] == 'x');
    CHECK(!db.get_into("none", nullptr, 0));
    db.erase(zeros);
    db.erase("never there");
    CHECK(!db.contains(zeros));

    std::optional<kvs::pin> pinned = db.get_pinned("");
    CHECK(pinned && pinned->view() == "of the empty key" && pinned->size() == 16);
    kvs::pin moved = std::move(*pinned);
    CHECK(!*pinned && pinned->view().empty() && kvs::bytes(moved) == "of the empty key");
    CHECK(!db.get_pinned("none"));

    kvs::batch batch;
    batch.put("b", "1").put("c", "2").erase("empty").erase_range("c", "d").put("d", "3");
    CHECK(batch.size() == 5 && !batch.empty() && batch.byte_size() > 0);
    db.write(batch);
    db.write(batch, KVS_NO_WAIT);
    CHECK(keys(db.all()) == "bd");
    batch.clear();
    CHECK(batch.empty());
    batch.append_packed(kvs::bytes("\x01\x01\0\0\0\x01\0\0\0ev", 11));
    db.write(batch);
    CHECK(db.get("e") == "v" && thrown([&] { batch.append_packed("x"); }) == KVS_E_INVALID);

    CHECK(keys(db.range("b", "e")) == "bd" && keys(db.range("c", std::nullopt)) == "de");
    CHECK(keys(db.range(std::nullopt, "")) == "" && keys(db.prefix("d")) == "d");
    db.erase_range("c", std::nullopt);
    CHECK(keys(db.all()) == "b");
    db.erase_range(std::nullopt, std::nullopt);
    CHECK(keys(db.all()) == "");

    std::vector<std::string> many = {"k1", "k2", "", "k3"};
    db.put("k1", "v1");
    db.put("k3", "");
    kvs::results results = db.get_many(many);
    CHECK(results.size() == 4 && results[0] == "v1" && !results[1] && !results[2] && results[3] == "");
    CHECK(thrown([&] { (void)results[4]; }) == KVS_E_INVALID);
    CHECK(db.get_many(std::vector<const char *>()).size() == 0);
    db.close();
    /* What was lent stays, the database does not. */
    CHECK(results[0] == "v1" && moved.view() == "of the empty key");
    CHECK(thrown([&] { db.put("k", "v"); }) == KVS_E_CLOSED && thrown([&] { (void)db.get("k"); }) == KVS_E_CLOSED);
    CHECK(db.close_nothrow());
}

static void cursors_and_snapshots() {
    kvs::db db = kvs::db::in_memory();
    for (const char *key : {"a", "b", "c", "d"}) db.put(key, key);
    kvs::snapshot before = db.snapshot();
    CHECK(before.sequence() == 4);
    db.put("b", "new");
    db.erase("c");
    CHECK(before.get("b") == "b" && before.contains("c") && db.get("b") == "new");
    CHECK(keys(before.all()) == "abcd" && keys(db.all()) == "abd" && keys(before.prefix("c")) == "c");
    CHECK(before.get_many(std::vector<kvs::bytes>{"c"})[0] == "c" && before.get_pinned("b")->view() == "b");
    kvs::cursor cursor = before.range("b", "d");
    CHECK(!cursor.item() && cursor.last() && cursor.item()->key == "c" && cursor.prev() && !cursor.prev() && !cursor.item());
    CHECK(cursor.seek("bb") && cursor.item()->key == "c" && cursor.seek_for_prev("bb") && cursor.item()->value == "b");
    CHECK(cursor.next() && !cursor.next() && cursor.next_nothrow().status() == KVS_END);
    /* Twice over the same cursor, and with an algorithm. */
    CHECK(std::distance(cursor.begin(), cursor.end()) == 2 && std::distance(cursor.begin(), cursor.end()) == 2);
    CHECK(std::any_of(cursor.begin(), cursor.end(), [](const kvs::entry &e) { return e.key == "c"; }));
    /* In any order: the cursor outlives the snapshot and the database. */
    before = kvs::snapshot();
    CHECK(!before && thrown([&] { before.sequence(); }) == KVS_E_INVALID);
    db = kvs::db();
    CHECK(cursor.first() && cursor.item()->key == "b");
    kvs::cursor other = std::move(cursor);
    CHECK(!cursor && thrown([&] { cursor.next(); }) == KVS_E_INVALID && other.next());
}

static void errors(const std::string &directory) {
    kvs::options options;
    options.create(false).cache_bytes(1 << 20).memory_bytes_max(1 << 28).memtable_bytes_max(1 << 24);
    options.set("runs_max", "20").durability(KVS_DURABILITY_SYNC).read_only(false);
    CHECK(thrown([&] { options.set("colour", "red"); }) == KVS_E_INVALID);
    bool listed = false;
    for (const kvs::options::info &info : kvs::options::all()) listed |= std::string(info.name) == "runs_max" && *info.doc;
    CHECK(listed);
    try {
        kvs::db::open(directory + "/absent", options);
        CHECK(false);
    } catch (const std::exception &e) {
        CHECK(std::string(e.what()).find(directory + "/absent") != std::string::npos);
    }
    kvs::result<kvs::db> none = kvs::db::open_nothrow((directory + "/absent").c_str(), &options);
    CHECK(!none && none.failure().status() == KVS_E_NOT_A_DATABASE && thrown([&] { none.value(); }) == KVS_E_NOT_A_DATABASE);
    std::FILE *file = std::fopen((directory + "/file").c_str(), "w");
    CHECK(file && std::fclose(file) == 0);
    kvs::result<kvs::db> below = kvs::db::open_nothrow((directory + "/file/below").c_str());
    CHECK(!below && std::string(below.failure().message()).find("below") != std::string::npos);
    kvs::result<kvs::db> made = kvs::db::open_nothrow((directory + "/made").c_str());
    CHECK(made && made->put_nothrow("k", "v") && made.failure().status() == KVS_OK);
    kvs::db db = std::move(made).value();
    CHECK(db.get("k") == "v");
    const std::string large(1 << 17, 'k');
    kvs::status_result refused = db.put_nothrow(large, "v");
    CHECK(!refused && refused.status() == KVS_E_TOO_LARGE && refused.os_error() == 0);
    CHECK(std::string(refused.message()).find("key") != std::string::npos);
    kvs::status_result taken = std::move(refused);
    CHECK(taken.status() == KVS_E_TOO_LARGE && db.erase_nothrow("k") && !db.get_pinned_nothrow("k").value());
    CHECK(thrown([&] { kvs::db::open(directory + "/made"); }) == KVS_E_LOCKED);
}

static void upkeep(const std::string &directory) {
    kvs::db db = kvs::db::open(directory + "/upkeep");
    for (int i = 0; i < 1000; i++) db.put("key" + std::to_string(i), std::string(100, 'v'));
    db.sync();
    db.flush();
    db.compact("key1", "key2");
    db.compact();
    db.interrupt();
    CHECK(db.verify().records == 1000 && db.stats().tables == 1 && db.property("stats.tables") == "1");
    CHECK(thrown([&] { db.property("colour"); }) == KVS_E_INVALID);
    db = kvs::db();
    kvs::report report = kvs::repair(directory + "/upkeep", directory + "/repaired");
    CHECK(report.summary().keys == 1000 && report.summary().left_out == 0);
    CHECK(std::string(report.text()).find("kept: 1000 keys") == 0);
    CHECK(thrown([&] { report.left_out(0); }) == KVS_E_INVALID && thrown([&] { report.warning(0); }) == KVS_E_INVALID);
    CHECK(kvs::db::open(directory + "/repaired").contains("key999"));
    kvs::options options;
    CHECK(thrown([&] { kvs::repair(directory + "/none", directory + "/again", &options); }) == KVS_E_NOT_A_DATABASE);
}

static void events() {
    auto lines = std::make_shared<std::vector<std::string>>();
    {
        kvs::options options;
        options.in_memory(true).log([lines](std::int32_t level, std::string_view line) {
            CHECK(level == KVS_LOG_INFO);
            lines->emplace_back(line);
            throw std::runtime_error("swallowed");
        });
        kvs::result<kvs::db> db = kvs::db::open_nothrow(nullptr, &options);
        CHECK(db && lines->size() == 1 && lines.use_count() == 2);
    }
    CHECK(lines->size() == 2 && lines->back().find("closed") == 0 && lines.use_count() == 1);
}

static void threads() {
    kvs::db db = kvs::db::in_memory();
    std::vector<std::thread> all;
    for (int t = 0; t < 4; t++) {
        all.emplace_back([&db, t] {
            for (int i = 0; i < 1000; i++) {
                std::string key = std::to_string(t) + ":" + std::to_string(i);
                db.put(key, key);
                CHECK(db.get(key) == key);
            }
        });
    }
    for (std::thread &thread : all) thread.join();
    std::size_t count = 0;
    for (auto [key, value] : db.all()) count += key == value;
    CHECK(count == 4000);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    reads_and_writes();
    cursors_and_snapshots();
    errors(argv[1]);
    upkeep(argv[1]);
    events();
    threads();
    return 0;
}
