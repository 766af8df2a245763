/* Bias terms. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method method = {.library = "libBias.so",
                                .id = "bias",
                                .options = "{\"targets\": [\"o\"]}",
                                .parameter = "\"name\": \"decoder.1.o.bias\"",
                                .refused = "{\"rank\": 2}",
                                .sentence = "unknown option \"rank\"",
                                .merges = 1};
  return inside_main(argc, argv, &method);
}
