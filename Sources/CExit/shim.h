/* Embedded Swift has no Glibc module. In a library, atexit's function runs when the library is unloaded. */
int atexit(void (*function)(void));
