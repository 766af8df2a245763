/* Control vectors. Arguments: the folder of the plugins, a folder to write to. */
#include "inside.h"

int main(int argc, char **argv) {
  const inside_method method = {.library = "libControlVector.so",
                                .id = "control-vector",
                                .options = "{\"strength\": 2}",
                                .parameter = "\"name\": \"decoder.1.direction\"",
                                .refused = "{\"method\": \"median\"}",
                                .sentence = "\"method\""};
  return inside_main(argc, argv, &method);
}
