"""Security descriptors in their two forms: as text (SDDL) and self-relative binary. Pure.

After [MS-DTYP] 2.4 and 2.5.1: owner, group, and two lists of entries. Of the kinds of entries those are known
that files have; an entry of another kind, or an account known only by its domain, has no other form here.
"""

import re
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<BBHIIII")
_ACL = struct.Struct("<BBHHH")
_ACE = struct.Struct("<BBHI")
_SID = struct.Struct("<BB6s")
_REVISION = 1
_ACL_REVISION = 2
_SELF_RELATIVE = 0x8000
_NO_ACL = "NO_ACCESS_CONTROL"

_KINDS = {"A": 0, "D": 1, "AU": 2, "AL": 3, "ML": 0x11}
_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 0x10, "SA": 0x40, "FA": 0x80}
_RIGHTS = {
    "FA": 0x1F01FF, "FR": 0x120089, "FW": 0x120116, "FX": 0x1200A0,
    "KA": 0xF003F, "KR": 0x20019, "KW": 0x20006,
    "GA": 0x10000000, "GX": 0x20000000, "GW": 0x40000000, "GR": 0x80000000,
}  # fmt: skip
_SINGLE_RIGHTS = {
    "CC": 0x1, "DC": 0x2, "LC": 0x4, "SW": 0x8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80, "CR": 0x100,
    "SD": 0x10000, "RC": 0x20000, "WD": 0x40000, "WO": 0x80000,
    "GA": 0x10000000, "GX": 0x20000000, "GW": 0x40000000, "GR": 0x80000000,
}  # fmt: skip
_ACCOUNTS = {
    "WD": "S-1-1-0", "CO": "S-1-3-0", "CG": "S-1-3-1", "OW": "S-1-3-4", "NU": "S-1-5-2", "IU": "S-1-5-4",
    "SU": "S-1-5-6", "AN": "S-1-5-7", "ED": "S-1-5-9", "PS": "S-1-5-10", "AU": "S-1-5-11",
    "RC": "S-1-5-12", "SY": "S-1-5-18", "LS": "S-1-5-19", "NS": "S-1-5-20", "WR": "S-1-5-33",
    "BA": "S-1-5-32-544", "BU": "S-1-5-32-545", "BG": "S-1-5-32-546", "PU": "S-1-5-32-547",
    "AO": "S-1-5-32-548", "SO": "S-1-5-32-549", "PO": "S-1-5-32-550", "BO": "S-1-5-32-551",
    "RE": "S-1-5-32-552", "RU": "S-1-5-32-554", "RD": "S-1-5-32-555", "NO": "S-1-5-32-556",
    "MU": "S-1-5-32-558", "LU": "S-1-5-32-559", "AC": "S-1-15-2-1", "LW": "S-1-16-4096",
    "ME": "S-1-16-8192", "HI": "S-1-16-12288", "SI": "S-1-16-16384",
}  # fmt: skip
_NAMES = {sid: name for name, sid in _ACCOUNTS.items()}
_SID_TEXT = re.compile(r"S-1-(\d{1,15})((?:-\d{1,10}){0,15})", re.ASCII | re.IGNORECASE)
_PARTS = re.compile(r"([OGDS]):((?:(?![OGDS]:)[^(])*(?:\([^()]*\))*)", re.ASCII)
_ENTRIES = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class _List:
    """Which bits of the control field belong to a list of entries, and by which letters SDDL says them."""

    present: int
    flags: tuple[tuple[str, int], ...]


_DACL = _List(0x4, (("P", 0x1000), ("AR", 0x100), ("AI", 0x400)))
_SACL = _List(0x10, (("P", 0x2000), ("AR", 0x200), ("AI", 0x800)))


def to_binary(text: str) -> bytes:
    """ValueError for what is no SDDL, or has no binary form here."""
    parts = _parts(text)
    owner, group = (_sid(parts[name]) if name in parts else b"" for name in "OG")
    control = _SELF_RELATIVE
    lists = {}
    for name, kind in (("S", _SACL), ("D", _DACL)):
        if name in parts:
            bits, lists[name] = _list(parts[name], kind)
            control |= bits
    offset, offsets, body = _HEADER.size, {}, b""
    for name, part in (("S", lists.get("S", b"")), ("D", lists.get("D", b"")), ("O", owner), ("G", group)):
        offsets[name] = offset + len(body) if part else 0
        body += part
    header = _HEADER.pack(_REVISION, 0, control, offsets["O"], offsets["G"], offsets["S"], offsets["D"])
    return header + body


