/* The structs of libsndfile, libsamplerate and kissfft, which are opened at run time by those who read sound: so neither
 * they nor their headers are needed to build. They are those of libsndfile.so.1 (sndfile.h), libsamplerate.so.0
 * (samplerate.h) and libkissfft-float.so.131 (kiss_fft.h with kiss_fft_scalar float). */
#include <stdint.h>

/* SF_INFO */
typedef struct csound_file_info {
  int64_t frames;
  int sample_rate;
  int channels;
  int format;
  int sections;
  int seekable;
} csound_file_info;

/* SRC_DATA */
typedef struct csound_conversion {
  const float *data_in;
  float *data_out;
  long input_frames, output_frames;
  long input_frames_used, output_frames_gen;
  int end_of_input;
  double src_ratio;
} csound_conversion;

/* kiss_fft_cpx */
typedef struct csound_complex {
  float r, i;
} csound_complex;
