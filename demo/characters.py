"""Prints every named character that this Python knows as TSV for `kvs load`: key, tab, value.

The key is "char/" and the code point in six hexadecimal digits, enough for the last one, U+10FFFF. All have the same
length, so the order of the keys' bytes is the order of the code points, and a block of Unicode is a range of keys.
The value is JSON.

They come in the order of their names, which is far from that of the keys: the store has to sort and merge.
"""

import json
import sys
import unicodedata


def main() -> None:
    names = ((unicodedata.name(chr(code), None), code) for code in range(sys.maxunicode + 1))
    for name, code in sorted((name, code) for name, code in names if name is not None):
        character = chr(code)
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
