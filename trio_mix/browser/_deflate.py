"""permessage-deflate for the tunnel, on top of wsproto's.

What it knows: what wsproto's extension gets wrong, and what is not worth compressing.
What it must never know: messages' meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

if TYPE_CHECKING:
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

__all__ = ["Deflate"]

_WORTH_IT = 256


@final
class Deflate(PerMessageDeflate):
    """The extension, for one connection.

    wsproto 1.3 forgets that a message is compressed when a ping comes between two of its frames,
    and takes the rest for plain text. Here control frames pass without touching that state.
    """

    def __init__(self) -> None:
        super().__init__()
        self._control = False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Take the header of a frame."""
        self._control = opcode.iscontrol()
        if self._control:
            return CloseReason.PROTOCOL_ERROR if rsv.rsv1 else RsvBits(False, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """Take a part of a frame's payload."""
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """Take the end of a frame."""
        return None if self._control else super().frame_inbound_complete(proto, fin)

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        """Compress a frame; a message that is one small frame goes as it is."""
        if fin and len(data) < _WORTH_IT and opcode in (Opcode.TEXT, Opcode.BINARY):
            return rsv, data
        return super().frame_outbound(proto, opcode, rsv, data, fin)
