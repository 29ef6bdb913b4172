"""Pictures inside what the page is sent."""

import base64
import io

from PIL import Image

from echocascade.data.frames import Frames


def png_source(picture: Frames) -> str:
    """uint8 (H, W, 1 or 3) as a data URI."""
    buffer = io.BytesIO()
    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    Image.fromarray(shown).save(buffer, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
