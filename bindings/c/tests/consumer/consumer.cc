/* The same in C++. argv[1]: where. */
#include <iostream>
#include <kvs.hpp>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    kvs::db db = kvs::db::open(argv[1]);
    db.put("apple", "red");
    std::cout << db.get("apple").value() << " " << kvs_version() << "\n";
    db.close();
}
