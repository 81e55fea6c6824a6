/*
 * The compute's storage manager: md.c over local files that are a cache of the page store.
 */
#ifndef TIDEWATER_COMPUTE_STORAGE_MANAGER_H
#define TIDEWATER_COMPUTE_STORAGE_MANAGER_H

/* Puts our functions into the server's tables. From _PG_init. */
extern void tide_storage_manager_install(void);

#endif
