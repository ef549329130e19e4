"""What an imported Paddle reports about itself; call this in a child process."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.engine.paddle.cuda_libraries import load_cuda_libraries
from tasks.engine.paddle.runtime import Untyped, import_paddle

Version = tuple[int, ...]


@dataclass(frozen=True)
class PaddleProbe:
    """An imported Paddle.

    Attributes:
        version: of Paddle.
        cuda: version of CUDA that it is built for; None if it is for the CPU only.
        cudnn: version of cuDNN, likewise.
        gpus: the number of GPUs that it sees.
        problems: CUDA libraries that cannot be loaded, and why.
        tensorrt: version of TensorRT that it is built for; all 0 without TensorRT.
        tensorrt_here: version of the installed TensorRT; all 0 without TensorRT.
    """

    version: str
    cuda: str | None
    cudnn: str | None
    gpus: int
    problems: tuple[str, ...]
    tensorrt: Version
    tensorrt_here: Version


def probe_paddle() -> PaddleProbe:
    """Import Paddle and return what it reports about itself.

    Raises:
        InstallationError: it is not installed.
    """
    paddle = import_paddle()
    has_cuda = paddle.is_compiled_with_cuda()
    return PaddleProbe(
        version=paddle.__version__,
        cuda=paddle.version.cuda() if has_cuda else None,
        cudnn=paddle.version.cudnn() if has_cuda else None,
        gpus=paddle.device.cuda.device_count() if has_cuda else 0,
        problems=load_cuda_libraries(),
        tensorrt=tuple(paddle.inference.get_trt_compile_version()),
        tensorrt_here=_find_tensorrt(paddle.inference),
    )


def _find_tensorrt(inference: Untyped) -> Version:
    try:
        return tuple(inference.get_trt_runtime_version())
    except RuntimeError:  # Paddle is built for TensorRT, but cannot open its library
        return (0, 0, 0)
