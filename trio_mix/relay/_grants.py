"""Who may do what: tokens, the sessions that they cover, and the verbs that they allow.

Rule 1  A token is compared in constant time, with all tokens of the file. Only SHA-256 digests are
        stored; a token is shown once, when it is made.
Rule 2  The file is read again when it has changed. A file that cannot be parsed changes nothing: a
        warning is logged and the tokens that were read last stay valid. A missing file allows
        nothing.
Rule 3  JSON Web Tokens are HS256 only, whatever their header says. The claim ``mix`` has the
        sessions and verbs.
Rule 4  What cannot be read exactly is refused: an unknown verb, a session that is no text.
Rule 5  A session that a token does not cover looks like one that does not exist.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import attrs

from trio_mix._private_files import open_private
from trio_mix._terminal_text import get_logger
from trio_mix.errors import ConfigurationError
from trio_mix.relay._errors import Forbidden, SessionUnknown, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Verb: TypeAlias = Literal["read", "send", "decide", "cancel", "manage"]
"""What a token may allow."""

VERBS: Final[frozenset[Verb]] = frozenset(get_args(Verb))

_EVERY: Final = "*"
_LONGEST: Final = 8192
_SHORTEST_KEY: Final = 32
_MAX_FILE: Final = 16 * 2**20

_logger = get_logger("trio_mix.relay")


@attrs.frozen(kw_only=True)
class Grant:
    """What one token allows."""

    subject: str = ""
    """The name of the token's holder, for the log and for idempotency keys."""
    sessions: frozenset[str] | None = None
    """The sessions that the token covers; None: every session."""
    verbs: frozenset[Verb] = frozenset()
    """The operations that it allows."""
    expires_at: float | None = None
    """When it expires, in seconds since 1970; None: never."""

    def covers(self, session_id: str) -> bool:
        """Return whether the token covers a session."""
        return self.sessions is None or session_id in self.sessions

    def check(self, verb: Verb, session_id: str | None = None) -> None:
        """Raise if the token does not allow an operation.

        Args:
          verb: the kind of operation.
          session_id: the session that it is about; None: no session in particular.

        Raises:
          SessionUnknown: the token does not cover the session.
          Forbidden: it does not allow the verb.
        """
        if session_id is not None and not self.covers(session_id):
            raise SessionUnknown(f"There is no session {session_id!r}. Check the id.")
        if verb not in self.verbs:
            raise Forbidden(
                f"The token does not allow {verb!r}: use one that was made with --may {verb}."
            )


EVERYTHING: Final = Grant(verbs=VERBS)
"""What everybody may do where no authentication is configured."""


class _Source:
    """Where tokens come from."""

    def find(self, token: str) -> Grant | None:
        """Return what a token allows; None if it is not valid."""
        raise NotImplementedError


