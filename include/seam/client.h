#ifndef SEAM_CLIENT_H
#define SEAM_CLIENT_H
#endif
