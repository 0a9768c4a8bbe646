"""Names the functions that were compiled into others: perf script's stacks on stdin, the same with a line for each of them on stdout.

    perf script | python3 inlined.py PROGRAM | inferno-collapse-perf

perf shows a frame for each call that the processor makes. In a program that is optimised as a whole those are few; what was asked for
is in the line tables, which addr2line reads.
"""

import re
import subprocess
import sys

FRAME = re.compile(r"^\s+([0-9a-f]+) .* \((.*)\)$")


def chains(program: str, addresses: list[str]) -> dict[str, list[str]]:
    """Which functions each address is in, the innermost first."""
    command = ["addr2line", "--exe", program, "--addresses", "--functions", "--inlines", "--demangle"]
    told = subprocess.run(command, input="\n".join(addresses), capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    functions: list[str] = []
    # An address, and then a function and a line of source for each level.
    lines = iter(told.splitlines())
    for line in lines:
        if re.fullmatch("0x[0-9a-f]+", line):
            functions = found[f"{int(line, 16):x}"] = []
        else:
            # Without what it is generic over, which may be longer than the picture is wide.
            functions.append(re.sub(r"(?<=\w)<.*", "", line))
            next(lines)
    return found


def code_from(program: str) -> int:
    """What lies between a place in the file, as perf tells it, and the address in its tables."""
    told = subprocess.run(["readelf", "--wide", "--segments", program], capture_output=True, text=True, check=True).stdout
    executable = next(line.split() for line in told.splitlines() if re.match(r"\s+LOAD .* R E ", line))
    return int(executable[2], 16) - int(executable[1], 16)


def main(program: str) -> None:
    lines = sys.stdin.read().splitlines()
    base = code_from(program)
    addresses: list[str | None] = []
    for line, before in zip(lines, ["", *lines]):
        frame = FRAME.match(line)
        # Whoever called is told by where it goes on, which may be another line of source.
        called = 1 if FRAME.match(before) else 0
        addresses.append(f"{int(frame[1], 16) + base - called:x}" if frame and frame[2] == program else None)
    inlined = chains(program, sorted({address for address in addresses if address}))
    for line, address in zip(lines, addresses):
        functions = inlined.get(address, []) if address else []
        if not functions or "??" in functions:
            print(line)
            continue
        print(*(f"\t{address} {function} ({program})" for function in functions), sep="\n")


main(*sys.argv[1:])
