/* SeamKit: small trainable adapters on the seams of pretrained models.
 *
 * This is the whole public C interface. A program that uses models and adapters calls the functions of
 * client.h and links libSeam.so. A plugin (an adapter or a backbone) includes this same header, exports
 * the one function declared at the end of plugin.h, and links nothing of SeamKit.
 *
 * Notation used by every comment:
 *   [thread-safe]             may be called from any thread at any time
 *   [one thread per session]  calls on one object must not overlap; different sessions may run on different
 *                             threads, on one backbone too: client.h says what they may share
 *   [during forward]          only between the start and the return of a function that is given a seam_pass,
 *                             with the context of that pass
 *   owned by ...              who releases the object; "borrowed" pointers name how long they live
 *   nullable                  may be NULL; every other pointer must not be
 */
#ifndef SEAM_SEAM_H
#define SEAM_SEAM_H

#include "base.h"
#include "../dlpack/dlpack.h"
#include "ops.h"
#include "plugin.h"
#include "client.h"
#include "sizes.h"

#endif
