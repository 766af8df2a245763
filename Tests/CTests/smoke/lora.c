/* LoRA. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method method = {.library = "libLoRA.so",
                                .id = "lora",
                                .options = "{\"r\": 2, \"lora_alpha\": 4}",
                                .parameter = "\"name\": \"decoder.1.v.lora_B.weight\"",
                                .refused = "{\"r\": 0}",
                                .sentence = "option \"r\"",
                                .merges = 1};
  return inside_main(argc, argv, &method);
}
