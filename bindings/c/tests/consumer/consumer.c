/* Built against an installed kvs: the header's and the library's versions agree, and it stores. argv[1]: where. */
#include <kvs.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    kvs_db *db;
    uint8_t value[8];
    size_t length;
    if (argc != 2 || kvs_abi_version() != KVS_ABI_VERSION) return 2;
    if (kvs_version_number() != KVS_VERSION_MAJOR * 1000000 + KVS_VERSION_MINOR * 1000 + KVS_VERSION_PATCH) return 3;
    if (kvs_open(argv[1], NULL, &db, NULL) != KVS_OK) return 4;
    if (kvs_put(db, (const uint8_t *)"apple", 5, (const uint8_t *)"red", 3, 0, NULL) != KVS_OK) return 5;
    if (kvs_get_into(db, NULL, (const uint8_t *)"apple", 5, value, sizeof value, &length, NULL) != KVS_OK) return 6;
    if (kvs_close(db, NULL) != KVS_OK) return 7;
    kvs_free_db(db);
    printf("%.*s %s\n", (int)length, (const char *)value, kvs_version());
    return 0;
}
