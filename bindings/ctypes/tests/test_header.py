"""What kvs_ctypes declares is what include/kvs.h declares: every function with its arguments, every struct, every constant.

The header is read here; a function, a struct, a status or a type that is new in it fails these tests until the module knows it.
"""

import ctypes
import re
import unittest
from pathlib import Path
from typing import Any, Dict, List, Tuple

import kvs_ctypes as module

ROOT = Path(__file__).resolve().parents[3]
HEADER = (ROOT / "include" / "kvs.h").read_text()
CODE = re.sub(r"/\*.*?\*/", " ", HEADER, flags=re.S)

HANDLES = re.findall(r"typedef struct (kvs_\w+) kvs_\w+;", CODE)
# What stands in for each type of C. Bytes that go in are c_char_p, which takes bytes objects; what comes out are addresses.
TYPES: Dict[str, Any] = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "kvs_status": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "void *": ctypes.c_void_p,
    "const char *": ctypes.c_char_p,
    "const uint8_t *": ctypes.c_char_p,
    "uint8_t *": ctypes.c_void_p,
    "size_t *": ctypes.POINTER(ctypes.c_size_t),
    "const size_t *": ctypes.POINTER(ctypes.c_size_t),
    "uint64_t *": ctypes.POINTER(ctypes.c_uint64),
    "const char **": ctypes.POINTER(ctypes.c_char_p),
    "uint8_t **": ctypes.POINTER(ctypes.c_void_p),
    "const uint8_t **": ctypes.POINTER(ctypes.c_void_p),
    "kvs_log_fn": module.kvs_log_fn,
    "kvs_free_fn": module.kvs_free_fn,
}
for _handle in HANDLES:
    _type = getattr(module, _handle)
    TYPES["%s *" % _handle] = TYPES["const %s *" % _handle] = _type
    TYPES["%s **" % _handle] = ctypes.POINTER(_type)


def split(declaration: str) -> Tuple[str, str]:
    """`const kvs_db *db` -> (`const kvs_db *`, `db`)"""
    found = re.fullmatch(r"(.*?)(\w+)", " ".join(declaration.split()))
    assert found, declaration
    return found[1].strip(), found[2]


def structs() -> Dict[str, List[Tuple[str, str]]]:
    """Name to fields: types and names."""
    found = re.findall(r"typedef struct \{(.*?)\} (kvs_\w+);", CODE, flags=re.S)
    return {name: [split(field) for field in body.split(";") if field.strip()] for body, name in found}


def functions() -> Dict[str, Tuple[str, List[str]]]:
    """Name to the type that it returns and those that it takes."""
    made = {}
    code = "\n".join(line for line in CODE.split("\n") if not line.lstrip().startswith("#"))
    for item in re.findall(r"KVS_API\b([^;]*);", code):
        head, inside = re.fullmatch(r"(.*?)\((.*)\)\s*", item.replace("KVS_MUST_USE", " "), flags=re.S).groups()
        returns, name = split(head)
        takes = [split(parameter)[0] for parameter in inside.split(",") if parameter.strip() != "void"]
        made[name] = returns, takes
    return made


class Header(unittest.TestCase):
    def test_functions(self) -> None:
        """Each function, its result and each of its arguments."""
        declared = functions()
        listed = [line for line in (ROOT / "bindings/c/symbols.txt").read_text().split("\n") if line and line[0] != "#"]
        self.assertEqual(sorted(declared), listed)
        self.assertEqual(sorted(module.FUNCTIONS), sorted(declared))
        types = dict(TYPES, **{"%s *" % name: ctypes.POINTER(getattr(module, name)) for name in structs()})
        for name, (returns, takes) in declared.items():
            with self.subTest(name):
                own_returns, own_takes = module.FUNCTIONS[name]
                self.assertIs(own_returns, types[returns])
                self.assertEqual(len(own_takes), len(takes))
                for at, (own, c_type) in enumerate(zip(own_takes, takes), 1):
                    self.assertIs(own, types[c_type], "argument %d, %s" % (at, c_type))

    def test_every_function_is_used(self) -> None:
        """A user of the module reaches all of them without declaring anything; these two are there, and others serve better."""
        source = Path(module.__file__).read_text()
        used = set(re.findall(r"(?:lib|_lib|self)\.(kvs_\w+)", source))
        for prefix in ("create", "read_only", "in_memory", "cache_bytes", "memory_bytes_max", "memtable_bytes_max"):
            self.assertIn('"%s"' % prefix, source)
            used.add("kvs_options_set_" + prefix)
        self.assertEqual(set(module.FUNCTIONS) - used, {"kvs_get", "kvs_pin_data"})

    def test_structs(self) -> None:
        """Each struct, field by field in their order, and so their sizes."""
        fields = {"const char *": ctypes.c_char_p, "const uint8_t *": ctypes.c_void_p}
        found = structs()
        self.assertEqual(len(found), 4)
        for name, declared in found.items():
            with self.subTest(name):
                own = getattr(module, name)._fields_
                self.assertEqual([field[0] for field in own], [field for _, field in declared])
                for (field, own_type), (c_type, _) in zip(own, declared):
                    self.assertIs(own_type, fields.get(c_type) or TYPES[c_type], field)

    def test_handles_are_distinct(self) -> None:
        """ctypes refuses one kind of handle in the place of another, before the library would."""
        self.assertEqual(len(HANDLES), 9)
        lib = module.Library()
        for own in HANDLES:
            free = getattr(lib, "kvs_free_db" if own == "kvs_db" else own + "_free")
            free(getattr(module, own)())
            for other in HANDLES:
                if other != own:
                    with self.assertRaises(ctypes.ArgumentError):
                        free(getattr(module, other)())

    def test_callbacks(self) -> None:
        declared = dict(re.findall(r"typedef void \(\*(kvs_\w+)\)\((.*?)\);", CODE, flags=re.S))
        self.assertEqual(sorted(declared), ["kvs_free_fn", "kvs_log_fn"])
        # The message is an address: it comes with its length.
        types = dict(TYPES, **{"const char *": ctypes.c_void_p})
        for name, parameters in declared.items():
            own = getattr(module, name)
            self.assertIsNone(own._restype_)
            self.assertEqual(own._argtypes_, tuple(types[split(parameter)[0]] for parameter in parameters.split(",")))

    def test_constants(self) -> None:
        """Numbers of statuses, flags, kinds and levels; each error has its class, by its number and its name."""
        found = dict(re.findall(r"#define KVS_(\w+) \(?(-?\d+)\)?", CODE))
        constants = {name: int(number) for name, number in found.items()}
        errors = {number: "KVS_" + name for name, number in constants.items() if name.startswith("E_")}
        self.assertEqual({status: own.name for status, own in module.ERRORS.items()}, errors)
        for status, own in module.ERRORS.items():
            self.assertEqual(own.status, status)
            self.assertEqual(module.Library().status_name(status), own.name)
        others = {name for name in constants if not name.startswith(("E_", "VERSION_", "DURABILITY_", "KEYS_"))}
        for name in others:
            self.assertEqual(getattr(module, name), constants[name], name)
        for name, number in module.DURABILITY.items():
            self.assertEqual(number, constants["DURABILITY_" + name.upper()])
        self.assertEqual([constants["KEYS_" + name] for name in ("UNKNOWN", "ONE", "BETWEEN")], [0, 1, 2])


if __name__ == "__main__":
    unittest.main()
