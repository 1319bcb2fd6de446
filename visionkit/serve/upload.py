"""The image of a request: its body, or the one file of a form."""

from io import BytesIO
from typing import Any

from visionkit.types import DataError

FORM = "multipart/form-data"
PARTS = 8  # of a form; one is the file


def read_upload(environ: dict[str, Any], length: int) -> tuple[bytes, dict[str, str]]:
    """The encoded image, and the other fields of the form that it came in.

    Args:
        environ: the WSGI request.
        length: bytes of its body.

    Raises:
        DataError: a form without a file, with several, or one that cannot be read.
    """
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != FORM:
        return environ["wsgi.input"].read(length), {}
    # Part of the extra; TensorBoard brings it as well.
    from werkzeug.exceptions import HTTPException
    from werkzeug.formparser import FormDataParser

    # The server limits the length, so that the file may be held in memory, as it is without a form.
    parser = FormDataParser(_memory, max_form_parts=PARTS, silent=False)
    try:
        _, fields, files = parser.parse_from_environ(environ)
    except (ValueError, HTTPException):
        raise DataError(f"the form cannot be read: expected {FORM} with at most {PARTS} parts") from None
    uploads = [file for _, file in files.items(multi=True)]
    if len(uploads) != 1:
        raise DataError(f"expected one file in the form, found {len(uploads)}")
    return uploads[0].read(), dict(fields.items())


def _memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> BytesIO:
    """Where a file of a form goes; the arguments are werkzeug's."""
    return BytesIO()
