"""The controller at run time: a service that every rank reports to, in a Ray actor or not, and its client."""

from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connecting import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.protocol import Answer, Report
from maxent_ray.runtime.service import ControllerService
from maxent_ray.runtime.transport import LocalTransport, Transport

__all__ = [
    "Answer",
    "ClientOptions",
    "ControllerClient",
    "ControllerService",
    "LocalTransport",
    "Report",
    "Transport",
    "connect",
]
