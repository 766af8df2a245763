/* (IA)^3. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method method = {.library = "libIA3.so",
                                .id = "ia3",
                                .options = "{\"targets\": [\"k\", \"v\", \"o\"], \"feedforward_targets\": \"o\"}",
                                .parameter = "\"name\": \"decoder.1.o.ia3_l\"",
                                .refused = "{\"feedforward_targets\": \"o,up\"}",
                                .sentence = "must name targets of this adapter, joined by commas, found 'o,up'",
                                .merges = 1};
  return inside_main(argc, argv, &method);
}
