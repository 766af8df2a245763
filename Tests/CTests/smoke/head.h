/* What the smoke tests of heads share: a head that is saved, read again and asked. */
#ifndef SMOKE_HEAD_H
#define SMOKE_HEAD_H

#include "../check.h"

/* Checks that a head that is saved below `folder` under its id and read again gives the scores `found`, bit for bit. */
static inline void expect_the_same_from_its_folder(seam_backbone *backbone, seam_adapter *adapter, const char *folder,
                                                   const char *id, const float *scores, const float *hidden,
                                                   size_t examples, const float *found, size_t count) {
  char path[1000];
  float *again = malloc(count * sizeof *again);
  seam_adapter *loaded = NULL;
  OK(seam_adapter_save(adapter, path_in(path, folder, id), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &loaded, &error));
  OK(seam_adapter_classify(loaded, scores, hidden, examples, again, count, &error));
  CHECK(memcmp(found, again, count * sizeof *again) == 0);
  seam_adapter_release(loaded);
  free(again);
}

#endif
