"""Photos in, upright sRGB WebP variants without metadata out, in child processes that can be killed."""

from worker.imaging.errors import ImageRejected, ImagingError, RenderAborted
from worker.imaging.model import Limits, RenderedImage, RenderedVariant, VariantSpec
from worker.imaging.pool import Renderer

__all__ = [
    "ImageRejected",
    "ImagingError",
    "Limits",
    "RenderAborted",
    "RenderedImage",
    "RenderedVariant",
    "Renderer",
    "VariantSpec",
]
