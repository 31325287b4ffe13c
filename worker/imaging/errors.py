"""What can go wrong with one image, in two kinds: the file's fault, or ours."""


class ImagingError(Exception):
    """Base of everything that `Renderer.render` raises on purpose."""


class ImageRejected(ImagingError):  # noqa: N818
    """The file itself is the reason; trying again gives the same answer.

    `code` is stable snake_case for programs, `message` one sentence for the person who uploaded the file.
    The codes are listed in this folder's README.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class RenderAborted(ImagingError):  # noqa: N818
    """The work was lost for a reason outside the file (killed process, full disk): worth a retry."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
