/* Gives [batch, d_model] where the seam carries [batch, source, d_model]. */
#define ID "test-wrong-shape"
#define OUTPUT(pass, hidden) (pass)->ops->mean((pass)->ctx, hidden, 1, 0)
#include "identity.h"