class Auth:
    """Finds out what a token allows. Made by `tokens`, `jwt` or `any_of`.

    The tokens are opaque and listed in a file, or JSON Web Tokens.
    """

    def __init__(self, *sources: _Source) -> None:
        self._sources = sources

    def __repr__(self) -> str:
        return f"<trio_mix.relay.Auth with {len(self._sources)} source(s)>"

    @classmethod
    def tokens(cls, path: str | os.PathLike[str]) -> Auth:
        """Return an `Auth` for the tokens in a TOML file, which is read again when it changes.

        Args:
          path: the file, with a table ``[[token]]`` for each token: ``sha256`` (hexadecimal),
            ``subject``, ``sessions`` (ids, or ``"*"``) and ``may`` (verbs).

        Raises:
          ConfigurationError: the file cannot be read, or has an invalid table.
        """
        source = _TokenFile(path)
        source.load()
        return cls(source)

    @classmethod
    def jwt(
        cls, *, key: str | bytes | None = None, key_file: str | os.PathLike[str] | None = None
    ) -> Auth:
        """Return an `Auth` for JSON Web Tokens that are signed with a shared key (HS256).

        Args:
          key: the key, at least 32 bytes.
          key_file: a file with the key; white space at its ends is ignored.

        Raises:
          ConfigurationError: not exactly one argument is passed, the key is too short, the file
            cannot be read, or PyJWT is not installed.
        """
        if (key is None) == (key_file is None):
            raise ConfigurationError("Auth.jwt() needs either key= or key_file=.")
        if key_file is not None:
            try:
                with open(key_file, "rb") as file:
                    key = file.read(_MAX_FILE).strip()
            except OSError as exc:
                raise ConfigurationError(
                    f"The key file {os.fspath(key_file)!r} cannot be read: {exc.strerror}."
                ) from exc
        secret = key.encode() if isinstance(key, str) else bytes(key or b"")
        return cls(_WebTokens(secret))

    @classmethod
    def any_of(cls, *auths: Auth) -> Auth:
        """Return an `Auth` that accepts the tokens of all given ones."""
        return cls(*(source for auth in auths for source in auth._sources))

    def check(self, token: str | None) -> Grant:
        """Return what a token allows.

        Raises:
          Unauthorized: there is no token, or it is not valid.
        """
        if not token:
            raise Unauthorized("A token is needed: pass it as `Authorization: Bearer TOKEN`.")
        if len(token) <= _LONGEST:
            for source in self._sources:
                grant = source.find(token)
                if grant is not None:
                    return grant
        raise Unauthorized("The token is not valid, or has expired: ask for a new one.")


class _TokenFile(_Source):
    """Opaque tokens from a TOML file (rules 1 and 2)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._read_of: tuple[int, int, int] | None = None
        self._tokens: list[tuple[bytes, Grant]] = []

    def find(self, token: str) -> Grant | None:
        self._refresh()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for known, grant in self._tokens:
            if hmac.compare_digest(known, digest):
                found = grant
        return found

    def load(self) -> None:
        """Read the file.

        Raises:
          ConfigurationError: it cannot be read or has an invalid table.
        """
        try:
            self._read_of = self._version()
            with open(self._path, "rb") as file:
                text = file.read(_MAX_FILE).decode()
            self._tokens = _parse_tokens(text, self._path)
        except (OSError, ValueError) as exc:
            if isinstance(exc, ConfigurationError):
                raise
            if isinstance(exc, OSError):
                self._read_of = None  # may pass: read it again for the next request
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise ConfigurationError(
                f"The token file {self._path!r} cannot be read: {reason}. `trio-mix relay token "
                "--token-file FILE` writes one."
            ) from exc

    def _version(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _refresh(self) -> None:
        try:
            changed = self._version() != self._read_of
        except OSError:
            self._tokens, self._read_of = [], None
            return
        if changed:
            try:
                self.load()
            except ConfigurationError as exc:
                _logger.warning("The tokens that were read before stay valid: %s", exc)


def _parse_tokens(text: str, path: str) -> list[tuple[bytes, Grant]]:
    tables = tomllib.loads(text).get("token", [])
    found: list[tuple[bytes, Grant]] = []
    for number, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
        try:
            digest = bytes.fromhex(table["sha256"])
            if len(digest) != hashlib.sha256().digest_size:
                raise ValueError("sha256 must have 64 hexadecimal digits")
            unknown = set(table) - {"sha256", "subject", "sessions", "may"}
            if unknown:
                raise ValueError(f"unknown key {min(unknown)!r}")
            subject = table.get("subject", "")
            if not isinstance(subject, str):
                raise ValueError("subject must be a text")
            sessions, verbs = _sessions(table["sessions"]), _verbs(table["may"])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            reason = f"{exc.args[0]!r} is missing" if isinstance(exc, KeyError) else str(exc)
            raise ConfigurationError(
                f"[[token]] number {number} of {path!r} is invalid: {reason}."
            ) from None
        found.append((digest, Grant(subject=subject, sessions=sessions, verbs=verbs)))
    return found


def _sessions(value: object) -> frozenset[str] | None:
    """Return the sessions of a token; None: all of them (rule 4)."""
    if value in (_EVERY, [_EVERY]):
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError('sessions must be a list of ids, or "*"')
    return frozenset(value)


def _verbs(value: object) -> frozenset[Verb]:
    if not isinstance(value, list) or not all(each in VERBS for each in value):
        raise ValueError(f"may must be a list of {', '.join(sorted(VERBS))}")
    return frozenset(value)


class _WebTokens(_Source):
    """JSON Web Tokens with a shared key (rule 3)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"The key for JSON Web Tokens has {len(key)} bytes: at least {_SHORTEST_KEY} are "
                "needed, for example from `openssl rand -base64 48`."
            )
        try:
            import jwt
        except ImportError:
            raise ConfigurationError(
                "JSON Web Tokens need PyJWT: pip install 'trio-mix[relay]'."
            ) from None
        self._decode: Callable[..., dict[str, Any]] = jwt.decode
        self._invalid: type[Exception] = jwt.InvalidTokenError
        self._key = key

    def find(self, token: str) -> Grant | None:
        try:
            claims = self._decode(token, self._key, algorithms=["HS256"])
            mix = claims["mix"]
            subject, expires = claims.get("sub", ""), claims.get("exp")
            return Grant(
                subject=str(subject),
                sessions=_sessions(mix["sessions"]),
                verbs=_verbs(mix["may"]),
                expires_at=None if expires is None else float(expires),
            )
        except (self._invalid, KeyError, TypeError, ValueError):
            return None


