"""What light and a phone's camera make of a page."""

import cv2
import numpy as np
from jaxtyping import Float

from experiments.pictures.papers import Page, clouds
from experiments.pictures.strokes import Random

Light = Float[np.ndarray, "_ _"]


def even(_rng: Random, shape: tuple[int, int]) -> Light:
    return np.ones(shape, np.float32)


def gradient(rng: Random, shape: tuple[int, int]) -> Light:
    """A lamp on one side."""
    y, x = _places(shape)
    angle = rng.uniform(0, 2 * np.pi)
    return np.clip(1 - rng.uniform(0.1, 0.55) * (0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle))), 0.15, 1)


def vignette(rng: Random, shape: tuple[int, int]) -> Light:
    """A torch."""
    y, x = _places(shape)
    distance = (x - rng.uniform(-0.25, 0.25)) ** 2 + (y - rng.uniform(-0.25, 0.25)) ** 2
    return rng.uniform(0.15, 0.5) + 0.7 * np.exp(-distance / rng.uniform(0.08, 0.4))


def shadow(rng: Random, shape: tuple[int, int]) -> Light:
    """A straight or wavy shadow edge, from razor sharp to soft."""
    y, x = _places(shape)
    angle = rng.uniform(0, 2 * np.pi)
    wave = rng.choice([0, 0.06]) * clouds(rng, shape, 5)
    distance = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.3, 0.3) + wave
    return 1 - rng.uniform(0.25, 0.65) / (1 + np.exp(-distance / rng.choice([0.003, 0.01, 0.03, 0.08])))


def blind(rng: Random, shape: tuple[int, int]) -> Light:
    """The shadow of a window's blind: several edges."""
    y, x = _places(shape)
    angle = rng.uniform(0, np.pi)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(8, 25) + rng.uniform(0, 6))
    return 1 - rng.uniform(0.2, 0.5) / (1 + np.exp(-wave * rng.uniform(2, 20)))


def creased(rng: Random, shape: tuple[int, int]) -> Light:
    """A fold: its two sides face the lamp differently, and its edge is worn."""
    y, x = _places(shape)
    angle = rng.uniform(0, 2 * np.pi)
    distance = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.25, 0.25)
    edge = rng.uniform(-0.3, 0.15) * np.exp(-((distance / rng.uniform(0.002, 0.008)) ** 2))
    return np.where(distance > 0, 1, rng.uniform(0.75, 0.95)) + distance * rng.uniform(-0.4, 0.4) + edge


def glare(rng: Random, shape: tuple[int, int]) -> Light:
    """A lamp's reflection, which pales paper and ink."""
    y, x = _places(shape) - rng.uniform(-0.4, 0.4, (2, 1, 1))
    return 0.7 + rng.uniform(0.4, 2) * np.exp(-(x**2 + y**2) / rng.uniform(0.02, 0.15))


def dusk(rng: Random, shape: tuple[int, int]) -> Light:
    """Hardly any light."""
    return gradient(rng, shape) * rng.uniform(0.08, 0.3)


def _places(shape: tuple[int, int]) -> np.ndarray:
    """y and x of each pixel, from -0.5 to 0.5."""
    return np.indices(shape, np.float32) / np.array(shape, np.float32)[:, None, None] - 0.5


def tilted(rng: Random, page: Page, degrees: float, perspective: float) -> Page:
    """Turned by up to `degrees`, the corners moved by up to the share `perspective` of the sides."""
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-degrees, degrees), rng.uniform(0.95, 1.1))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners @ turn[:, :2].T + turn[:, 2] + rng.uniform(-perspective, perspective, (4, 2)) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return cv2.warpPerspective(page, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def defocused(page: Page, radius: float) -> Page:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(radius) * 2 + 1,) * 2).astype(np.float32)
    return cv2.filter2D(page, -1, kernel / kernel.sum())


def shaken(rng: Random, page: np.ndarray, length: float) -> np.ndarray:
    size = int(length) | 1
    angle, middle = rng.uniform(0, np.pi), size // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    kernel = np.zeros((size, size), np.float32)
    start, stop = np.round([middle - reach, middle + reach]).astype(int).tolist()
    cv2.line(kernel, start, stop, 1)
    return cv2.filter2D(page, -1, kernel / kernel.sum())


def jpeg(rng: Random, page: Page, light: Light, noise: float | None = None, quality: int | None = None) -> bytes:
    """The light falls on the page; the sensor adds noise, a tint and a tone curve; a JPEG file comes out."""
    lit = page * light[..., None] * rng.uniform(0.75, 1.02) * rng.uniform(0.93, 1.05, 3)
    noise = rng.uniform(0.003, 0.025) if noise is None else noise
    lit += rng.normal(0, 1, lit.shape).astype(np.float32) * noise * np.sqrt(np.clip(lit, 0.05, 1))
    developed = (np.clip(lit, 0, 1) ** rng.uniform(0.8, 1.2) * 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality or rng.integers(60, 96))]
    return cv2.imencode(".jpg", developed[..., ::-1], options)[1].tobytes()


def resized(photo: bytes, longest: int) -> np.ndarray:
    """The pixels of a photo (BGR) at another size."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR))
    zoom = longest / max(pixels.shape)
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=kind)
