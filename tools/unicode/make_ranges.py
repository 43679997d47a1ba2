#!/usr/bin/env python3
"""Writes models/unicode_ranges.cc: the letters (L*) and numbers (N*) of Unicode.

    pip install unicodedata2==16.0.0
    tools/unicode/make_ranges.py

Unicode 16 is what tiktoken 0.14 knows: with it every code point is of the class that tiktoken sees.
A newer table would cut a few rare characters otherwise than the reference does.
"""

import pathlib
import textwrap

import unicodedata2

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "models" / "unicode_ranges.cc"


def ranges(initial):
    """[first, last] of the code points whose general category starts with that letter."""
    found = []
    for code in range(0x110000):
        if unicodedata2.category(chr(code))[0] != initial:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(name, rows):
    body = ", ".join(f"{{0x{first:X}, 0x{last:X}}}" for first, last in rows)
    # Breaks between entries only.
    body = textwrap.fill(body.replace(", 0x", ",_0x"), 96).replace(",_0x", ", 0x")
    body = textwrap.indent(body, "    ")
    return f"constexpr CodeRange k{name}[] = {{\n{body}}};\n"


def main():
    letters, numbers = ranges("L"), ranges("N")
    OUTPUT.write_text(
        f"// Made by tools/unicode/make_ranges.py from Unicode {unicodedata2.unidata_version}.\n"
        "// clang-format off\n"
        '#include "models/unicode.h"\n\n'
        "namespace runnel::models {\nnamespace {\n\n"
        + table("Letters", letters) + "\n" + table("Numbers", numbers)
        + "\n}  // namespace\n\n"
        "std::span<const CodeRange> letter_ranges() noexcept { return kLetters; }\n"
        "std::span<const CodeRange> number_ranges() noexcept { return kNumbers; }\n\n"
        "}  // namespace runnel::models\n")


if __name__ == "__main__":
    main()
