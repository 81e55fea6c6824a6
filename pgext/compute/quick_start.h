/*
 * Less to wait for while the postmaster starts.
 */
#ifndef TIDEWATER_COMPUTE_QUICK_START_H
#define TIDEWATER_COMPUTE_QUICK_START_H

/*
 * The postmaster itself stops syncing what it writes: its pid file, again at each step of the start,
 * and the socket's lock file. A data directory serves one life, so neither need survive a power
 * failure. Its children, who write the WAL, sync as the setting says.
 */
extern void tide_quick_start_install(void);

#endif
