"""Public names and their modules, for type checkers and for the lazy loading in ``__init__.py``."""

from maxent_ray.config import ExperimentConfig as ExperimentConfig
from maxent_ray.config import GRPOConfig as GRPOConfig
from maxent_ray.config import WeightingSettings as WeightingSettings
from maxent_ray.config import load_config as load_config
from maxent_ray.core.config import ControllerConfig as ControllerConfig
from maxent_ray.core.controller import Controller as Controller
from maxent_ray.core.measurement import batch_statistics as batch_statistics
from maxent_ray.core.measurement import measure_groups as measure_groups
from maxent_ray.core.objectives import Analytic as Analytic
from maxent_ray.core.objectives import AnalyticControllerObjective as AnalyticControllerObjective
from maxent_ray.core.objectives import ControllerGradients as ControllerGradients
from maxent_ray.core.objectives import ControllerMetaContext as ControllerMetaContext
from maxent_ray.core.objectives import ControllerObjective as ControllerObjective
from maxent_ray.core.objectives import CustomObjective as CustomObjective
from maxent_ray.core.objectives import Sensitivity as Sensitivity
from maxent_ray.core.objectives import TruncatedBackprop as TruncatedBackprop
from maxent_ray.core.objectives import TruncatedBackpropControllerObjective as TruncatedBackpropControllerObjective
from maxent_ray.core.objectives import Unroll as Unroll
from maxent_ray.core.objectives import build_controller_objective as build_controller_objective
from maxent_ray.core.policy_loss import maxent_loss as maxent_loss
from maxent_ray.core.state import Coefficients as Coefficients
from maxent_ray.core.state import ControllerState as ControllerState
from maxent_ray.core.state import Decision as Decision
from maxent_ray.core.state import Reason as Reason
from maxent_ray.core.statistics import BatchStatistics as BatchStatistics
from maxent_ray.core.weighting import group_weights as group_weights
from maxent_ray.core.weighting import listwise_log_q as listwise_log_q
from maxent_ray.errors import ConfigError as ConfigError
from maxent_ray.errors import ControllerError as ControllerError
from maxent_ray.errors import ControllerUnavailableError as ControllerUnavailableError
from maxent_ray.errors import HypergradientError as HypergradientError
from maxent_ray.errors import InvalidReportError as InvalidReportError
from maxent_ray.errors import MaxentRayError as MaxentRayError
from maxent_ray.errors import PolicyLoadError as PolicyLoadError
from maxent_ray.errors import RankLeftError as RankLeftError
from maxent_ray.errors import RankLostError as RankLostError
from maxent_ray.errors import RecordingError as RecordingError
from maxent_ray.errors import ResourceError as ResourceError
from maxent_ray.errors import ResumeError as ResumeError
from maxent_ray.errors import TaskError as TaskError
from maxent_ray.errors import UnknownObjectiveError as UnknownObjectiveError
from maxent_ray.runtime.client import ControllerClient as ControllerClient
from maxent_ray.runtime.connect import connect as connect
from maxent_ray.runtime.options import ClientOptions as ClientOptions

__version__: str