def new_token(
    path: str | os.PathLike[str],
    *,
    sessions: Iterable[str] | None,
    verbs: Iterable[Verb],
    subject: str = "",
) -> str:
    """Make a token, add its digest to a token file, and return the token.

    Args:
      path: the file, which is made if it does not exist, with mode 0600.
      sessions: the ids of the sessions that it covers; None: every session.
      verbs: what it allows.
      subject: the name of its holder.

    Raises:
      ConfigurationError: the file, or an argument, is invalid.
      OSError: the file cannot be written.
    """
    allowed = _checked_verbs(verbs)
    chosen = None if sessions is None else list(sessions)
    if chosen is not None and _EVERY in chosen:
        raise ConfigurationError(
            f"{_EVERY!r} is no session: it means every session in a token file. Pass None for that."
        )
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_FILE)
        try:
            _parse_tokens(text, os.fspath(path))
        except tomllib.TOMLDecodeError as exc:
            raise ConfigurationError(
                f"The token file {os.fspath(path)!r} cannot be read: {exc}."
            ) from exc
    token = "mixrelay_" + secrets.token_urlsafe(32)
    listed = _quoted(_EVERY) if chosen is None else f"[{', '.join(map(_quoted, chosen))}]"
    entry = (
        "[[token]]\n"
        f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        f"subject = {_quoted(subject)}\n"
        f"sessions = {listed}\n"
        f"may = [{', '.join(map(_quoted, allowed))}]\n"
    )
    separator = "" if not text else ("\n" if text.endswith("\n") else "\n\n")
    with open_private(path) as file:
        file.write(text + separator + entry)
    return token


def _checked_verbs(verbs: Iterable[Verb]) -> list[Verb]:
    chosen = list(dict.fromkeys(verbs))
    wrong = [verb for verb in chosen if verb not in VERBS]
    if wrong or not chosen:
        raise ConfigurationError(
            f"A token allows at least one of {', '.join(sorted(VERBS))}, not {wrong or chosen}."
        )
    return chosen


def _quoted(text: str) -> str:
    """Return a text as a basic string of TOML."""
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 32 or char in '"\\\x7f' else char for char in text
    )
    return f'"{escaped}"'
