"""The service of a model: AutoML Vision or Vertex AI."""

from automl.services.service import LIMITS, Service, ServiceError
from inspection.model_id import Backend


def service_for(backend: Backend, *, project: str, location: str | None = None) -> Service:
    """Return the service; only its client library is imported.

    Raises:
        ServiceError: a model file has no service.
    """
    if backend is Backend.OWN:
        raise ServiceError("A model file of your own runs in the function; no service has it.")
    location = location or LIMITS[backend].location
    match backend:
        case Backend.AUTOML:
            from automl.services.automl_vision import AutomlVision

            return AutomlVision(project=project, location=location)
        case Backend.VERTEX:
            from automl.services.vertex_ai import VertexAi

            return VertexAi(project=project, location=location)
