/*
 * Commands that a compute must not run as they are, or must clean up after.
 */
#ifndef TIDEWATER_COMPUTE_DDL_GUARD_H
#define TIDEWATER_COMPUTE_DDL_GUARD_H

/* From _PG_init. */
extern void tide_ddl_guard_install(void);

#endif
