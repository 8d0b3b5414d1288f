"""Text encodings between which content can be converted.

Those of Python's whose codecs make the same of a content however it is cut into pieces, which is what a stream needs.
So not `utf-7`, nor the ISO 2022 family and `hz`, whose state a cut can confuse. What is no encoding of text (`hex`,
`idna`, `unicode-escape`) has no place in a partner's file.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

_NAMES = """
ascii utf-8 utf-8-sig utf-16 utf-16-be utf-16-le utf-32 utf-32-be utf-32-le
cp037 cp273 cp424 cp500 cp875 cp1026 cp1140
cp437 cp720 cp737 cp775 cp850 cp852 cp855 cp856 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869
cp874 cp1006 cp1125 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258
iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-11
iso8859-13 iso8859-14 iso8859-15 iso8859-16 hp-roman8 koi8-r koi8-t koi8-u kz1048 ptcp154 tis-620
mac-arabic mac-croatian mac-cyrillic mac-farsi mac-greek mac-iceland mac-latin2 mac-roman mac-romanian mac-turkish
big5 big5hkscs cp932 cp949 cp950 euc_jis_2004 euc_jisx0213 euc_jp euc_kr gb18030 gb2312 gbk johab
shift_jis shift_jis_2004 shift_jisx0213
"""
ENCODINGS = frozenset(_NAMES.split())
"""By the names that Python's codecs give themselves."""

MARKED: Mapping[str, str] = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""Encodings in which a byte order mark is written → what follows it."""

MARK_DECIDES = frozenset({"utf-16", "utf-32"})
"""Encodings of which only a mark at the beginning of a content says in which order its bytes are."""


def encoding_of(name: str) -> str:
    """Give the name in `ENCODINGS` for any name or alias of an encoding, such as `UTF8`, `latin-1` or `windows-1252`.

    Empty: there is none, or content cannot be converted with it.
    """
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):  # A name can hold what no name of a module may.
        return ""
    return found if found in ENCODINGS else ""


def is_ebcdic(encoding: str) -> bool:
    """Say whether an encoding of `ENCODINGS` is one of mainframes, in which NEL (0x15) ends lines."""
    return "A".encode(encoding) == b"\xc1"
