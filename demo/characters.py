"""Prints every named character that this Python knows as TSV for `kvs load`: key, tab, value.

The key is "char/" and the code point in six hexadecimal digits, enough for the last one, U+10FFFF. All have the same
length, so the order of the keys' bytes is the order of the code points, and a block of Unicode is a range of keys.
The value is JSON.
"""

import json
import sys
import unicodedata


def main() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        name = unicodedata.name(character, None)
        if name is None:
            continue
        value = json.dumps(
            {
                "name": name,
                "category": unicodedata.category(character),
                "bidirectional": unicodedata.bidirectional(character),
                "width": unicodedata.east_asian_width(character),
            }
        )
        # A backslash begins an escape in kvs's TSV.
        print(f"char/{code:06X}", value.replace("\\", "\\\\"), sep="\t")


if __name__ == "__main__":
    main()
