/*
 * tidewater.so: the roles it plays, by the setting tidewater.role.
 *
 *   compute  the storage manager over the page service (pgext/compute)
 *   redo     page redo in a sandbox (pgext/redo)
 */
#ifndef TIDEWATER_H
#define TIDEWATER_H

extern void tidewater_compute_init(void); /* from _PG_init; compute/compute.c */
extern void tidewater_redo_init(void);    /* from _PG_init; redo/redo.c */

#endif
