"""Features of sound, which a model of speech reads in the place of token ids."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

from seamkit import _declarations as c
from seamkit._native.dlpack import Array, floats, pointer
from seamkit._native.handles import Handle, made
from seamkit._native.library import checked, taken_json, utf8
from seamkit.errors import InvalidArgumentError, ShapeError


class FeatureExtractor(Handle):
    """Makes log-mel features of sound, as the folder of a model of speech describes them.

    They equal those of transformers' WhisperFeatureExtractor but for rounding, with a frame in each row. Any number of threads
    may use one at once.
    """

    _kind = "seam_feature_extractor"

    def __init__(self, path: str | Path):
        """Reads preprocessor_config.json (or processor_config.json) of a model's folder.

        Raises NotFoundError where there is none, UnsupportedError for features of another kind and settings that are not
        known, FormatError for values that are none.
        """
        super().__init__(made("seam_feature_extractor_open", utf8(path)))
        self._sizes: dict[str, int] = taken_json("seam_feature_extractor_describe", self.handle)

    @property
    def frames(self) -> int:
        """Frames of a whole chunk, which features have unless they are of longer sound as a whole."""
        return self._sizes["frames"]

    @property
    def feature_size(self) -> int:
        """Values of a frame: mel filters."""
        return self._sizes["feature_size"]

    @property
    def sampling_rate(self) -> int:
        """Samples a second of the sound that the model hears."""
        return self._sizes["sampling_rate"]

    @property
    def chunk_length(self) -> int:
        """Seconds of sound that the model hears at once."""
        return self._sizes["chunk_length"]

    def __call__(
        self,
        sound: str | os.PathLike[str] | Any,
        *,
        sampling_rate: int | None = None,
        truncation: bool = False,
        whole: bool = False,
    ) -> Array:
        """Features of a sound file or of samples: [frames, feature_size], float32.

        sound: the path of a file (WAV, FLAC, Ogg ...), whose channels are mixed into one, or [samples], numbers from -1 to 1.
        sampling_rate: of samples, which must be given with them; sound of another rate than the model's is converted.

        Sound that is shorter than chunk_length is followed by silence. Longer sound is refused, unless one is asked for:
        truncation: the rest is left out, as transformers leaves it out without asking;
        whole: it has as many frames as it is long, for `Session.transcribe`, as transformers makes them with
        truncation=False, padding="longest".

        Raises InvalidArgumentError for sound that is too long or has no samples and rates that cannot be converted, ShapeError
        for samples that are no vector, FormatError for what is no sound file, damaged or without sound, NumericError for NaN
        and infinity, NotFoundError for a missing file, or where a library is needed that is not installed, OutOfMemoryError
        for sound that the machine cannot hold.
        """
        if truncation and whole:
            raise InvalidArgumentError("truncation leaves out what whole asks for: give one of them")
        refuse, truncate = c.SEAM_LONG_SOUND_REFUSE, c.SEAM_LONG_SOUND_TRUNCATE
        long_sound = c.SEAM_LONG_SOUND_WHOLE if whole else truncate if truncation else refuse
        if isinstance(sound, str | os.PathLike):
            if sampling_rate is not None:
                raise InvalidArgumentError("sampling_rate is for samples: a sound file tells its own")
            return self._filled("seam_feature_extractor_read", utf8(Path(sound)), long_sound)
        kind = np.asarray(sound).dtype
        if kind.kind in "biu":
            raise InvalidArgumentError(
                f"samples must be fractions from -1 to 1, found {kind}: divide integers by the largest that they may be, "
                "those of 16 bits by 32768"
            )
        samples = floats(sound, "samples")
        if samples.ndim != 1:
            raise ShapeError(f"samples must have 1 axis, those of one channel, found the shape {list(samples.shape)}")
        if sampling_rate is None:
            raise InvalidArgumentError("sampling_rate must be given with samples: how many there are in a second")
        if not 0 < int(sampling_rate) < 2**31:
            raise InvalidArgumentError(f"sampling_rate must be a positive 32-bit integer, found {sampling_rate}")
        first = pointer(samples, ctypes.c_float)
        return self._filled("seam_feature_extractor_extract", first, samples.size, int(sampling_rate), long_sound)

    def _filled(self, function: str, *sound: Any) -> Array:
        """Asks a function how many frames there are, and then for them."""
        frames = ctypes.c_size_t()
        checked(function, self.handle, *sound, None, 0, ctypes.byref(frames))
        features = np.empty((frames.value, self.feature_size), np.float32)
        target = pointer(features, ctypes.c_float)
        checked(function, self.handle, *sound, target, features.size, ctypes.byref(frames))
        return features
