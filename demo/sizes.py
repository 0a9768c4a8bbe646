"""Prints how large a store's pairs are and how large its directory is.

python sizes.py DIR
"""

import pathlib
import sys

import kvs


def main(directory: pathlib.Path) -> None:
    pairs = contents = 0
    with kvs.open(directory, read_only=True) as db:
        for key, value in db.items():
            pairs += 1
            contents += len(key) + len(value)
    files = [file.stat() for file in directory.rglob("*") if file.is_file()]
    length = sum(file.st_size for file in files)
    taken = sum(file.st_blocks * 512 for file in files)
    print(f"{pairs} pairs, keys and values {contents} bytes")
    print(
        f"{len(files)} files, {length} bytes long, {taken} bytes on the disk: "
        f"{(length - contents) / pairs:.1f} bytes a pair beside keys and values"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
