"""Prints an inverted index of the project's documentation as JSON lines for `kvs load`.

    words.py ROOT

Key "word/<word>/<file below ROOT>", value the numbers of the lines that have the word, as JSON. So all that begins with
some letters is a prefix of keys, and each file's entry can be replaced on its own.
"""

import collections
import json
import pathlib
import re
import sys

PATTERNS = ["README.md", "docs/**/*.md", "bindings/*/README.md"]


def main(root: pathlib.Path) -> None:
    files = sorted(file for pattern in PATTERNS for file in root.glob(pattern))
    for file in files:
        lines = collections.defaultdict(list)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            for word in sorted(set(re.findall(r"[^\W_]+", line.lower()))):
                lines[word].append(number)
        name = file.relative_to(root).as_posix()
        for word, numbers in lines.items():
            print(json.dumps({"key": f"word/{word}/{name}", "value": json.dumps(numbers)}))
    print(f"the words of {len(files)} documents, and the lines where they are:", file=sys.stderr)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
