"""Bytes that are not a valid HTTP request. The server itself answers with a 400 and closes the connection."""

_GET, _POST = b"GET /livez HTTP/1.1\r\n", b"POST /v1/prediction HTTP/1.1\r\nHost: klein\r\n"
REQUESTS = {
    "nothing that is HTTP": b"\0\1\2garbage\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": b"get /livez HTTP/1.1\r\n\r\n",
    "a version that is none": b"GET /livez HTTP/9.9\r\n\r\n",
    "NUL in a header": _GET + b"X: a\0b\r\n\r\n",
    "DEL in a header": _GET + b"Idempotency-Key: \x7f\r\n\r\n",
    "a space before the colon": _GET + b"X : a\r\n\r\n",
    "no colon": _GET + b"X\r\n\r\n",
    "a folded header": _GET + b"X: a\r\n b\r\n\r\n",
    "a line that ends in CR": b"GET /livez HTTP/1.1\rX: a\r\n\r\n",
    "lines that end in LF": b"GET /livez HTTP/1.1\nHost: klein\n\n",
    "a length and chunks": _POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a negative length": _POST + b"Content-Length: -5\r\n\r\nhello",
    "a length that is none": _POST + b"Content-Length: x\r\n\r\nhello",
    "a length of thirty digits": _POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello",
    "a chunk of no size": _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "a chunk of negative size": _POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n",
    "a coding that we do not read": _POST + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "chunks that are not last": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a path of 70,000 letters": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\n\r\n",
    "no UTF-8 in the path": b"GET /\xff HTTP/1.1\r\n\r\n",
    "a URL that is none": b"GET http://[/ HTTP/1.1\r\n\r\n",
    "a tunnel": b"CONNECT klein:1 HTTP/1.1\r\n\r\n",
}