def from_binary(data: bytes) -> str:
    """ValueError for what is no descriptor, or has no text form here."""
    try:
        revision, _, control, owner, group, sacl, dacl = _HEADER.unpack_from(data)
        if revision != _REVISION or not control & _SELF_RELATIVE:
            raise ValueError("this is no self-relative security descriptor")
        text = ""
        for letter, offset in (("O", owner), ("G", group)):
            if offset:
                text += f"{letter}:{_account(data, offset)}"
        for letter, kind, offset in (("D", _DACL, dacl), ("S", _SACL, sacl)):
            if control & kind.present:
                flags = "".join(word for word, bit in kind.flags if control & bit)
                text += f"{letter}:{flags}{_entries(data, offset) if offset else _NO_ACL}"
    except struct.error:
        raise ValueError("the security descriptor ends too early") from None
    return text


def _parts(text: str) -> dict[str, str]:
    found = {}
    position = 0
    for part in _PARTS.finditer(text):
        if part.start() != position or part[1] in found:
            raise ValueError("this is no SDDL")
        found[part[1]] = part[2]
        position = part.end()
    if position != len(text) or not found:
        raise ValueError("this is no SDDL")
    return found


# --- to binary


def _list(text: str, kind: _List) -> tuple[int, bytes]:
    """The bits of the control field, and the list; the latter empty where there is none but it is said."""
    words = text.partition("(")[0]
    control = kind.present
    if words.endswith(_NO_ACL):
        return control | _control(words.removesuffix(_NO_ACL), kind), b""
    control |= _control(words, kind)
    entries = [_entry(each[1]) for each in _ENTRIES.finditer(text)]
    size = _ACL.size + sum(map(len, entries))
    if size > 0xFFFF:
        raise ValueError("a list of entries has at most 64 KiB")
    return control, _ACL.pack(_ACL_REVISION, 0, size, len(entries), 0) + b"".join(entries)


def _control(words: str, kind: _List) -> int:
    control = 0
    while words:
        for word, bit in kind.flags:
            if words.startswith(word):
                control |= bit
                words = words[len(word) :]
                break
        else:
            raise ValueError(f"{words!r} says nothing about a list")
    return control


def _entry(text: str) -> bytes:
    fields = text.split(";")
    if len(fields) != 6 or fields[3] or fields[4] or fields[0] not in _KINDS:
        raise ValueError(f"an entry ({text}) has no other form here")
    sid = _sid(fields[5])
    flags = sum(_words(fields[1], _FLAGS))
    return _ACE.pack(_KINDS[fields[0]], flags, _ACE.size + len(sid), _mask(fields[2])) + sid


def _mask(text: str) -> int:
    if text[:2].lower() == "0x":
        mask = int(text[2:], 16)
    elif text.isascii() and text.isdigit():
        mask = int(text)
    else:
        mask = 0
        for right in _words(text, _SINGLE_RIGHTS | _RIGHTS):
            mask |= right
    if mask > 0xFFFFFFFF:
        raise ValueError("an entry's rights have 32 bits")
    return mask


def _words(text: str, values: dict[str, int]) -> set[int]:
    words = {text[at : at + 2] for at in range(0, len(text), 2)}
    if not words <= values.keys():
        raise ValueError(f"{text!r} is not known")
    return {values[word] for word in words}


def _sid(text: str) -> bytes:
    found = _SID_TEXT.fullmatch(_ACCOUNTS.get(text, text))
    if found is None:
        raise ValueError(f"the account {text!r} has no other form here")
    parts = [int(part) for part in found[2].split("-")[1:]]
    authority = int(found[1])
    if any(part > 0xFFFFFFFF for part in parts) or authority >= 1 << 48:
        raise ValueError(f"{text!r} is no account")
    head = _SID.pack(_REVISION, len(parts), authority.to_bytes(6))
    return head + struct.pack(f"<{len(parts)}I", *parts)


# --- from binary


def _account(data: bytes, offset: int) -> str:
    revision, count, authority = _SID.unpack_from(data, offset)
    if revision != _REVISION:
        raise ValueError("this is no account")
    parts = struct.unpack_from(f"<{count}I", data, offset + _SID.size)
    sid = "-".join(("S-1", str(int.from_bytes(authority)), *map(str, parts)))
    return _NAMES.get(sid, sid)


def _entries(data: bytes, offset: int) -> str:
    _, _, _, count, _ = _ACL.unpack_from(data, offset)
    offset += _ACL.size
    text = ""
    for _ in range(count):
        kind, flags, size, mask = _ACE.unpack_from(data, offset)
        name = next((word for word, value in _KINDS.items() if value == kind), None)
        if name is None or size < _ACE.size:
            raise ValueError("an entry has no other form here")
        said = "".join(word for word, bit in _FLAGS.items() if flags & bit)
        text += f"({name};{said};{_rights(mask)};;;{_account(data, offset + _ACE.size)})"
        offset += size
    return text


def _rights(mask: int) -> str:
    for word, value in _RIGHTS.items():
        if value == mask:
            return word
    said = "".join(word for word, bit in _SINGLE_RIGHTS.items() if mask & bit)
    known = sum(bit for bit in _SINGLE_RIGHTS.values() if mask & bit)
    return said if known == mask else hex(mask)
