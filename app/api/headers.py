"""What every answer says to a browser: take nothing from here but what was asked for."""

from starlette.datastructures import MutableHeaders

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DOCS = {  # FastAPI's page: its script and its pictures come from others
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "frame-ancestors 'none'"
}
_AT = {"/docs": _EVERYWHERE | _DOCS}


def protect(headers: MutableHeaders, path: str) -> None:
    """Add what the route has not said itself."""
    for name, value in _AT.get(path, _EVERYWHERE).items():
        headers.setdefault(name, value)
