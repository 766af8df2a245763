/* Exports something, but not the entry. */
int seam_plugin_entrance(void);
__attribute__((visibility("default"))) int seam_plugin_entrance(void) { return 0; }
