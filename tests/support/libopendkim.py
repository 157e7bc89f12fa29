"""Signatures by OpenDKIM's own library, verified by dkimpy."""

import ctypes
from collections.abc import Sequence
from functools import cache

from dkim_formula.private_key import PrivateKey

import dkim

# dkim.h (2.11.0~beta2): DKIM_OP_SETOPT, DKIM_OPTS_*, DKIM_CANON_RELAXED, DKIM_SIGN_RSASHA256
_SET, _SIGNED, _OVERSIGNED, _OMITTED = 1, 4, 5, 9
_RELAXED, _RSA_SHA256, _WHOLE_BODY = 1, 1, -1
_BODY = b"Hello\r\n"


@cache
def library() -> ctypes.CDLL | None:
    """Return libopendkim, or None if the machine lacks it."""
    try:
        found = ctypes.CDLL("libopendkim.so.11")
    except OSError:
        return None
    pointer, octets, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    found.dkim_init.restype = found.dkim_sign.restype = pointer
    found.dkim_init.argtypes = [pointer, pointer]
    found.dkim_options.argtypes = [pointer, ctypes.c_int, ctypes.c_int, pointer, size]
    found.dkim_sign.argtypes = [
        *(pointer, octets, pointer, octets, octets, octets),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t),
        ctypes.POINTER(ctypes.c_int),
    ]
    found.dkim_header.argtypes = found.dkim_body.argtypes = [pointer, octets, size]
    found.dkim_eoh.argtypes = found.dkim_free.argtypes = found.dkim_close.argtypes = [pointer]
    found.dkim_eom.argtypes = [pointer, pointer]
    found.dkim_getsighdr_d.argtypes = [
        *(pointer, size, ctypes.POINTER(pointer), ctypes.POINTER(size))
    ]
    return found


@cache
def _key() -> PrivateKey:
    return PrivateKey.generate("rsa", 1024)


def is_valid(
    headers: Sequence[bytes], sign: Sequence[str], oversign: Sequence[str], omit: Sequence[str]
) -> bool:
    """Return whether the signature that libopendkim makes of a message is valid."""
    signer = library()
    opened = signer.dkim_init(None, None)
    for option, names in ((_SIGNED, sign), (_OVERSIGNED, oversign), (_OMITTED, omit)):
        texts = (ctypes.c_char_p * (len(names) + 1))(*(name.encode() for name in names), None)
        if names:
            given = ctypes.cast(texts, ctypes.c_void_p)
            assert signer.dkim_options(opened, _SET, option, given, ctypes.sizeof(given)) == 0
    status = ctypes.c_int()
    how = (_RELAXED, _RELAXED, _RSA_SHA256, _WHOLE_BODY, ctypes.byref(status))
    pem = _key().pem().encode()
    message = signer.dkim_sign(opened, b"id", None, pem, b"s", b"example.com", *how)
    for header in headers:
        assert signer.dkim_header(message, header, len(header)) == 0
    assert signer.dkim_eoh(message) == 0
    assert signer.dkim_body(message, _BODY, len(_BODY)) == 0
    assert signer.dkim_eom(message, None) == 0
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    found = (ctypes.byref(text), ctypes.byref(size))
    assert signer.dkim_getsighdr_d(message, len("DKIM-Signature: "), *found) == 0
    lines = ctypes.string_at(text, size.value).splitlines()
    signature = b"DKIM-Signature: " + b"\r\n".join(lines)
    signer.dkim_free(message)
    signer.dkim_close(opened)
    whole = b"\r\n".join([signature, *headers, b"", _BODY])
    record = f"v=DKIM1; k=rsa; p={_key().public_base64()}".encode()
    return dkim.verify(whole, dnsfunc=lambda name, timeout=5: record)
