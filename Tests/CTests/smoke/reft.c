/* LoReFT, which folds, and DiReFT. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method loreft = {
      .library = "libReFT.so",
      .id = "loreft",
      .options = "{\"rank\": 2, \"positions\": \"f2\"}",
      .parameter = "\"name\": \"decoder.1.rotate_layer.reflections\"",
      .refused = "{\"rank\": 9}",
      .sentence = "the option 'rank' must be at most 8, the width of the hidden states, found 9",
      .start = 100};
  const inside_method direft = {.library = "libReFT.so",
                                .id = "direft",
                                .parameter = "\"name\": \"decoder.0.proj_layer.weight\"",
                                .refused = "{\"positions\": \"f2+f3\"}",
                                .sentence = "must be all, or f and l with a number each",
                                .start = 100};
  const int failed = inside_main(argc, argv, &loreft);
  return failed != 0 ? failed : inside_main(argc, argv, &direft);
}
