/* Adapters with a bottleneck. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method method = {.library = "libBottleneckAdapter.so",
                                .id = "bottleneck-adapter",
                                .options = "{\"bottleneck_size\": 3, \"non_linearity\": \"gelu\"}",
                                .parameter = "\"name\": \"decoder.1.adapter_up.weight\"",
                                .refused = "{\"non_linearity\": \"elu\"}",
                                .sentence = "option \"non_linearity\"",
                                .merges = 0};
  return inside_main(argc, argv, &method);
}
