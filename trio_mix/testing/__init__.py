"""Test tools: a Mix server in this process, a fault proxy, recordings, assertions.

The server shares no code with the client, so that both cannot have the same mistake. Needs the
extra ``trio-mix[server]``.
"""

from __future__ import annotations

from trio_mix._public import publish
from trio_mix.testing._assertions import assert_as_scripted as assert_as_scripted
from trio_mix.testing._assertions import assert_nothing_left as assert_nothing_left
from trio_mix.testing._assertions import assert_ran_once as assert_ran_once
from trio_mix.testing._assertions import assert_requested as assert_requested
from trio_mix.testing._assertions import expect_events as expect_events
from trio_mix.testing._checkpoints import LeftBehindError as LeftBehindError
from trio_mix.testing._checkpoints import Sweep as Sweep
from trio_mix.testing._checkpoints import cancel_at_every_checkpoint as cancel_at_every_checkpoint
from trio_mix.testing._log import Match as Match
from trio_mix.testing._records import Answered as Answered
from trio_mix.testing._records import CancelRequested as CancelRequested
from trio_mix.testing._records import EventsDropped as EventsDropped
from trio_mix.testing._records import FrameQueued as FrameQueued
from trio_mix.testing._records import HandlerFailed as HandlerFailed
from trio_mix.testing._records import MessageAccepted as MessageAccepted
from trio_mix.testing._records import MessageFinished as MessageFinished
from trio_mix.testing._records import MessageLost as MessageLost
from trio_mix.testing._records import MessageRun as MessageRun
from trio_mix.testing._records import NotificationAnswered as NotificationAnswered
from trio_mix.testing._records import NotificationAsked as NotificationAsked
from trio_mix.testing._records import PermissionAnswered as PermissionAnswered
from trio_mix.testing._records import PermissionAsked as PermissionAsked
from trio_mix.testing._records import Record as Record
from trio_mix.testing._records import RequestReceived as RequestReceived
from trio_mix.testing._records import ServerStarted as ServerStarted
from trio_mix.testing._records import ServerStopped as ServerStopped
from trio_mix.testing._records import StreamEnded as StreamEnded
from trio_mix.testing._records import StreamOpened as StreamOpened
from trio_mix.testing._records import TunnelClosed as TunnelClosed
from trio_mix.testing._records import TunnelMessage as TunnelMessage
from trio_mix.testing._records import TunnelOpened as TunnelOpened
from trio_mix.testing.faults._plan import Answer as Answer
from trio_mix.testing.faults._plan import Corrupt as Corrupt
from trio_mix.testing.faults._plan import Cut as Cut
from trio_mix.testing.faults._plan import Direction as Direction
from trio_mix.testing.faults._plan import Fault as Fault
from trio_mix.testing.faults._plan import FaultPlan as FaultPlan
from trio_mix.testing.faults._plan import Refuse as Refuse
from trio_mix.testing.faults._plan import Rule as Rule
from trio_mix.testing.faults._plan import Split as Split
from trio_mix.testing.faults._plan import Stall as Stall
from trio_mix.testing.faults._plan import Throttle as Throttle
from trio_mix.testing.faults._proxy import FaultProxy as FaultProxy
from trio_mix.testing.faults._proxy import FaultRecord as FaultRecord
from trio_mix.testing.faults._proxy import FaultStatistics as FaultStatistics
from trio_mix.testing.net._memory import MemoryNetwork as MemoryNetwork
from trio_mix.testing.net._memory import MemoryStream as MemoryStream
from trio_mix.testing.net._memory import memory_pipe as memory_pipe
from trio_mix.testing.recording._format import Recording as Recording
from trio_mix.testing.recording._format import RecordingError as RecordingError
from trio_mix.testing.recording._recorder import Recorder as Recorder
from trio_mix.testing.recording._recorder import record as record
from trio_mix.testing.recording._replay import Replay as Replay
from trio_mix.testing.recording._replay import replay as replay
from trio_mix.testing.server._script import AskPermission as AskPermission
from trio_mix.testing.server._script import Complete as Complete
from trio_mix.testing.server._script import Do as Do
from trio_mix.testing.server._script import Drop as Drop
from trio_mix.testing.server._script import Emit as Emit
from trio_mix.testing.server._script import Fail as Fail
from trio_mix.testing.server._script import Hang as Hang
from trio_mix.testing.server._script import LateDelta as LateDelta
from trio_mix.testing.server._script import Notify as Notify
from trio_mix.testing.server._script import Pause as Pause
from trio_mix.testing.server._script import RateLimit as RateLimit
from trio_mix.testing.server._script import Raw as Raw
from trio_mix.testing.server._script import Restart as Restart
from trio_mix.testing.server._script import Say as Say
from trio_mix.testing.server._script import Step as Step
from trio_mix.testing.server._script import SubAgent as SubAgent
from trio_mix.testing.server._script import Think as Think
from trio_mix.testing.server._script import Turn as Turn
from trio_mix.testing.server._script import UseTool as UseTool
from trio_mix.testing.server._script import UseTools as UseTools
from trio_mix.testing.server._script import WaitFor as WaitFor
from trio_mix.testing.server._server import MixServer as MixServer
from trio_mix.testing.server._traits import Api as Api
from trio_mix.testing.server._tunnel import BrowserTunnel as BrowserTunnel
from trio_mix.testing.server._tunnel import BrowserTunnels as BrowserTunnels

__all__ = [
    "Answer",
    "Answered",
    "Api",
    "AskPermission",
    "BrowserTunnel",
    "BrowserTunnels",
    "CancelRequested",
    "Complete",
    "Corrupt",
    "Cut",
    "Direction",
    "Do",
    "Drop",
    "Emit",
    "EventsDropped",
    "Fail",
    "Fault",
    "FaultPlan",
    "FaultProxy",
    "FaultRecord",
    "FaultStatistics",
    "FrameQueued",
    "HandlerFailed",
    "Hang",
    "LateDelta",
    "LeftBehindError",
    "Match",
    "MemoryNetwork",
    "MemoryStream",
    "MessageAccepted",
    "MessageFinished",
    "MessageLost",
    "MessageRun",
    "MixServer",
    "NotificationAnswered",
    "NotificationAsked",
    "Notify",
    "Pause",
    "PermissionAnswered",
    "PermissionAsked",
    "RateLimit",
    "Raw",
    "Record",
    "Recorder",
    "Recording",
    "RecordingError",
    "Refuse",
    "Replay",
    "RequestReceived",
    "Restart",
    "Rule",
    "Say",
    "ServerStarted",
    "ServerStopped",
    "Split",
    "Stall",
    "Step",
    "StreamEnded",
    "StreamOpened",
    "SubAgent",
    "Sweep",
    "Think",
    "Throttle",
    "TunnelClosed",
    "TunnelMessage",
    "TunnelOpened",
    "Turn",
    "UseTool",
    "UseTools",
    "WaitFor",
    "assert_as_scripted",
    "assert_nothing_left",
    "assert_ran_once",
    "assert_requested",
    "cancel_at_every_checkpoint",
    "expect_events",
    "memory_pipe",
    "record",
    "replay",
]

publish(globals())
